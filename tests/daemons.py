"""Processes of Spark's standalone cluster, from the pip package or a copy of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest

SPARK_HOME = Path(pyspark.__file__).parent


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
        env={**(os.environ if environment is None else environment), "SPARK_HOME": str(spark_home)},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(until, line)
            if found:
                yield found[1]
                break
        else:
            pytest.fail(f"{name} ended with {process.wait()}")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
