"""Spark computes a small table without the preparations that pay for a large one.

For each stage of a query Spark generates a class and compiles it, and plans the rest of the query anew when the stage
is done. The expressions of the marts are long, so this takes seconds, and a small table is computed in less.
Interpreted expressions give the same values, bit for bit.
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
    "spark.sql.adaptive.enabled": "false",
}
_PARTITIONS = "spark.sql.shuffle.partitions"
# Each partition is a task, which takes longer to send and to unpack than some thousand rows to compute.
_ROWS_A_PARTITION = 50_000


@contextmanager
def interpreted(session: SparkSession, *, rows: int, wanted: bool) -> Iterator[None]:
    """Within it, queries of the session are interpreted, if that is wanted; then they are compiled again.

    Parameters
    ----------
    session : SparkSession
    rows : int
        That the queries read: a few shuffle into few partitions.
    wanted : bool
    """
    if not wanted:
        yield
        return
    before = {name: session.conf.get(name) for name in (*_SETTINGS, _PARTITIONS)}
    partitions = min(int(before[_PARTITIONS] or 1), 1 + rows // _ROWS_A_PARTITION)
    try:
        for name, value in (*_SETTINGS.items(), (_PARTITIONS, str(partitions))):
            session.conf.set(name, value)
        yield
    finally:
        for name, known in before.items():
            session.conf.set(name, str(known))
