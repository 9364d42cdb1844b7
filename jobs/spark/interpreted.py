"""Spark computes a small table without writing and compiling Java for it first.

For each stage of a query Spark generates a class and compiles it. The expressions of the marts are long, so this takes
seconds, and a small table is computed in less. Interpreted expressions give the same values, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

__all__ = ["interpreted"]

_SETTINGS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Spark 4.3 does not wait for the result that an interpreted filter prunes by ("dynamicpruning has not finished").
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": "false",
}


@contextmanager
def interpreted(session: SparkSession, *, wanted: bool) -> Iterator[None]:
    """Within it, queries of the session are interpreted, if that is wanted; then they are compiled again."""
    if not wanted:
        yield
        return
    before = {name: session.conf.get(name) for name in _SETTINGS}
    try:
        for name, value in _SETTINGS.items():
            session.conf.set(name, value)
        yield
    finally:
        for name, known in before.items():
            session.conf.set(name, str(known))
