"""The published marts: reading some months of one, and replacing months of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.marts.schemas import MARTS, no_rows
from jobs.publishing.lock import OutputLock
from jobs.publishing.publication import Publication
from jobs.publishing.staging import Staging, open_output
from jobs.storage.files import FileSystem
from jobs.tables.exact import exact_reader
from jobs.tables.reading import refusing_unreadable

__all__ = ["MartTables"]


class MartTables:
    """The marts below one directory, each a table partitioned by month and published on its own.

    Entering finishes or removes what a dead refresh left, leaving removes what is staged and not published.

    Parameters
    ----------
    session : SparkSession
    output : str
        Any Hadoop URI.
    run_id : str
        Names the staging folders.
    lock : OutputLock
        Of the directory, held by this refresh.
    """

    def __init__(self, session: SparkSession, output: str, *, run_id: str, lock: OutputLock) -> None:
        self._session = session
        self._tables: dict[str, _Table] = {}
        for mart in MARTS:
            fs, location = open_output(session, f"{output}/{mart}")
            publication = Publication(fs, run_id=run_id, lock=lock)
            self._tables[mart] = _Table(fs=fs, location=location, publication=publication)
        self._entered = ExitStack()

    def __enter__(self) -> MartTables:
        with ExitStack() as entered:
            for table in self._tables.values():
                entered.enter_context(table.publication)
            self._entered = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()

    def months(self, mart: str) -> set[str]:
        """Months that are published."""
        return self._tables[mart].months()

    def read(self, mart: str, months: Iterable[str], *, schema: T.StructType) -> DataFrame:
        """Published rows of some months; those that are not there have none."""
        table = self._tables[mart]
        paths = [f"{table.location}/month={month}" for month in sorted(table.months() & set(months))]
        if not paths:
            return no_rows(self._session, schema)
        with refusing_unreadable(table.location):
            return exact_reader(self._session).schema(schema).option("basePath", table.location).parquet(*paths)

    def stage(self, mart: str, rows: DataFrame, *, months: Iterable[str]) -> DataFrame:
        """Stage these months of a mart, to be replaced on `publish`; returns what was written."""
        table = self._tables[mart]
        staging = Staging(
            self._session,
            table.fs,
            location=table.location,
            publication=table.publication,
            partition="month",
            contract=rows.schema,
        )
        # A task writes whole months: one file each.
        staged = staging.write(rows.repartition(F.col("month")).sortWithinPartitions("month", *rows.columns[:2]))
        written = {name.removeprefix("month=") for name in table.publication.partitions()}
        for month in (table.months() & set(months)) - written:
            # All rows of the month are gone.
            staging.complete(expected=f"month={month}")
            table.emptied.add(month)
        return staged

    def publish(self, report: Mapping[str, Any]) -> None:
        """Put what is staged in place, mart by mart."""
        for table in self._tables.values():
            if table.publication.partitions():
                table.publication.publish(dict(report))
            for month in table.emptied:
                table.fs.remove_empty(f"month={month}")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One mart, and the months of which a refresh leaves no row."""

    fs: FileSystem
    location: str
    publication: Publication
    emptied: set[str] = field(default_factory=set)

    def months(self) -> set[str]:
        return {name.removeprefix("month=") for name in self.fs.list("") if name.startswith("month=")}
