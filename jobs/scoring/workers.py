"""The Python of workers, tried before the first row is scored: it must be the driver's and hold this project."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sentiment_core.errors import EnvironmentFault

__all__ = ["checking_workers", "require_workers"]

_OTHER_VERSION = re.compile(r"PYTHON_VERSION_MISMATCH.*?different version: ([\d.]+)", re.DOTALL)
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_NO_PROGRAM = re.compile(r"Cannot run program \"([^\"]+)\"")


def require_workers(session: SparkSession) -> None:
    """Let one worker import what scores.

    Spark checks the versions only when the first rows arrive, and of a module that is missing it shows a traceback.

    Raises
    ------
    EnvironmentFault
        If the workers' Python is of another minor version, lacks the project or one of its packages, or does not start.
    """
    own = "{}.{}".format(*sys.version_info[:2])
    try:
        session.range(1, numPartitions=1).mapInArrow(_import_scoring, "id bigint").collect()
    except PySparkException as error:
        told = str(error)
        if found := _OTHER_VERSION.search(told):
            fault = f"Spark's workers run Python {found[1]}, and this is Python {own}"
        elif found := _NO_MODULE.search(told):
            package = found[1].partition(".")[0]
            what = "this project" if package in ("jobs", "sentiment_core") else package
            fault = f"the Python of Spark's workers cannot import {what}"
        elif found := _NO_PROGRAM.search(told):
            fault = f"Spark's workers have no program {found[1]}"
        else:
            raise
        raise EnvironmentFault(
            f"{fault}; let PYSPARK_PYTHON name a Python {own} in which this project is installed, or build what "
            "executors unpack from this Python with `make package`"
        ) from error


@contextmanager
def checking_workers(session: SparkSession) -> Iterator[Callable[[], None]]:
    """`require_workers` while the block reads its input: a worker imports for as long as the driver plans.

    Yields
    ------
    callable
        Waits for the check, and raises what it found. An error of the block gives way to it, since a table that is read
        by workers may fail for the same reason.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="workers")
    checked = pool.submit(require_workers, session)
    try:
        yield checked.result
        checked.result()
    except Exception:
        checked.result()
        raise
    finally:
        pool.shutdown(wait=False)


def _import_scoring(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What a worker runs; that it is found at all shows that the project is installed."""
    import jobs.executor  # noqa: F401

    yield from batches
