"""Parquet files with columns that Spark has no type for: the other columns are read, and these are known by name.

Spark refuses a whole file for one such column, used or not. Here it is a column without a type (VOID), whose metadata
say what it is in the file; `jobs.tables.scores.require_column` refuses whoever asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.storage.java import HADOOP_FILE, HADOOP_PATH, PARQUET_CONVERTER, PARQUET_READER, java_class
from jobs.tables.scores import UNREADABLE, column, type_parts
from sentiment_core.errors import InputError

__all__ = ["read_parquet"]

_NO_TYPE = (
    "UNSUPPORTED_TIME_TYPE",
    "PARQUET_TYPE_ILLEGAL",
    "PARQUET_TYPE_NOT_RECOGNIZED",
    "PARQUET_TYPE_NOT_SUPPORTED",
    "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
    "TIMESTAMP(NANOS",
)


def read_parquet(
    session: SparkSession,
    reader: Callable[[], DataFrameReader],
    roots: Sequence[str],
    *,
    files: Sequence[str],
    attempt: Callable[[], DataFrame],
) -> DataFrame:
    """Read Parquet files.

    Parameters
    ----------
    session : SparkSession
    reader : callable
        Makes a reader with its options.
    roots : sequence of str
        Files or directories, as the reader takes them.
    files : sequence of str
        All data files below them, as paths.
    attempt : callable
        Reads them where Spark has a type for each column.

    Raises
    ------
    InputError
        If a column that Spark has a type for has another one in another file.
    """
    try:
        return attempt()
    except (PySparkException, Py4JError) as error:
        colon = next((file for file in files if ":" in PurePosixPath(file).name), None)
        if colon is not None and "CANNOT_READ_FILE_FOOTER" in str(error):
            raise InputError(f"{colon}: Hadoop opens no file with a colon in its name; rename it") from error
        if not any(sign in str(error) for sign in _NO_TYPE):
            raise
    schema, unreadable = _schema_of(session, files)
    if not unreadable:
        return attempt()  # and let Spark say what it is
    frame = reader().schema(T.StructType([field for field in schema if field.name not in unreadable])).parquet(*roots)
    folders = [name for name in frame.columns if name not in schema.names]
    missing = {
        name: F.lit(None).alias(name, metadata={UNREADABLE: described}) for name, described in unreadable.items()
    }
    return frame.select(*(missing.get(name, column(name)) for name in (*schema.names, *folders)))


def _schema_of(session: SparkSession, files: Sequence[str]) -> tuple[T.StructType, dict[str, str]]:
    """Columns of files, and what those are that Spark has no type for."""
    jvm: Any = session._jvm
    state = session._jsparkSession.sessionState()
    conf = state.newHadoopConf()
    converter = java_class(jvm, PARQUET_CONVERTER)(state.conf())
    a_path, a_list = java_class(jvm, HADOOP_PATH), java_class(jvm, "java.util.ArrayList")
    a_file, a_reader = java_class(jvm, HADOOP_FILE), java_class(jvm, PARQUET_READER)
    a_message = java_class(jvm, "org.apache.parquet.schema.MessageType")
    fields: dict[str, T.StructField] = {}
    first: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    seen: set[str] = set()
    for file in files:
        reader = a_reader.open(a_file.fromPath(a_path(file), conf))
        try:
            message = reader.getFileMetaData().getSchema()
        finally:
            reader.close()
        if (text := message.toString()) in seen:
            continue
        seen.add(text)
        for kind in message.getFields():
            one = a_list()
            one.add(kind)
            try:
                converted = converter.convert(a_message("one", one)).json()
                (field,) = T.StructType.fromJson(json.loads(converted))
            except (PySparkException, Py4JError):
                field = T.StructField(kind.getName(), T.NullType())
            if any(isinstance(part, T.NullType | T.TimeType) for part in type_parts(field.dataType)):
                unreadable.setdefault(field.name, _described(kind))
            known = fields.setdefault(field.name, field)
            if field.name not in unreadable and known.dataType != field.dataType:
                raise InputError(
                    f"the column {field.name!r} is {known.dataType.simpleString()} in {first[field.name]} and "
                    f"{field.dataType.simpleString()} in {file}; write one of the files again"
                )
            first.setdefault(field.name, file)
    return T.StructType([*fields.values()]), unreadable


def _described(kind: Any) -> str:
    """What Parquet calls the type of a column."""
    annotation = kind.getLogicalTypeAnnotation()
    if annotation is not None:
        name = annotation.toString()
    else:
        name = kind.asPrimitiveType().getPrimitiveTypeName() if kind.isPrimitive() else "a group"
    return f"the Parquet type {name}"
