"""Staging, partition swap and run report: a reader finds a partition as it was or as it is now, whole.

A run writes below ``_staging/<run_id>``, which readers of the output ignore. Publishing moves the partition that
stands in the way aside and renames the new one into its place; between the two renames the partition is absent for
a moment. A swap that fails is undone. Partitions that the run did not write stay untouched. Everything goes through
Hadoop's FileSystem, so the output may be any URI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.reading import hadoop_path
from sentiment_core.errors import AuditError, SentimentError, UsageError

__all__ = ["Publication", "refuse_overlap", "table_folders"]


def refuse_overlap(session: SparkSession, *, sources: Iterable[str], output: str) -> None:
    """Refuse to write into what is read.

    Raises
    ------
    UsageError
        If the output is, holds or lies in one of the sources, or is a file.
    """
    fs, written = hadoop_path(session, output)
    if fs.exists(written) and fs.getFileStatus(written).isFile():
        raise UsageError(f"--output {output} is a file; name a directory")
    for source in sources:
        read_fs, read = hadoop_path(session, source)
        pair = (f"{read.toString()}/", f"{written.toString()}/")
        if read_fs.exists(read) and (pair[0].startswith(pair[1]) or pair[1].startswith(pair[0])):
            raise UsageError(f"--output {output} overlaps with the input {source}; name another directory")


def table_folders(frame: DataFrame) -> set[str]:
    """Where the files of a table are, partition folders left off."""
    return {re.sub(r"(/[^/]*=[^/]*)*/[^/]*$", "", name) for name in frame.inputFiles()}


class Publication:
    """The output of one run.

    Parameters
    ----------
    session : SparkSession
    output : str
        Directory of the published table, any Hadoop URI.
    run_id : str
    partition : str
        The column that the output is partitioned by.

    Raises
    ------
    UsageError
        If the output is partitioned by another column already; readers could not open it afterwards.
    """

    def __init__(self, session: SparkSession, *, output: str, run_id: str, partition: str) -> None:
        self._session = session
        jvm: Any = session._jvm
        self._jvm = jvm
        self._fs, self._root = hadoop_path(session, output)
        self._partition = partition
        self._staging = self._path(self._root, "_staging", run_id)
        self._data = self._path(self._staging, "data")
        self._replaced = self._path(self._staging, "replaced")
        self._report = self._path(self._root, "_runs", f"{run_id}.json")
        escaped = jvm.org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils.escapePathName(partition)
        for name in self._names(self._root):
            if "=" in name and not name.startswith((f"{escaped}=", "_", ".")):
                raise UsageError(
                    f"--output {output} holds {name}, but this run partitions by {partition!r}; name another directory "
                    "or use the same --partition-by"
                )

    def stage(self, scored: DataFrame, *, expected: str | None = None) -> DataFrame:
        """Write the scores into the staging folder and read them back.

        Parameters
        ----------
        scored : DataFrame
        expected : str, optional
            A partition that is replaced even if no row falls into it.

        Raises
        ------
        AuditError
            If the files have other columns or types than were written.
        """
        self.discard()
        # The files of a partition are as many as there were groups: each task writes what it scored.
        target = self._data.toString()
        scored.write.partitionBy(self._partition).parquet(target)
        wanted = {field.name: field.dataType.simpleString() for field in scored.schema}
        if self.staged_partitions():
            found = {field.name: field.dataType.simpleString() for field in self._session.read.parquet(target).schema}
            if found | {self._partition: wanted[self._partition]} != wanted:
                raise AuditError(f"the staged files have the columns {found}, expected {wanted}")
        if expected is not None:
            self._fs.mkdirs(self._path(self._data, expected))
        return self._session.read.schema(scored.schema).parquet(target)

    def staged_partitions(self) -> list[str]:
        """Names of the partitions that publishing replaces."""
        return [name for name in self._names(self._data) if "=" in name]

    def staged_bytes(self) -> int:
        """Size of the staged files."""
        return int(self._fs.getContentSummary(self._data).getLength())

    def publish(self, report: dict[str, Any]) -> str:
        """Replace the staged partitions and write the run report; returns the report's path.

        Whatever fails, an interrupt included, the output is put back as it was.
        """
        staged_report = self._path(self._staging, "report.json")
        self._write(staged_report, json.dumps(report, indent=2, sort_keys=True, default=str) + "\n")
        self._fs.mkdirs(self._replaced)
        self._fs.mkdirs(self._report.getParent())
        names = self.staged_partitions()
        try:
            for name in names:
                target = self._path(self._root, name)
                if self._fs.exists(target):
                    self._rename(target, self._path(self._replaced, name))
                self._rename(self._path(self._data, name), target)
            if self._fs.exists(self._report):
                self._fs.delete(self._report, False)
            self._rename(staged_report, self._report)
        except BaseException:
            for name in names:
                if not self._fs.exists(self._path(self._data, name)):
                    self._fs.delete(self._path(self._root, name), True)
            self._restore()
            raise
        self._fs.delete(self._replaced, True)
        return str(self._report.toString())

    def discard(self) -> None:
        """Remove the run's staging folder, and the folder of all stagings when it is empty."""
        self._restore()
        self._fs.delete(self._staging, True)
        parent = self._staging.getParent()
        if self._fs.exists(parent) and not self._names(parent):
            self._fs.delete(parent, False)

    def _restore(self) -> None:
        """Put partitions back whose place is empty: a swap was cut off, perhaps in a run that was killed."""
        for name in self._names(self._replaced):
            target = self._path(self._root, name)
            if not self._fs.exists(target):
                self._rename(self._path(self._replaced, name), target)

    def _names(self, folder: Any) -> list[str]:
        if not self._fs.exists(folder):
            return []
        return sorted(status.getPath().getName() for status in self._fs.listStatus(folder))

    def _write(self, path: Any, text: str) -> None:
        stream = self._fs.create(path, True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def _rename(self, source: Any, target: Any) -> None:
        if not self._fs.rename(source, target):
            raise SentimentError(f"could not rename {source.toString()} to {target.toString()}; check permissions")

    def _path(self, parent: Any, *names: str) -> Any:
        for name in names:
            # A name may hold a colon or an escape that Path's parsing constructor would change.
            uri = self._jvm.java.net.URI(None, None, "./" + name, None)
            parent = self._jvm.org.apache.hadoop.fs.Path(parent, self._jvm.org.apache.hadoop.fs.Path(uri))
        return parent
