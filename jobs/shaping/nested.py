"""Fields inside structs as columns of their own, named by their path: ``review.body``."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

__all__ = ["inner_columns"]


def inner_columns(frame: DataFrame, wanted: Sequence[str], *, text_column: str) -> DataFrame:
    """Add the columns that are wanted and are fields of structs.

    A struct that holds the text gives way to its other fields, so that ``--keep-columns all`` does not keep the text.

    Parameters
    ----------
    frame : DataFrame
    wanted : sequence of str
        Names; one that is a column already stays that column.
    text_column : str
    """
    schema = frame.schema
    added = {name: path for name in wanted if name not in schema.names and (path := _path_of(schema, name)) is not None}
    if not added:
        return frame
    columns: list[Column] = []
    for field in schema.fields:
        if text_column in added and added[text_column][0] == field.name:
            columns += [
                _value(path).alias(".".join(path))
                for path in _leaves(field, along=added[text_column])
                if path != added[text_column] and ".".join(path) not in added
            ]
        else:
            columns.append(_value((field.name,)).alias(field.name))
    return frame.select(*columns, *(_value(path).alias(name) for name, path in added.items()))


def _path_of(schema: T.StructType, name: str) -> tuple[str, ...] | None:
    """Names of the fields that a dotted name leads through; a field's own name may hold dots."""
    for field in schema.fields:
        if field.name == name:
            return (name,)
        if isinstance(field.dataType, T.StructType) and name.startswith(f"{field.name}."):
            rest = _path_of(field.dataType, name.removeprefix(f"{field.name}."))
            if rest is not None:
                return (field.name, *rest)
    return None


def _leaves(field: T.StructField, *, along: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The fields beside a path, structs that it does not lead through whole."""
    if not along or field.name != along[0] or not isinstance(field.dataType, T.StructType):
        return [(field.name,)]
    return [(field.name, *path) for inner in field.dataType.fields for path in _leaves(inner, along=along[1:])]


def _value(path: tuple[str, ...]) -> Column:
    value = F.col("`" + path[0].replace("`", "``") + "`")
    for name in path[1:]:
        value = value.getField(name)
    return value
