"""Processes of Spark's standalone cluster, from the pip package or a copy of it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest

from tests.support.waiting import MOST_SECONDS

SPARK_HOME = Path(pyspark.__file__).parent
# For a Java of a minute: its second compiler and its threads for garbage would take longer than they save.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def executors_logs(work: Path) -> str:
    """What executors wrote, below the folder of a worker."""
    return "".join(path.read_text() for path in sorted(work.glob("app-*/*/std*")))


@contextmanager
def daemon(
    name: str,
    *arguments: str,
    until: str,
    spark_home: Path = SPARK_HOME,
    inside: Sequence[str | Path] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[str]:
    """A process of Spark, once its log says the awaited words; yields what they captured.

    ``inside`` is a command that starts the one after it somewhere; without an ``environment`` it has that of the tests.
    """
    process = subprocess.Popen(
        [*inside, spark_home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={
            **(os.environ if environment is None else environment),
            "SPARK_HOME": str(spark_home),
            "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA,
        },
    )
    assert process.stderr is not None
    log = process.stderr
    # If the words never come, the end of the process ends the log.
    bound = threading.Timer(MOST_SECONDS, process.kill)
    bound.start()
    try:
        found = next(filter(None, (re.search(until, line) for line in log)), None)
        bound.cancel()
        if found is None:
            pytest.fail(f"{name} did not say {until!r}, and ended with {process.wait()}")
        threading.Thread(target=log.read, daemon=True).start()  # a full pipe would stop it
        yield found[1]
    finally:
        bound.cancel()
        process.terminate()
        try:
            process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
