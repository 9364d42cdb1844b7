"""Columns of JSON whose numbers no type of Spark keeps: they are known by name, and refused to who asks for them.

Spark reads a column of whole numbers and fractions as doubles, which round whole numbers beyond 2^53: of two ids that
differ in the last digit, one is left.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.tables.scores import UNREADABLE, column

__all__ = ["without_rounded"]


def without_rounded(frame: DataFrame, long_numbers: Iterable[tuple[str, ...]]) -> DataFrame:
    """Give columns whose numbers were rounded no type (VOID); `jobs.tables.scores.require_column` refuses these.

    Parameters
    ----------
    frame : DataFrame
    long_numbers : iterable of tuple of str
        Names that lead to whole numbers beyond 2^53.
    """
    rounded = {path[0] for path in long_numbers if path and _is_double(frame.schema, path)}
    if not rounded:
        return frame
    kind = {UNREADABLE: "whole numbers beyond 2^53 beside fractions"}
    return frame.select(
        *(F.lit(None).alias(name, metadata=kind) if name in rounded else column(name) for name in frame.columns)
    )


def _is_double(kind: T.DataType, path: tuple[str, ...]) -> bool:
    """Whether names lead to a double."""
    while isinstance(kind, T.ArrayType):
        kind = kind.elementType
    if not path:
        return isinstance(kind, T.DoubleType)
    if not isinstance(kind, T.StructType) or path[0] not in kind.names:
        return False
    return _is_double(kind[path[0]].dataType, path[1:])
