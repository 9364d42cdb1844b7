"""Open an input table of any supported format, or say in one sentence why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import types as T

from sentiment_core.errors import InputError

__all__ = [
    "CORRUPT_RECORD",
    "INPUT_FORMATS",
    "data_files",
    "format_of",
    "hadoop_path",
    "open_table",
    "refusing_unreadable",
]

INPUT_FORMATS = ("parquet", "csv", "json", "table")
# Malformed CSV and JSON records end up here; their text must not get into a message.
CORRUPT_RECORD = "__malformed_record"

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
    "PARQUET_TYPE_NOT_RECOGNIZED",
    "PARQUET_TYPE_NOT_SUPPORTED",
    "PARQUET_CONVERSION_FAILURE",
    "PARQUET_COLUMN_DATA_TYPE_MISMATCH",
    "CONFLICTING_DIRECTORY_STRUCTURES",
    "CONFLICTING_PARTITION_COLUMN_NAMES",
    "ParquetDecodingException",
    "ChecksumException",
    "crc mismatch",
    "Invalid UTF-8",
    "PATH_NOT_FOUND",
    "UnsupportedOperationException",  # of a file system that cannot list a folder
)


def open_table(session: SparkSession, source: str, *, input_format: str | None = None) -> DataFrame:
    """Open a table without reading its rows.

    Parameters
    ----------
    session : SparkSession
    source : str
        A file, a directory (every data file below it), any URI that Hadoop knows, or the name of a catalog table.
    input_format : str, optional
        One of ``INPUT_FORMATS``; by default a path is what its suffix says, else Parquet, and what is no path is a
        table.

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
        files = data_files(session, source) if input_format != "table" else None
        if files is None:
            return _open_catalog_table(session, source)
        if not files:
            raise InputError(f"{source}: no data file there; name a file or a directory that holds some")
        # A cluster's defaults must not make Spark pass over a damaged or vanished file.
        reader = session.read.options(ignoreCorruptFiles="false", ignoreMissingFiles="false")
        if not _is_partitioned(files, source=source):
            # Without it, Spark ignores files in folders that are not named `column=value`.
            reader = reader.option("recursiveFileLookup", "true")
        frame = _read_files(reader, source, input_format or format_of(source), files=files)
        if len(frame.inputFiles()) != len(files):
            raise InputError(
                f"{source}: Spark would read other files than that; avoid the characters *?[]{{}} in names"
            )
        return frame


def data_files(session: SparkSession, source: str) -> list[str] | None:
    """Data files at or below a path, relative to it, without hidden ones; None if there is no such path."""
    fs, root = hadoop_path(session, source)
    found = []
    with refusing_unreadable(source):
        if not fs.exists(root):
            return None
        base = fs.getFileStatus(root).getPath().toUri().getPath()
        listing = fs.listFiles(root, True)
        while listing.hasNext():
            name = listing.next().getPath().toUri().getPath().removeprefix(base).lstrip("/")
            if not any(part.startswith(("_", ".")) for part in PurePosixPath(name).parts):
                found.append(name)
    return sorted(found)


def format_of(source: str) -> str:
    """Format of a path by its suffix, else Parquet."""
    path = PurePosixPath(source)
    while path.suffix in _COMPRESSIONS:
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix, "parquet")


def hadoop_path(session: SparkSession, location: str) -> tuple[Any, Any]:
    """File system and qualified path of a location.

    Raises
    ------
    InputError
        If it is empty or of a scheme that this Spark has no file system for.
    """
    jvm: Any = session._jvm
    try:
        path = jvm.org.apache.hadoop.fs.Path(location)
        fs = path.getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
        return fs, path.makeQualified(fs.getUri(), fs.getWorkingDirectory())
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"{location!r} is no path that this Spark can open; check its scheme and spelling") from error


@contextmanager
def refusing_unreadable(source: str) -> Iterator[None]:
    """Turn Spark's complaints about unreadable input into an `InputError`; other errors pass."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        text = f"{type(error).__name__}: {error}"
        if "TIMESTAMP(NANOS" in text:
            raise InputError(
                f"{source}: holds nanosecond timestamps, which Spark cannot read; write them as microseconds"
            ) from error
        if "COLUMN_ALREADY_EXISTS" in text:
            raise InputError(f"{source}: has two columns whose names differ in case only; rename one") from error
        for sign in _UNREADABLE:
            if sign in text:
                raise InputError(
                    f"{source}: cannot be read ({sign}); a file is damaged or of another format or schema: "
                    "replace it, or name the format with --input-format"
                ) from error
        raise


def _open_catalog_table(session: SparkSession, name: str) -> DataFrame:
    try:
        return session.table(name)
    except (AnalysisException, ParseException) as error:
        raise InputError(
            f"{name}: no such path or table; check --input (the tables of a Hive metastore need "
            "--conf spark.sql.catalogImplementation=hive)"
        ) from error


def _read_files(reader: DataFrameReader, source: str, input_format: str, *, files: list[str]) -> DataFrame:
    if input_format == "parquet":
        return reader.parquet(source)
    if input_format == "json":
        return reader.option("columnNameOfCorruptRecord", CORRUPT_RECORD).json(source)
    # Pruned columns would hide records that have too few or too many fields.
    reader = reader.options(header="true", multiLine="true", escape='"', enforceSchema="false")
    reader = reader.options(columnPruning="false", columnNameOfCorruptRecord=CORRUPT_RECORD)
    if len(files) > 1:
        # Spark refuses other headers as well, but shows them in its logs: where there is none, that is a review.
        first, *others = (f"{source.rstrip('/')}/{name}" for name in files)
        names = reader.csv(first).columns
        if any(reader.csv(other).columns != names for other in others):
            raise InputError(
                f"{source}: the files have different headers, or one has none; give each kind its own input"
            )
    schema = reader.csv(source).schema.add(CORRUPT_RECORD, T.StringType())
    return reader.schema(schema).csv(source)


def _is_partitioned(files: list[str], *, source: str) -> bool:
    """Whether the files lie in ``column=value`` folders; of a mixture, Spark would silently read a part."""
    layouts = {tuple(part.partition("=")[0] if "=" in part else None for part in _folders(name)) for name in files}
    if not any(key is not None for layout in layouts for key in layout):
        return False
    if len(layouts) > 1 or None in next(iter(layouts)):
        raise InputError(f"{source}: holds files in and beside column=value folders; give each layout as its own input")
    return True


def _folders(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts[:-1]
