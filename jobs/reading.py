"""Open an input table of any supported format, or say in one sentence why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from sentiment_core.errors import InputError

__all__ = ["CORRUPT_RECORD", "INPUT_FORMATS", "data_files", "open_table", "refusing_unreadable"]

INPUT_FORMATS = ("parquet", "csv", "json", "table")
# Malformed CSV and JSON records end up here; their text must not get into a message.
CORRUPT_RECORD = "_corrupt_record"

_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
_COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4", ".snappy")
_UNREADABLE = (
    "FAILED_READ_FILE",
    "CANNOT_READ_FILE_FOOTER",
    "is not a Parquet file",
    "Could not read footer",
    "Failed to read footer",
    "CANNOT_MERGE_SCHEMAS",
    "FAILED_MERGE_SCHEMA",
    "UNABLE_TO_INFER_SCHEMA",
    "PARQUET_TYPE_ILLEGAL",
    "PARQUET_COLUMN_DATA_TYPE_MISMATCH",
    "CONFLICTING_DIRECTORY_STRUCTURES",
    "CONFLICTING_PARTITION_COLUMN_NAMES",
    "ParquetDecodingException",
    "ChecksumException",
    "crc mismatch",
    "Invalid UTF-8",
    "PATH_NOT_FOUND",
)


def open_table(session: SparkSession, source: str, *, input_format: str | None = None) -> DataFrame:
    """Open a table without reading its rows.

    Parameters
    ----------
    session : SparkSession
    source : str
        A file, a directory (every data file below it), any URI that Hadoop knows, or the name of a catalog table.
    input_format : str, optional
        One of ``INPUT_FORMATS``; by default what the name's suffix says, else Parquet, else a table.

    Returns
    -------
    DataFrame
        With the column `CORRUPT_RECORD` if the format can have malformed records.

    Raises
    ------
    InputError
        If there is no such input or its schema cannot be read.
    """
    with refusing_unreadable(source):
        chosen = input_format or _guessed_format(session, source)
        if chosen == "table":
            return session.table(source)
        files = data_files(session, source)
        if not files:
            raise InputError(f"{source}: no data file there; name a file or a directory that holds some")
        reader = session.read
        if not any("=" in part for name, _ in files for part in PurePosixPath(name).parts[:-1]):
            # Without it, Spark ignores files in folders that are not named `column=value`.
            reader = reader.option("recursiveFileLookup", "true")
        if chosen == "parquet":
            return reader.parquet(source)
        if chosen == "json":
            return reader.option("columnNameOfCorruptRecord", CORRUPT_RECORD).json(source)
        # Pruned columns would hide records that have too few or too many fields.
        reader = reader.options(header="true", multiLine="true", escape='"', enforceSchema="false")
        reader = reader.options(columnPruning="false", columnNameOfCorruptRecord=CORRUPT_RECORD)
        schema = reader.csv(source).schema.add(CORRUPT_RECORD, T.StringType())
        return reader.schema(schema).csv(source)


def data_files(session: SparkSession, source: str) -> list[tuple[str, int]]:
    """Data files at or below a path, as (path relative to it, bytes); hidden files and folders left out."""
    jvm: Any = session._jvm
    root = jvm.org.apache.hadoop.fs.Path(source)
    fs = root.getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
    if not fs.exists(root):
        raise InputError(f"{source}: no such path or table; check --input and --input-format")
    base = fs.getFileStatus(root).getPath().toUri().getPath()
    listing = fs.listFiles(root, True)
    found = []
    while listing.hasNext():
        status = listing.next()
        name = status.getPath().toUri().getPath().removeprefix(base).lstrip("/")
        if not any(part.startswith(("_", ".")) for part in PurePosixPath(name).parts):
            found.append((name, int(status.getLen())))
    return sorted(found)


@contextmanager
def refusing_unreadable(source: str) -> Iterator[None]:
    """Turn Spark's complaints about unreadable input into an `InputError`; other errors pass."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        text = str(error)
        if isinstance(error, PySparkException) and (error.getCondition() or "").startswith(
            ("TABLE_OR_VIEW_NOT_FOUND", "PARSE_SYNTAX_ERROR")
        ):
            raise InputError(f"{source}: no such path or table; check --input and --input-format") from error
        for sign in _UNREADABLE:
            if sign in text:
                raise InputError(
                    f"{source}: cannot be read ({sign}); a file is damaged or of another format or schema: "
                    "replace it, or name the format with --input-format"
                ) from error
        raise


def _guessed_format(session: SparkSession, source: str) -> str:
    path = PurePosixPath(source)
    while path.suffix in _COMPRESSIONS:
        path = path.with_suffix("")
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if "/" not in source and session.catalog.tableExists(source):
        return "table"
    return "parquet"
