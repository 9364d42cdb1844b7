"""The directory of a scores table, as one run finds it and changes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.publishing.columns import has_rows, refuse_other_columns
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication, read_report, reported_runs, signature
from jobs.publishing.staging import (
    Staging,
    finding_damage,
    open_output,
    refuse_other_partitioning,
    refuse_overlap,
    saying_what_failed,
)
from jobs.storage.files import FileSystem
from jobs.tables.scores import ScoreColumns, scores_schema
from sentiment_core.errors import InputError

__all__ = ["ScoresOutput"]


@dataclass(frozen=True, kw_only=True)
class ScoresOutput:
    """The output of one run.

    Parameters
    ----------
    session : SparkSession
    name : str
        The directory, as it was given.
    fs : FileSystem
        Its root is the directory.
    location : str
        The directory, as Spark names it.
    replaced : str, optional
        The partition that the run replaces as a whole, if that is known before a row is read.
    """

    session: SparkSession
    name: str
    fs: FileSystem
    location: str
    replaced: str | None

    @classmethod
    def open(
        cls, session: SparkSession, name: str, *, sources: Iterable[str], partition: str, replaced: str | None
    ) -> ScoresOutput:
        """Open a directory that is none of the sources, and is partitioned by this column, if there is one.

        Raises
        ------
        UsageError
        """
        refuse_overlap(session, sources=sources, output=name)
        fs, location = open_output(session, name)
        refuse_other_partitioning(session, fs, output=name, partition=partition)
        return cls(session=session, name=name, fs=fs, location=location, replaced=replaced)

    def refuse_sources(self, sources: Iterable[str]) -> None:
        """Refuse to write into what is read.

        Raises
        ------
        UsageError
        """
        refuse_overlap(self.session, sources=sources, output=self.name)

    def refuse_columns(self, schema: T.StructType, columns: ScoreColumns) -> None:
        """Refuse a run that would leave partitions with different columns.

        Raises
        ------
        InputError
        """
        refuse_other_columns(
            self.session, self.fs, self.location, schema=schema, columns=columns, replaced=self.replaced
        )

    def refuse_emptying(self) -> None:
        """Refuse a run without rows, if it would replace a partition that has some.

        Raises
        ------
        InputError
        """
        if self.replaced is not None and has_rows(self.fs, self.replaced):
            raise InputError(
                f"the input has no row to score, and {self.name} has rows of {self.replaced}, which would be replaced "
                "by nothing; check the input, or give --allow-empty"
            )

    def runs(self) -> list[str]:
        """Names of the runs that were published."""
        return reported_runs(self.fs)

    def published(self, run_id: str) -> dict[str, Any] | None:
        """The report of a run, if what it published still lies there."""
        report = read_report(self.fs, run_id)
        found = (report or {}).get("output", {}).get("signatures")
        if not isinstance(found, dict) or any(signature(self.fs, name) != known for name, known in found.items()):
            return None
        return report

    @contextmanager
    def changing(self, run_id: str, *, source: str) -> Iterator[Publication]:
        """Lock the directory for a run, and let it publish there; its faults are sentences.

        Raises
        ------
        AuditError, InputError, SentimentError
        """
        with (
            saying_what_failed(self.name),
            finding_damage(self.location, source=source),
            OutputLock(self.fs, Owner.this_process(run_id)).held() as lock,
            Publication(self.fs, run_id=run_id, lock=lock) as publication,
        ):
            yield publication

    def staging(self, publication: Publication, schema: T.StructType, columns: ScoreColumns) -> Staging:
        """Where a run writes the scores of an input before it publishes them."""
        return Staging(
            self.session,
            self.fs,
            location=self.location,
            publication=publication,
            partition=columns.partition,
            contract=scores_schema(schema, columns),
        )
