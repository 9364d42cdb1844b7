"""Reviews in equal groups, each scored by one task; ``docs/decisions/0002``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.executor import GroupScorer
from jobs.spark.errors import withholding_content
from jobs.tables.scores import GROUP, KEPT, TEXT, WORKER_FIELDS, ScoreColumns, quoted

__all__ = ["group_count", "score_table"]

# A group is the unit of batching and of retry: large enough to sort by length, small enough to repeat.
_ROWS_PER_GROUP = 8_000


def group_count(rows: int, *, cores: int) -> int:
    """Equal groups of bounded size, as many as keep every core busy to the end."""
    return cores * max(1, math.ceil(rows / (_ROWS_PER_GROUP * cores)))


def score_table(frame: DataFrame, *, columns: ScoreColumns, scorer: GroupScorer, groups: int) -> DataFrame:
    """Reviews -> scores: one shuffle, one pass through Python.

    Parameters
    ----------
    frame : DataFrame
        Holds the text and the kept columns.
    columns : ScoreColumns
    scorer : GroupScorer
    groups : int
        Groups, and tasks: a group is a task of its own, so that groups spread evenly over the cores even when the
        input comes as one partition.

    Returns
    -------
    DataFrame
        The kept columns, then `jobs.tables.scores.WORKER_FIELDS` and the extra ones.
    """
    # A hash of the row and nothing random: a repeated task sees the same rows. With the text, since ids may be NULL.
    group = f"CAST(pmod(xxhash64({quoted(columns.id)}, {quoted(columns.text)}), {groups}) AS INT) AS {quoted(GROUP)}"
    # Of the kept columns one: Spark plans and compiles for each column of a shuffle, and a table may have thousands.
    numbered = ", ".join(f"{quoted(name)} AS `{index}`" for index, name in enumerate(columns.kept))
    types = {field.name: field.dataType for field in frame.schema}
    kept = T.StructType([T.StructField(str(index), types[name]) for index, name in enumerate(columns.kept)])

    # Spark reads the iterator form off these annotations, which it does not find on a callable object.
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with withholding_content():
            yield from scorer(batches)

    packed, texts = f"struct({numbered}) AS {KEPT}", f"{quoted(columns.text)} AS {quoted(TEXT)}"
    grouped = frame.selectExpr(packed, texts, group).repartitionById(groups, F.col(GROUP))
    added = WORKER_FIELDS.fields + columns.extra.fields
    scored = grouped.groupBy(GROUP).applyInArrow(score, T.StructType([T.StructField(KEPT, kept), *added]))
    unpacked = [f"{KEPT}.`{index}` AS {quoted(name)}" for index, name in enumerate(columns.kept)]
    return scored.selectExpr(*unpacked, *(quoted(field.name) for field in added))
