"""Score a range of dates, one run a date: history for a new table, late rows of old dates, or a new model.

The rows of a date are those whose ``--date-column`` falls on it, or what lies where ``{date}`` in ``--input`` leads.
Each date is published by itself, so readers find every partition whole throughout, and a backfill that was stopped
goes on where it was: dates that are published already, from the same rows by the same model, are not scored again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from jobs.devices import check_engine
from jobs.reading import refusing_unreadable
from jobs.review_source import open_reviews
from jobs.run_report import Timings
from jobs.schema import column, require_date
from jobs.scoring_models import ScoringModels
from jobs.scoring_options import add_scoring_arguments, date_option
from jobs.scoring_run import run_once
from jobs.session import spark_session
from jobs.tables.conversion import forget_converted
from sentiment_core.errors import InputError, UsageError

__all__ = ["add_arguments", "run"]

_PLACE = "{date}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``backfill`` verb."""
    add_scoring_arguments(parser)
    for option, name in (("--from", "first"), ("--to", "last")):
        parser.add_argument(option, dest=name, required=True, type=date_option(option), metavar="YYYY-MM-DD")
    parser.add_argument(
        "--date-column", metavar="NAME", help="date of a row; or write {date} into --input, one place a date"
    )


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Run the job; emits a run report for each date.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With the earlier dates published, and the date in question not.
    """
    if options.first > options.last:
        raise UsageError(f"--from {options.first} is after --to {options.last}; exchange them")
    if (options.date_column is None) == (_PLACE not in "".join(options.input)):
        raise UsageError(f"name the rows of a date by --date-column or by {_PLACE} in --input, by one of the two")
    # Each date replaces the partitions that it writes: one that two dates share would keep the later date's rows only.
    if options.partition_by not in ("run_date", options.date_column) and not options.only_new:
        raise UsageError(
            f"--partition-by {options.partition_by}: a later date would replace the rows of an earlier one in the same "
            "partition; add --only-new, or partition by run_date or by the --date-column"
        )
    check_engine(options.engine, precision=options.precision, device=options.device)
    models = ScoringModels.load(options.model)
    session = spark_session("sentiment backfill")
    undated = 0 if options.date_column is None else _refuse_undated_column(session, options)
    statuses: Counter[str] = Counter()
    for day in _days(options.first, options.last):
        given = argparse.Namespace(
            **vars(options) | {"input": [name.replace(_PLACE, str(day)) for name in options.input]}
        )
        report = run_once(session, given, models=models, run_date=day, timings=Timings(), where=_where(options, day))
        emit(report)
        if options.date_column is None:
            forget_converted()  # each date has files of its own
        statuses[report["status"]] += 1
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    left = f"; {undated:,} rows have no {options.date_column} and belong to no date" if undated else ""
    return f"{sum(statuses.values()):,} dates: {counts}{left}"


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _where(options: argparse.Namespace, day: date) -> Column | None:
    if options.date_column is None:
        return None
    return column(options.date_column).try_cast("date") == F.lit(day)


def _refuse_undated_column(session: SparkSession, options: argparse.Namespace) -> int:
    """Check that there are dates; returns how many rows have none."""
    frame = open_reviews(session, options).frame
    require_date(frame.schema, options.date_column)
    undated = column(options.date_column).try_cast("date").isNull()
    with refusing_unreadable(", ".join(options.input)):
        row = frame.agg(F.count(F.lit(1)).alias("rows"), F.count_if(undated).alias("undated")).collect()[0]
    if row["rows"] and row["undated"] == row["rows"]:
        raise InputError(
            f"no row has a date in {options.date_column!r}; name a column of dates like 2026-11-23 with --date-column"
        )
    return int(row["undated"])
