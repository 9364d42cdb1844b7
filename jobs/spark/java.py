"""How Java starts on this machine: with its classes from an archive, and without compiling at length what runs briefly.

Spark loads some 15,000 classes before it reads a row. Java can keep them, checked and laid out, in an archive that it
maps into memory (JEP 350): ``python -m jobs.spark.java`` makes one for this Java and this Spark, and the set-up
calls it. Java checks an archive against its own version and every jar, and starts without one that does not fit.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jobs

__all__ = ["archive_path", "java_options", "make_archive", "spark_home"]

# Ten times Java's own: the second compiler takes as long as all else does while Spark starts, and is worth it for what
# a large table repeats.
_COMPILE_LATER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)


def java_options(environment: Mapping[str, str]) -> str:
    """Options of a Java that starts on this machine, as Spark splits them at spaces."""
    options = ["-XX:+IgnoreUnrecognizedVMOptions", *_COMPILE_LATER]
    archive = archive_path(environment)
    if archive is not None and archive.is_file():
        # What Java says about an archive would stand in the middle of a result.
        options += ["-Xlog:disable", "-Xlog:all=error:stderr", f'"-XX:SharedArchiveFile={archive}"']
    return " ".join(options)


def spark_home() -> Path:
    """Where PySpark keeps its Spark; PySpark itself, which takes long to import, is not.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    found = find_spec("pyspark")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pyspark'", name="pyspark")
    return Path(found.submodule_search_locations[0])


def archive_path(environment: Mapping[str, str]) -> Path | None:
    """Where the archive of the Java is that Spark would start, made or not; None without a Java."""
    home = environment.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else shutil.which("java", path=environment.get("PATH"))
    try:
        program = Path(java or "").resolve(strict=True)
        jars = Path(environment.get("SPARK_HOME") or spark_home(), "jars").resolve(strict=True)
        facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (program, jars)]
    except OSError:
        return None
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    return Path(sys.prefix, f"java-classes-{digest}.jsa") if java else None


def make_archive() -> str:
    """Make the archive by a session that does a little of what jobs do; returns what became of it.

    Nothing depends on it: where it cannot be made, Java starts as before.
    """
    archive = archive_path(os.environ)
    if archive is None:
        return "there is no Java"
    if archive.is_file():
        return f"{archive} is there already"
    for other in archive.parent.glob("java-classes-*.jsa"):
        with suppress(OSError):
            other.unlink()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "classes.jsa")
        _rehearse(folder, java=f'-XX:+IgnoreUnrecognizedVMOptions -Xlog:disable "-XX:ArchiveClassesAtExit={made}"')
        if not made.is_file():
            return "this Java made no archive"
        unfinished = archive.with_suffix(".new")
        shutil.copyfile(made, unfinished)
        unfinished.replace(archive)
    return f"{archive} holds {archive.stat().st_size / 1e6:.0f} MB"


def _rehearse(folder: str, *, java: str) -> None:
    """Write and read tables, aggregate, join and sort, and let a worker see a batch; then end Java."""
    from pyspark.sql import SparkSession, Window
    from pyspark.sql import functions as F

    os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(["--driver-java-options", java, "pyspark-shell"])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    gateway: Any = session.sparkContext._gateway
    numbers = session.range(100, numPartitions=2).selectExpr("id", "id % 7 AS part", "cast(id AS string) AS word")
    numbers.write.partitionBy("part").parquet(f"{folder}/numbers")
    read = session.read.parquet(f"{folder}/numbers").where("id > 3 AND word IS NOT NULL")
    total = F.sum(F.col("id").cast("decimal(20,2)"))
    sums = read.groupBy("part").agg(total.alias("total"), F.array_sort(F.collect_list("word")))
    joined = read.join(F.broadcast(sums), "part").join(read.groupBy("id").agg(F.max("word")), "id")
    running = joined.withColumn("running", F.sum("total").over(Window.partitionBy("part").orderBy("id")))
    changed = running.selectExpr("part", "transform(array(running), x -> x + 1)[0] AS next")
    changed.repartition("part").sortWithinPartitions("part").write.parquet(f"{folder}/sums")
    read.mapInArrow(lambda batches: batches, read.schema).count()
    session.stop()
    # Java writes the archive when it ends, and it ends when nobody is there any more.
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(timeout=300)


def _main(arguments: list[str]) -> None:
    if arguments == ["--show"]:  # what spark-submit.sh asks for
        home = spark_home()
        shown = (home, Path(str(jobs.__file__)).parent, java_options({**os.environ, "SPARK_HOME": str(home)}))
        sys.stdout.write("".join(f"{line}\n" for line in shown))
    else:
        sys.stdout.write(f"{make_archive()}\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
