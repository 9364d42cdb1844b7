"""Files of settings, which Spark itself reads in the same way, and which of all settings wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs.spark.submit import read_properties


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "spark.conf"


@given(st.text("ab.=: \t\f\\\\#!\n\r\u00e9", max_size=40))
@example("spark.a  b c \nspark.d=e=f\nspark.g : h\n spark.i\n# spark.j k\n! spark.l m\nspark.n:=o\n")
@example("spark.a b,\\\n    c\nspark.d \\\\\nspark.e f\n# g \\\nspark.h i\\")
@example("spark.\\u0061=\\u00e9\\tx\\q\nb\\=c\\:d\\ e f\n")
@example("a\x0bb \x0bc\x85d\u2028e f\u00a0\n")
def test_a_file_is_read_as_spark_reads_it(spark: SparkSession, file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    read = spark.sparkContext._jvm.org.apache.spark.util.Utils.getPropertiesFromFile(str(file))  # type: ignore[union-attr]
    pairs = read.toSeq()
    theirs = {pairs.apply(at)._1(): pairs.apply(at)._2() for at in range(pairs.size())}
    assert read_properties(file) | {"": ""} == theirs | {"": ""}  # what has no name is no setting


@pytest.mark.slow
def test_a_properties_file_wins_over_the_jobs_defaults_and_loses_to_options_and_promises(file: Path) -> None:
    settings = {
        "spark.master": "local[3]",
        "spark.ui.enabled": "true",
        "spark.driver.memory": "700m",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "77",
        "spark.sql.debug.maxToStringFields": "3",
        "spark.sql.session.timeZone": "Asia/Tokyo",
    }
    file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    program = (
        "import json, sys\nfrom jobs.spark.session import spark_session\n"
        "conf = spark_session('test').sparkContext.getConf()\n"
        "print(json.dumps({name: conf.get(name) for name in sys.argv[1:]}))"
    )
    options = f"--properties-file {file} --conf spark.sql.debug.maxToStringFields=4 pyspark-shell"
    done = subprocess.run(
        [sys.executable, "-c", program, *settings],
        capture_output=True, text=True, env={**os.environ, "PYSPARK_SUBMIT_ARGS": options},
    )  # fmt: skip
    assert json.loads(done.stdout) == settings | {
        "spark.master": "local[3,4]",
        "spark.sql.debug.maxToStringFields": "4",
        "spark.sql.session.timeZone": "UTC",
    }, done.stderr
