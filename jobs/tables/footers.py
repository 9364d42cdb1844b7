"""What Spark would not notice about the Parquet files of an input.

Pages are protected by checksums, where the writer wrote them; footers by nothing. A footer tells the columns more than
once: in its schema, and, where Spark wrote it, as Spark's own. Spark believes the latter, and reads a column that the
file does not have as NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.storage.java import HADOOP_FILE, HADOOP_PATH, PARQUET_CONVERTER, PARQUET_READER, java_class
from sentiment_core.errors import InputError, shown

__all__ = ["ParquetFiles", "inspect_parquet"]

_SPARKS_OWN = "org.apache.spark.sql.parquet.row.metadata"
# Footers are read one seek after the other, most of the time waiting.
_AT_ONCE = 16
# Whose form in Parquet tells all of the type.
_PLAIN = (T.BooleanType, T.IntegralType, T.FloatType, T.DoubleType, T.DecimalType, T.DateType)


@dataclass(frozen=True, kw_only=True)
class ParquetFiles:
    """Parquet files of an input.

    Attributes
    ----------
    files : int
    without_checksums : int
        Files whose pages have no checksums, so that damage in them may go unnoticed.
    """

    files: int = 0
    without_checksums: int = 0


def inspect_parquet(session: SparkSession, files: Iterable[str], *, needed: Sequence[str] = ()) -> ParquetFiles:
    """Look into the footers of Parquet files, and for the checksum of one page of each.

    Parameters
    ----------
    session : SparkSession
    files : iterable of str
    needed : sequence of str
        Columns that no file with rows may lack if another one has them: Spark reads them as NULL there.

    Raises
    ------
    InputError
        If a footer contradicts itself, or a column is not in all files.
    """
    footers = _Footers(session, needed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sums = list(pool.map(footers.has_checksums, files))
    footers.refuse_lacking()
    return ParquetFiles(files=len(sums), without_checksums=sums.count(False))


class _Footers:
    """Reads footers by Spark's own classes."""

    def __init__(self, session: SparkSession, needed: Sequence[str]) -> None:
        state = session._jsparkSession.sessionState()
        jvm: Any = session._jvm
        self._conf = state.newHadoopConf()
        self._uri, self._path = java_class(jvm, "java.net.URI"), java_class(jvm, HADOOP_PATH)
        self._file, self._open = java_class(jvm, HADOOP_FILE).fromPath, java_class(jvm, PARQUET_READER).open
        self._page_header = java_class(jvm, "org.apache.parquet.format.Util").readPageHeader
        self._converter = java_class(jvm, PARQUET_CONVERTER)(state.conf())
        self._known: set[tuple[str, str]] = set()
        # Of each column that is needed, the files with rows that have it, and those that lack it.
        self._needed: dict[str, tuple[list[str], list[str]]] = {column: ([], []) for column in needed}

    def refuse_lacking(self) -> None:
        """Refuse a column that some files have and others lack."""
        for column, (having, lacking) in self._needed.items():
            if having and lacking:
                raise InputError(
                    f"{min(lacking)}: has no column {column!r}, which {min(having)} has, and Spark would read NULL for "
                    "each row; rename the column there, or give each kind of file its own run"
                )

    def has_checksums(self, name: str) -> bool:
        """Whether a file's first page has a checksum, True for a file without pages; refuses a wrong footer."""
        try:
            return self._inspect(name)
        except Py4JJavaError as error:
            kind = error.java_exception.getClass().getSimpleName()
            raise InputError(
                f"{name}: its footer or first page cannot be read ({kind}); the file is damaged: replace it"
            ) from error

    def _inspect(self, name: str) -> bool:
        path = self._path(self._uri(name))
        reader = self._open(self._file(path, self._conf))
        try:
            schema = reader.getFileMetaData().getSchema()
            self._check(name, reader.getFileMetaData())
            filled = next((group for group in reader.getRowGroups() if group.getRowCount()), None)
            if filled is None:
                return True
            for column, files in self._needed.items():
                files[not _has_column(schema, column)].append(name)
            place = filled.getColumns().get(0).getStartingPos()
        finally:
            reader.close()
        stream = path.getFileSystem(self._conf).open(path)
        try:
            stream.seek(place)
            return bool(self._page_header(stream).isSetCrc())
        finally:
            stream.close()

    def _check(self, name: str, footer: Any) -> None:
        sparks_own = footer.getKeyValueMetaData().get(_SPARKS_OWN)
        if sparks_own is None:
            return
        schema = footer.getSchema()
        both = (schema.toString(), sparks_own)
        if both not in self._known:
            _refuse_contradiction(name, schema=self._converter.convert(schema).json(), sparks_own=sparks_own)
            self._known.add(both)


def _has_column(schema: Any, name: str) -> bool:
    """Whether a file has a column, as Spark looks for it: in any case."""
    if schema.containsField(name):
        return True
    return name.casefold() in {field.getName().casefold() for field in schema.getFields()}


def _refuse_contradiction(name: str, *, schema: str, sparks_own: str) -> None:
    try:
        own = T.StructType.fromJson(json.loads(sparks_own))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: what Spark wrote of its columns is damaged; write the file again") from error
    differing = _difference(T.StructType.fromJson(json.loads(schema)), own)
    if differing is not None:
        raise InputError(
            f"{name}: its footer tells the column {shown(differing)} in two ways, and Spark would read NULL or another "
            "type; the footer is damaged or another program changed the columns: write the file again with Spark"
        )


def _difference(file: T.DataType, own: T.DataType) -> str | None:
    """Name of a column in which the types differ, "" for an inner one without a name."""
    if isinstance(file, T.StructType) and isinstance(own, T.StructType):
        for mine, its in zip(file.fields, own.fields):
            if mine.name != its.name:
                return its.name
            found = _difference(mine.dataType, its.dataType)
            if found is not None:
                return f"{its.name}.{found}".rstrip(".")
        longer = max(file.names, own.names, key=len)
        return None if len(file.names) == len(own.names) else longer[min(len(file.names), len(own.names))]
    if isinstance(file, T.ArrayType) and isinstance(own, T.ArrayType):
        return _difference(file.elementType, own.elementType)
    if isinstance(file, T.MapType) and isinstance(own, T.MapType):
        found = _difference(file.keyType, own.keyType)
        return _difference(file.valueType, own.valueType) if found is None else found
    # Others, such as intervals, are plain numbers in a file.
    return "" if isinstance(own, _PLAIN) and file != own else None
