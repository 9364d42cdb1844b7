"""Read files or tables of nearly the same columns as one: types are widened where each value stays what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.storage.java import HADOOP_FILE, HADOOP_PATH, PARQUET_READER, java_class
from sentiment_core.errors import InputError, shown

__all__ = ["read_alike", "union_alike"]

_CONFLICTS = (
    "CANNOT_MERGE_SCHEMAS",
    "FAILED_MERGE_SCHEMA",
    "PARQUET_TYPE_NOT_RECOGNIZED",
    "PARQUET_TYPE_NOT_SUPPORTED",
)
_INTEGERS = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
# Digits that a value of a type can have.
_DIGITS: dict[type[T.DataType], int] = {T.ByteType: 3, T.ShortType: 5, T.IntegerType: 10, T.LongType: 19}


def read_alike(
    read: Callable[[], DataFrameReader],
    roots: Sequence[str],
    *,
    files: Sequence[str],
    source: str,
    session: SparkSession,
) -> DataFrame:
    """Read Parquet files; where Spark cannot merge their schemas, each kind by itself.

    Raises
    ------
    InputError
        If types of a column have none in common that keeps each value; it names two files.
    """
    try:
        return read().parquet(*roots)
    except (PySparkException, Py4JJavaError) as error:
        if not any(sign in str(error) for sign in _CONFLICTS) or len(files) < 2:
            raise
    kinds: dict[tuple[str, frozenset[str]], list[str]] = {}
    for file in files:
        kinds.setdefault((read().parquet(file).schema.json(), _without_type(session, file)), []).append(file)
    tables = []
    for (_, without_type), same in kinds.items():
        frame = read().parquet(*same)
        tables.append((same[0], frame.withColumns({name: F.lit(None) for name in without_type})))
    return union_alike(tables, source=source, all_columns=True)


def _without_type(session: SparkSession, file: str) -> frozenset[str]:
    """Columns that hold only NULL and have no type, as other tools write them; Spark takes them for whole numbers."""
    jvm: Any = session._jvm
    conf = session._jsparkSession.sessionState().newHadoopConf()
    path = java_class(jvm, HADOOP_PATH)(file)
    opened = java_class(jvm, HADOOP_FILE).fromPath(path, conf)
    reader = java_class(jvm, PARQUET_READER).open(opened)
    try:
        fields = reader.getFileMetaData().getSchema().getFields()
        kinds = {field.getName(): field.getLogicalTypeAnnotation() for field in fields}
    finally:
        reader.close()
    return frozenset(name for name, kind in kinds.items() if kind is not None and kind.toString() == "UNKNOWN")


def union_alike(
    tables: Sequence[tuple[str, DataFrame]], *, source: str | None = None, all_columns: bool = False
) -> DataFrame:
    """Rows of tables one after the other, by the names of their columns.

    Parameters
    ----------
    tables : sequence of (str, DataFrame)
        With what messages call them.
    source : str, optional
        Where they come from.
    all_columns : bool
        Whether columns that a table lacks are NULL there, as in Parquet files of one folder; else the others lose them.

    Raises
    ------
    InputError
        If types of a column have none in common that keeps each value.
    """
    names = list(dict.fromkeys(name for _, table in tables for name in table.columns))
    if not all_columns:
        names = [name for name in names if all(name in table.columns for _, table in tables)]
        if not names:
            raise InputError(f"{tables[0][0]} and {tables[1][0]} have no column in common; give each its own run")
    types: dict[str, T.DataType] = {}
    for name in names:
        having = [(called, table.schema[name].dataType) for called, table in tables if name in table.columns]
        first, types[name] = having[0]
        for called, kind in having[1:]:
            wide = _widest(types[name], kind)
            if wide is None:
                where = f"{source}: " if source else ""
                raise InputError(
                    f"{where}the column {shown(name)} is {types[name].simpleString()} in {first} and "
                    f"{kind.simpleString()} in "
                    f"{called}, and no type keeps the values of both; give each its own run, or write one of them again"
                )
            if wide != types[name]:
                first, types[name] = called, wide
    parts = []
    for _, table in tables:
        columns = []
        for name in names:
            value = F.col("`" + name.replace("`", "``") + "`") if name in table.columns else F.lit(None)
            columns.append(value.cast(types[name]).alias(name))
        parts.append(table.select(*columns))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole


def _widest(left: T.DataType, right: T.DataType) -> T.DataType | None:
    """The type that keeps each value of both, None if there is none."""
    if left == right or isinstance(right, T.NullType):
        return left
    if isinstance(left, T.NullType):
        return right
    for one, other in ((left, right), (right, left)):
        if isinstance(one, _INTEGERS) and isinstance(other, _INTEGERS):
            return max((left, right), key=lambda kind: _DIGITS[type(kind)])
        if isinstance(one, T.FloatType) and isinstance(other, T.DoubleType):
            return other
        if isinstance(one, (T.ByteType, T.ShortType, T.IntegerType)) and isinstance(other, T.DoubleType):
            return other
        if isinstance(one, _INTEGERS) and isinstance(other, T.DecimalType):
            return _decimal(max(_DIGITS[type(one)], other.precision - other.scale), other.scale)
        if isinstance(one, T.DecimalType) and isinstance(other, T.DecimalType):
            whole = max(one.precision - one.scale, other.precision - other.scale)
            return _decimal(whole, max(one.scale, other.scale))
        if isinstance(one, T.DateType) and isinstance(other, T.TimestampNTZType):
            return other
    return None


def _decimal(whole: int, scale: int) -> T.DataType | None:
    return T.DecimalType(whole + scale, scale) if whole + scale <= 38 else None
