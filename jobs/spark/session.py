"""The Spark session: settings that the job's promises rest on, whatever the cluster's defaults are."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.spark.environment import refuse_faults
from jobs.spark.file_names import UTF8_LOCALE, use_utf8_names
from jobs.spark.java import java_options
from jobs.spark.submit import named_settings
from jobs.telemetry.privacy import SPARK_REDACTION
from sentiment_core.errors import EnvironmentFault

__all__ = ["spark_session", "start_java"]

# The promises rest on these, so no default of a cluster and no option changes them.
REQUIRED = {
    # Instants, not wall clocks: kept timestamps must not move with the machine's time zone.
    "spark.sql.session.timeZone": "UTC",
    # A partition value `00123` stays a string.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # Parquet pages carry checksums; without this a flipped bit is read silently wrong.
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.sql.parquet.mergeSchema": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Version 2 of the committer shows files of tasks that fail later; two runs of a task would race.
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "1",
    "spark.speculation": "false",
}
# What neither the command line nor its `--properties-file` has set.
DEFAULTS = {
    "spark.sql.parquet.compression.codec": "zstd",
    # Merged partitions would leave cores and GPUs idle: each holds few rows but much work.
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
    # A worker's memory follows its batches; 4,000 reviews still share most of their words.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 << 20),
    # A task is tried again when its worker or executor died; `jobs.executor` relies on it.
    "spark.task.maxFailures": "4",
    # A Python worker that hangs says where, and is killed.
    "spark.python.worker.tracebackDumpIntervalSeconds": "600",
    "spark.python.worker.faulthandler.enabled": "true",
    "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": "900",
    "spark.sql.execution.pyspark.udf.killOnIdleTimeout": "true",
    # A worker would take a folder named jobs, where it is started, for the project.
    "spark.executorEnv.PYTHONSAFEPATH": "1",
    # Java names files by the locale, and an executor's may be none.
    "spark.executorEnv.LC_ALL": UTF8_LOCALE,
    # The audit has many columns; a warning on each run would be noise.
    "spark.sql.debug.maxToStringFields": "200",
    # For its messages PySpark asks Java five times more at each call where the program stands: a second a refresh.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # What Spark's event log and its pages must not show.
    **SPARK_REDACTION,
}
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties").as_uri()
# Without spark-submit: this machine.
LOCAL_SETTINGS = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    # Of the text of each plan, which takes longer to write than a small table to read.
    "spark.sql.ui.explainMode": "simple",
    "spark.ui.showConsoleProgress": "false",
}


def spark_session(app_name: str) -> SparkSession:
    """Start or find the session; what was given on the command line, or in its file, wins over `DEFAULTS`.

    Raises
    ------
    EnvironmentFault
        If it does not start: no Java, or one too old, or no such master.
    """
    # No table of a job becomes one of pandas, and the tests run with the newest one.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    fallback = start_java()
    try:
        running = SparkSession._instantiatedSession  # the one that the builder would return
        if running is not None and running.sparkContext._jsc is not None and _has(running, fallback):
            return running
        conf = SparkConf()
        for name, value in fallback.items():
            if name in REQUIRED:
                conf.set(name, value)
            else:
                conf.setIfMissing(name, value)
        conf.set("spark.master", retrying(conf.get("spark.master") or "", conf.get("spark.task.maxFailures") or ""))
        session = SparkSession.builder.appName(app_name).config(conf=conf).getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise _did_not_start(error) from error
    # PySpark asks Java for these classes at each use, by names that fit several packages.
    for name in ("PythonSQLUtils", "PythonUtils", "functions"):
        setattr(session._jvm, name, getattr(session._jvm, name))
    return session


def _has(session: SparkSession, settings: Mapping[str, str]) -> bool:
    """Whether a session has these settings already; to set them again takes some hundred calls of Java."""
    there = session.conf.getAll
    return all(there.get(name) == value for name, value in settings.items() if name != "spark.master")


def start_java() -> Mapping[str, str]:
    """Start the Java in which the session will run, unless it runs already; returns what `DEFAULTS` and promises add.

    Raises
    ------
    EnvironmentFault
        If there is no Java, or one too old.
    """
    settings = DEFAULTS
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # not started by spark-submit
        refuse_faults(os.environ)
        use_utf8_names(os.environ)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        java = f"-Dlog4j2.configurationFile={_LOG_SETTINGS} {java_options(os.environ)}"
        settings = settings | LOCAL_SETTINGS | {"spark.driver.defaultJavaOptions": java}
    # PySpark passes ours as options, which would win over those of the file.
    named = named_settings(os.environ)
    settings = {name: value for name, value in settings.items() if name not in named} | REQUIRED
    if SparkContext._jvm is None:
        try:
            SparkContext._ensure_initialized(conf=SparkConf(loadDefaults=False).setAll(list(settings.items())))
        except (PySparkException, Py4JError, OSError) as error:
            raise _did_not_start(error) from error
    return settings


def _did_not_start(error: Exception) -> EnvironmentFault:
    given = "--master, PYSPARK_SUBMIT_ARGS" if os.environ.get("PYSPARK_SUBMIT_ARGS") else "--master"
    return EnvironmentFault(
        f"Spark did not start ({str(error).splitlines()[0]}); check {given}, and Java with `sentiment doctor`"
    )


def retrying(master: str, max_failures: str) -> str:
    """On this machine Spark tries a task once, whatever the setting says, unless the master's name says otherwise."""
    local = re.fullmatch(r"local(?:\[(\d+|\*)\])?", master)
    return f"local[{local[1] or 1},{max_failures}]" if local else master
