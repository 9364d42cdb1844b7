"""Workers whose Python is another one, or lacks the project, are found before a row is scored."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PySparkException, PySparkRuntimeError
from pyspark.sql import SparkSession

from jobs.scoring.workers import checking_workers, require_workers
from sentiment_core.errors import EnvironmentFault, InputError

OWN = "{}.{}".format(*sys.version_info[:2])


def session_whose_worker_says(told: str) -> Any:
    """A session in which whatever runs in a worker ends with this text."""

    def collect() -> None:
        raise PySparkException(told)

    plan = SimpleNamespace(collect=collect)
    return SimpleNamespace(range=lambda *_, **__: SimpleNamespace(mapInArrow=lambda *_: plan))


def test_the_tests_own_workers_will_do(spark: SparkSession) -> None:
    require_workers(spark)


def test_another_version_is_named() -> None:
    versions = {"worker_version": "3.99", "driver_version": OWN}
    told = str(PySparkRuntimeError(errorClass="PYTHON_VERSION_MISMATCH", messageParameters=versions))
    with pytest.raises(
        EnvironmentFault, match=rf"^Spark's workers run Python 3\.99, and this is Python {OWN}; let PYSP"
    ):
        require_workers(session_whose_worker_says(f"Traceback:\n{told}\n"))


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("ModuleNotFoundError: No module named 'jobs'", "cannot import this project; .* is installed"),
        ("ModuleNotFoundError: No module named 'onnxruntime.capi'", "cannot import onnxruntime; "),
        ('java.io.IOException: Cannot run program "/no/python": error=2', "have no program /no/python; "),
    ],
)
def test_what_is_missing_is_named(told: str, says: str) -> None:
    with pytest.raises(EnvironmentFault, match=says):
        require_workers(session_whose_worker_says(told))


def test_a_run_waits_for_workers_that_are_checked_while_it_reads(spark: SparkSession) -> None:
    with checking_workers(spark) as workers:
        assert spark.range(3).count() == 3
        workers()


@pytest.mark.parametrize("error", [None, InputError("the input cannot be read"), ValueError("internal")])
def test_what_is_wrong_with_workers_comes_before_what_follows_from_it(error: Exception | None) -> None:
    session = session_whose_worker_says("ModuleNotFoundError: No module named 'jobs'")
    with pytest.raises(EnvironmentFault, match="cannot import this project"), checking_workers(session):
        if error is not None:
            raise error


def test_an_error_of_a_run_with_good_workers_stays_what_it_is(spark: SparkSession) -> None:
    with pytest.raises(InputError, match="no such file"), checking_workers(spark):
        raise InputError("no such file")


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(PySparkException, match="out of memory"):
        require_workers(session_whose_worker_says("out of memory"))


@pytest.mark.slow
def test_a_job_whose_workers_lack_the_project_ends_before_it_reads_its_input(tmp_path: Path) -> None:
    """The workers' Python has the same packages, but not the project, which is installed by a link."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (packages,) = (tmp_path / "bare" / "lib").glob("python3*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "reviews.parquet").write_text("no table")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "score", "--input", "reviews.parquet", "--output", "scores"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYSPARK_PYTHON": str(tmp_path / "bare" / "bin" / "python")},
    )
    sentence = done.stderr.splitlines()[-1]
    assert done.returncode == 6, done.stderr
    assert "the Python of Spark's workers cannot import this project; let PYSPARK_PYTHON name" in sentence
    assert not (tmp_path / "scores").exists()
