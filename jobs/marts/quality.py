"""The mart of what is wrong with the scores' dates: one row a run date, for whoever looks after the source.

A review whose date is missing, or cannot be true, is in no other mart. Here it is counted, so that it is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.tables.dates import date_literal
from sentiment_core.errors import UsageError

__all__ = ["DateCounts", "DateWindow", "data_quality", "sum_counts"]


@dataclass(frozen=True, kw_only=True)
class DateWindow:
    """Which dates a review can have.

    Attributes
    ----------
    earliest : date
    latest : date or None
        None for the day after the run date of the row: a review is not written after it is scored, but somewhere it is
        tomorrow already.
    """

    earliest: date = date(1990, 1, 1)
    latest: date | None = None

    def __post_init__(self) -> None:
        if self.latest is not None and self.latest < self.earliest:
            raise UsageError(f"--latest-date {self.latest} is before --earliest-date {self.earliest}; exchange them")

    def holds(self, day: Column, *, run_date: Column) -> Column:
        """Whether a day is in the window."""
        latest = F.date_add(run_date, 1) if self.latest is None else date_literal(self.latest)
        return day.between(date_literal(self.earliest), latest)

    def __str__(self) -> str:
        return f"{self.earliest} to {self.latest or 'the day after the run date'}"


@dataclass(frozen=True, kw_only=True)
class DateCounts:
    """Reviews of one run date by what their dates are.

    Attributes
    ----------
    reviews : int
    undated : int
        Without a date.
    misdated : int
        With a date outside the window.
    """

    reviews: int = 0
    undated: int = 0
    misdated: int = 0

    def __add__(self, other: DateCounts) -> DateCounts:
        """Of the reviews of both."""
        return DateCounts(
            reviews=self.reviews + other.reviews,
            undated=self.undated + other.undated,
            misdated=self.misdated + other.misdated,
        )


def sum_counts(counted: Iterable[Sequence[tuple[str, DateCounts]]]) -> dict[str, DateCounts]:
    """Counts by run date of several folders together, in the order of the dates."""
    sums: dict[str, DateCounts] = {}
    for folder in counted:
        for run_date, counts in folder:
            sums[run_date] = sums.get(run_date, DateCounts()) + counts
    return dict(sorted(sums.items()))


def data_quality(session: SparkSession, counts: dict[str, DateCounts]) -> DataFrame:
    """The mart's rows, by run date; at least one."""
    rows: list[dict[str, Any]] = [
        {
            "run_date": date.fromisoformat(run_date),
            "reviews": counted.reviews,
            "undated": counted.undated,
            "misdated": counted.misdated,
            "month": run_date[:7],
        }
        for run_date, counted in counts.items()
    ]
    # As Arrow: rows of Python objects would start Python workers to convert them.
    return session.createDataFrame(pa.Table.from_pylist(rows))
