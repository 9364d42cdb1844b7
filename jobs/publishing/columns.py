"""The columns of the table that lies at the output, against those that a run would add.

Readers of a Parquet table find one schema in all of its partitions, or none: a column that is ``bigint`` one night and
``double`` the next leaves a table that nobody can open. So a run whose columns are others is refused, before it reads a
row of its input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.publishing.publication import read_report, reported_runs
from jobs.shaping.casts import parse_cast
from jobs.storage.files import FileSystem
from jobs.storage.java import HADOOP_FILE, HADOOP_PATH, PARQUET_CONVERTER, PARQUET_READER, java_class
from jobs.tables.extras import is_extra
from jobs.tables.scores import SCORE_FIELDS, ScoreColumns, scores_schema
from sentiment_core.errors import AuditError, InputError, UsageError

__all__ = ["column_types", "has_rows", "refuse_other_columns"]

# A table that only this job wrote has the same columns everywhere; of one with many partitions, a sample shows it.
_LOOKED_AT = 100
_AT_ONCE = 16
_SPARKS_OWN = "org.apache.spark.sql.parquet.row.metadata"


def refuse_other_columns(
    session: SparkSession,
    fs: FileSystem,
    location: str,
    *,
    schema: T.StructType,
    columns: ScoreColumns,
    replaced: str | None,
) -> None:
    """Refuse a run that would leave partitions with different columns.

    Parameters
    ----------
    session : SparkSession
    fs : FileSystem
    location : str
        The root of ``fs``, as Spark names it.
    schema : StructType
        Of the input.
    columns : ScoreColumns
    replaced : str, optional
        The partition that the run replaces as a whole, whose columns do not matter.

    Raises
    ------
    InputError
        If a column is missing, is one too many, or has another type.
    AuditError
        If a published file cannot be read.
    """
    names = [name for name in fs.list("") if "=" in name and not name.startswith(("_", ".")) and name != replaced]
    step = max(1, -(-len(names) // _LOOKED_AT))
    looked_at = list(dict.fromkeys([*names[::step], *names[-1:]]))
    files = [f"{location}/{name}/{file}" for name in looked_at for file in _data_files(fs, name)[:1]]
    if not files:
        return
    wanted = column_types(schema, columns)
    partition_type = _reported_type(fs, columns)
    if partition_type not in (None, wanted[columns.partition]):
        _refuse_type(location, columns.partition, found=str(partition_type), wanted=wanted[columns.partition])
    read = _FooterSchemas(session)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(read, files):
            _compare(location, found, wanted=wanted, columns=columns)


def column_types(schema: T.StructType, columns: ScoreColumns) -> dict[str, str]:
    """Types of the columns that every partition must have: those of the output, but for what was asked for besides."""
    extra = {field.name for field in columns.extra.fields}
    contract = scores_schema(schema, columns)
    return {field.name: field.dataType.simpleString() for field in contract if field.name not in extra}


def has_rows(fs: FileSystem, partition: str) -> bool:
    """Whether a partition is published and has a row: a folder without any has no file."""
    return bool(_data_files(fs, partition))


def _data_files(fs: FileSystem, folder: str) -> list[str]:
    return [name for name, size in fs.list(folder).items() if size is not None and not name.startswith(("_", "."))]


def _reported_type(fs: FileSystem, columns: ScoreColumns) -> str | None:
    """What the last run says of the partition's column: its files do not hold it."""
    for run_id in reversed(reported_runs(fs)):
        output: Any = (read_report(fs, run_id) or {}).get("output")
        if isinstance(output, Mapping) and isinstance(output.get("columns"), Mapping):
            found = output["columns"].get(columns.partition)
            return None if found is None else str(found)
    return None


def _compare(location: str, found: T.StructType, *, wanted: Mapping[str, str], columns: ScoreColumns) -> None:
    types = {field.name: field.dataType.simpleString() for field in found}
    for name, kind in wanted.items():
        if name == columns.partition:
            continue
        if name not in types:
            where = f"the table at {location} has no column {name!r} ({kind})"
            if name in SCORE_FIELDS.names:
                raise InputError(f"{where}, so it is no scores table of this version; name another --output")
            raise InputError(
                f"{where}, which this run would add; leave it out of --keep-columns, or name another --output"
            )
        if types[name] != kind:
            _refuse_type(location, name, found=types[name], wanted=kind)
    kept = set(columns.kept)
    for field in found:
        if field.name not in wanted and (field.name in kept or not is_extra(field)):
            raise InputError(
                f"the table at {location} has the column {field.name!r} ({types[field.name]}), which this run does not "
                f"keep; add {field.name} to --keep-columns, or name another --output"
            )


def _refuse_type(location: str, name: str, *, found: str, wanted: str) -> None:
    can_cast = _can_cast(found) and _can_cast(wanted)
    cure = f"cast it with --cast {name}={found}" if can_cast else f"write the input's column as {found}"
    raise InputError(
        f"the column {name!r} is {found} in the table at {location}, but {wanted} in this run, and no reader opens a "
        f"table with both; {cure}, or name another --output"
    )


def _can_cast(kind: str) -> bool:
    try:
        parse_cast(f"column={kind}")
    except UsageError:
        return False
    return True


class _FooterSchemas:
    """Reads a Parquet file's columns from its footer in the driver, without a task."""

    def __init__(self, session: SparkSession) -> None:
        state = session._jsparkSession.sessionState()
        jvm: Any = session._jvm
        self._conf = state.newHadoopConf()
        self._path = java_class(jvm, HADOOP_PATH)
        self._file, self._open = java_class(jvm, HADOOP_FILE).fromPath, java_class(jvm, PARQUET_READER).open
        self._converter = java_class(jvm, PARQUET_CONVERTER)(state.conf())
        self._known: dict[str, T.StructType] = {}

    def __call__(self, file: str) -> T.StructType:
        """Columns of a file."""
        try:
            reader = self._open(self._file(self._path(file), self._conf))
            try:
                footer = reader.getFileMetaData()
                own = footer.getKeyValueMetaData().get(_SPARKS_OWN)
                text = own or self._converter.convert(footer.getSchema()).json()
            finally:
                reader.close()
            if text not in self._known:
                self._known[text] = T.StructType.fromJson(json.loads(text))
            return self._known[text]
        except (PySparkException, Py4JError, ValueError, LookupError) as error:
            raise AuditError(
                f"{file.rsplit('/', 1)[0]} is published, but cannot be read, so disk or network damaged it; restore "
                "it, or remove the partition and score its rows again"
            ) from error
