"""Staging, partition swap and run report: readers see the old partition or the new one, both whole.

A run writes below ``_staging/<run_id>``, which readers of the output ignore. Publishing moves the partition that
stands in the way aside and renames the new one into its place, one directory rename each; partitions that the run
did not write stay untouched. Everything goes through Hadoop's FileSystem, so the output may be any URI.
"""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from sentiment_core.errors import SentimentError, UsageError

__all__ = ["Publication", "refuse_overlap"]


def refuse_overlap(session: SparkSession, *, source: str, output: str) -> None:
    """Refuse to write into what is read.

    Raises
    ------
    UsageError
        If one of the two directories is or holds the other.
    """
    jvm: Any = session._jvm
    paths = [jvm.org.apache.hadoop.fs.Path(path) for path in (source, output)]
    fs = paths[1].getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
    read, written = (path.makeQualified(fs.getUri(), fs.getWorkingDirectory()).toString() + "/" for path in paths)
    if read.startswith(written) or written.startswith(read):
        raise UsageError(f"--output {output} and --input {source} overlap; name another directory")


class Publication:
    """The output of one run.

    Parameters
    ----------
    session : SparkSession
    output : str
        Directory of the published table, any Hadoop URI.
    run_id : str
    """

    def __init__(self, session: SparkSession, *, output: str, run_id: str) -> None:
        self._session = session
        jvm: Any = session._jvm
        self._jvm = jvm
        self._root = jvm.org.apache.hadoop.fs.Path(output)
        self._fs = self._root.getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
        self._staging = self._path("_staging", run_id)
        self._report = self._path("_runs", f"{run_id}.json")
        self._run_id = run_id

    def check_partition(self, partition: str) -> None:
        """Refuse to add partitions of one column to a table that is partitioned by another.

        Raises
        ------
        UsageError
            If the output holds such partitions; readers could not open it afterwards.
        """
        for status in self._fs.listStatus(self._root) if self._fs.exists(self._root) else []:
            name = status.getPath().getName()
            if "=" in name and not name.startswith((f"{partition}=", "_", ".")):
                raise UsageError(
                    f"--output {self._root.toString()} holds {name}, but this run partitions by {partition!r}; name "
                    "another directory or use the same --partition-by"
                )

    def stage(self, scored: DataFrame, *, partition: str, expected: str | None = None) -> DataFrame:
        """Write the scores into the staging folder and read them back.

        ``expected`` is a partition that is replaced even if no row falls into it.
        """
        self.discard()
        target = self._child(self._staging, "data").toString()
        # The files of a partition are as many as there were groups: each task writes what it scored.
        scored.write.partitionBy(partition).parquet(target)
        if expected is not None:
            self._fs.mkdirs(self._path("_staging", self._run_id, "data", expected))
        return self._session.read.schema(scored.schema).parquet(target)

    def staged_bytes(self) -> int:
        """Size of the staged files."""
        return int(self._fs.getContentSummary(self._child(self._staging, "data")).getLength())

    def publish(self) -> list[str]:
        """Replace the partitions that were staged; returns their names."""
        staged = self._child(self._staging, "data")
        names = sorted(status.getPath().getName() for status in self._fs.listStatus(staged) if status.isDirectory())
        replaced = self._child(self._staging, "replaced")
        self._fs.mkdirs(replaced)
        for name in names:
            target = self._child(self._root, name)
            if self._fs.exists(target):
                self._rename(target, self._child(replaced, name))
            self._rename(self._child(staged, name), target)
        return names

    def write_report(self, report: dict[str, Any]) -> str:
        """Write the run report; returns its path."""
        self._fs.mkdirs(self._report.getParent())
        staged = self._child(self._staging, "report.json")
        self._fs.mkdirs(self._staging)
        stream = self._fs.create(staged, True)
        try:
            stream.write(bytearray((json.dumps(report, indent=2, sort_keys=True) + "\n").encode()))
        finally:
            stream.close()
        if self._fs.exists(self._report):
            self._fs.delete(self._report, False)
        self._rename(staged, self._report)
        return str(self._report.toString())

    def discard(self) -> None:
        """Remove the run's staging folder, and the folder of all stagings when it is empty."""
        self._fs.delete(self._staging, True)
        parent = self._staging.getParent()
        if self._fs.exists(parent) and not self._fs.listStatus(parent):
            self._fs.delete(parent, False)

    def _rename(self, source: Any, target: Any) -> None:
        if not self._fs.rename(source, target):
            raise SentimentError(f"could not rename {source.toString()} to {target.toString()}; check permissions")

    def _path(self, *names: str) -> Any:
        path = self._root
        for name in names:
            path = self._child(path, name)
        return path

    def _child(self, parent: Any, name: str) -> Any:
        # A name may hold a colon or an escape that Path's parsing constructor would change; a URI is built from parts.
        uri = self._jvm.java.net.URI(None, None, "./" + name, None)
        return self._jvm.org.apache.hadoop.fs.Path(parent, self._jvm.org.apache.hadoop.fs.Path(uri))
