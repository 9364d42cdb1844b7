"""What a run writes before it publishes: scores and their keys, on the file system of the output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.publishing.publication import Publication
from jobs.storage.files import FileSystem, LocalFileSystem
from jobs.storage.hadoop import HadoopFileSystem
from jobs.storage.java import java_class
from jobs.tables.exact import exact_reader
from jobs.tables.reading import hadoop_path, refusing_unreadable
from sentiment_core.errors import AuditError, InputError, SentimentError, UsageError

__all__ = [
    "KEYS",
    "Staging",
    "finding_damage",
    "open_output",
    "refuse_other_partitioning",
    "refuse_overlap",
    "saying_what_failed",
    "table_folders",
]

# The folder of a partition's keys.
KEYS = "_keys"
# Of Java's exceptions, which tasks hand on as text.
_UNWRITABLE = (
    "No space left on device",
    "Disk quota exceeded",
    "QuotaExceededException",
    "Read-only file system",
    "AccessControlException",
    "Permission denied",
)


def open_output(session: SparkSession, output: str) -> tuple[FileSystem, str]:
    """File system whose root is a directory, and the directory as Spark names it."""
    fs, root = hadoop_path(session, output)
    if _is_local(fs):
        return LocalFileSystem(Path(root.toUri().getPath())), root.toString()
    return HadoopFileSystem(session._jvm, fs=fs, root=root), root.toString()


def refuse_overlap(session: SparkSession, *, sources: Iterable[str], output: str) -> None:
    """Refuse to write into what is read, by whatever name.

    Raises
    ------
    UsageError
        If the output is, holds or lies in one of the sources, links resolved, or is a file.
    """
    fs, written = hadoop_path(session, output)
    if fs.exists(written) and fs.getFileStatus(written).isFile():
        raise UsageError(f"--output {output} is a file; name a directory")
    target = _real_name(fs, written)
    for source in sources:
        read_fs, read = hadoop_path(session, source)
        if not read_fs.exists(read):
            continue
        # Compared with a slash at the end: `scores` does not hold `scores2`.
        for name in (_real_name(read_fs, read), *_linked_from(read_fs, read)):
            if name.startswith(target) or target.startswith(name):
                raise UsageError(
                    f"--output {output} and the input {source} are or hold the same folder; name another directory"
                )


def _real_name(fs: Any, path: Any) -> str:
    """A location by its one name, with a slash at the end."""
    if _is_local(fs):
        return f"file:{os.path.realpath(path.toUri().getPath())}/"
    existing = fs.resolvePath(path) if fs.exists(path) else path
    return f"{existing.toString()}/"


def _linked_from(fs: Any, path: Any) -> Iterator[str]:
    """Where the links in a folder of this machine lead: readers follow them."""
    if _is_local(fs):
        for folder, folders, files in os.walk(path.toUri().getPath()):
            for name in (*folders, *files):
                if Path(folder, name).is_symlink():
                    yield f"file:{os.path.realpath(Path(folder, name))}/"


def _is_local(fs: Any) -> bool:
    return bool(fs.getUri().getScheme() == "file")


def refuse_other_partitioning(session: SparkSession, fs: FileSystem, *, output: str, partition: str) -> None:
    """Refuse an output that is partitioned by another column; readers could not open it afterwards.

    Raises
    ------
    UsageError
    """
    jvm: Any = session._jvm
    escaped = java_class(jvm, "org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils").escapePathName(partition)
    for name in fs.list(""):
        if "=" in name and not name.startswith((f"{escaped}=", "_", ".")):
            raise UsageError(
                f"--output {output} holds {name}, but this run partitions by {partition!r}; name another directory "
                "or use the same --partition-by"
            )


@contextmanager
def saying_what_failed(output: str) -> Iterator[None]:
    """Errors of the output's file system in one sentence.

    Raises
    ------
    SentimentError
    """
    try:
        yield
    except OSError as error:
        raise SentimentError(
            f"{output}: cannot be written ({error}); check permissions and space. The next run clears up"
        ) from error
    except (PySparkException, Py4JJavaError) as error:
        for sign in _UNWRITABLE:
            if sign in str(error):
                raise SentimentError(
                    f"{output}: cannot be written ({sign}); check permissions and space, there and in the executors' "
                    "spark.local.dir. The next run clears up"
                ) from error
        raise


@contextmanager
def finding_damage(location: str, *, source: str | None = None) -> Iterator[None]:
    """Files of the output that cannot be read, staged or published, are a failed audit.

    Parameters
    ----------
    location : str
        The output, as Spark names it.
    source : str, optional
        What else is read; without it, what cannot be read was staged.

    Raises
    ------
    AuditError
    InputError
        If it is the source that cannot be read.
    """
    try:
        with refusing_unreadable(source or location):
            yield
    except InputError as error:
        folder = re.escape(urlsplit(location).path)
        read = re.search(rf":(?://[^/]*)?{folder}/([^/]+)/", unquote(str(error.__cause__)))
        if read is not None and "=" in read[1]:
            raise AuditError(
                f"{location}/{read[1]} is published, but cannot be read, so disk or network damaged it; restore it, or "
                "remove it and score its rows again. Nothing was published"
            ) from error
        if source is not None and read is None:
            raise
        raise AuditError(
            "the staged files cannot be read back, so disk or network damaged them; check these and run again, nothing "
            "was published"
        ) from error


def table_folders(frame: DataFrame) -> set[str]:
    """Where the files of a table are, partition folders left off."""
    return {unquote(re.sub(r"(/[^/]*=[^/]*)*/[^/]*$", "", name)) for name in frame.inputFiles()}


class Staging:
    """The staged files of one run.

    Parameters
    ----------
    session : SparkSession
    fs : FileSystem
    location : str
        The root of ``fs``, as Spark names it.
    publication : Publication
    partition : str
        The column that the output is partitioned by.
    contract : StructType
        Of the scores.
    """

    def __init__(
        self,
        session: SparkSession,
        fs: FileSystem,
        *,
        location: str,
        publication: Publication,
        partition: str,
        contract: T.StructType,
    ) -> None:
        self._session = session
        self._fs = fs
        self._location = location
        self._publication = publication
        self._partition = partition
        self._keys = publication.beside("keys")
        self._targets = {"scores": f"{location}/{publication.data}", "keys": f"{location}/{self._keys}"}
        self._schemas: dict[str, T.StructType] = {"scores": contract}

    def write(self, scores: DataFrame) -> DataFrame:
        """Add scores; returns `scores`.

        Raises
        ------
        AuditError
            If the files have other columns, types or another order than the contract says.
        """
        # The files of a partition are as many as there were groups: each task writes what it scored.
        self.append("scores", scores)
        if self._publication.partitions():
            self._check_columns()
        return self.scores()

    def _check_columns(self) -> None:
        """Names, types and order, as the files have them; the partition's column is the folder's name."""
        with finding_damage(self._location):
            found = exact_reader(self._session).parquet(self._targets["scores"]).schema
        columns, contract = (
            [(field.name, field.dataType.simpleString()) for field in schema if field.name != self._partition]
            for schema in (found, self._schemas["scores"])
        )
        if columns != contract or self._partition not in found.names:
            raise AuditError(f"the staged files have the columns {columns}, expected {contract}; nothing was published")

    def write_keys(self, keys: DataFrame) -> DataFrame:
        """Add keys; returns `keys`."""
        self.append("keys", keys)
        return self.keys()

    def scores(self) -> DataFrame:
        """All scores that are staged, as read from their files."""
        return self._read("scores")

    def keys(self) -> DataFrame:
        """All keys that are staged, as read from their files."""
        return self._read("keys")

    def append(self, kind: str, rows: DataFrame) -> None:
        """Write rows into the folder of ``scores`` or ``keys``, partitioned, beside those that lie there."""
        rows.write.mode("append").partitionBy(self._partition).parquet(self._targets[kind])
        self._schemas.setdefault(kind, rows.schema)

    def _read(self, kind: str) -> DataFrame:
        return exact_reader(self._session).schema(self._schemas[kind]).parquet(self._targets[kind])

    def complete(self, *, expected: str | None = None) -> None:
        """Put the keys beside the scores.

        Parameters
        ----------
        expected : str, optional
            A partition that is replaced even if no row falls into it.
        """
        for name in self._fs.list(self._keys):
            if "=" in name:
                self._fs.rename(f"{self._keys}/{name}", f"{self._publication.data}/{name}/{KEYS}")
        if expected is not None:
            self._fs.make_folder(f"{self._publication.data}/{expected}")

    def n_bytes(self) -> int:
        """Size of the staged files, keys left out."""
        folders = [f"{self._publication.data}/{name}" for name in self._publication.partitions()]
        files = (pair for folder in folders for pair in self._fs.list(folder).items())
        return sum(size or 0 for name, size in files if not name.startswith((".", "_")))
