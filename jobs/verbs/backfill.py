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
from pyspark.sql import types as T

from jobs.raw.conversion import forget_converted
from jobs.scoring.models import ScoringModels
from jobs.scoring.report import Timings, remarks
from jobs.scoring.run import run_once
from jobs.scoring.source import open_reviews
from jobs.scoring.workers import require_workers
from jobs.shaping.checks import RowCheck, count_columns, flag_columns, refuse_counted
from jobs.shaping.filtering import filtered
from jobs.spark.devices import check_engine
from jobs.spark.session import spark_session
from jobs.tables.dates import DateForms, date_literal
from jobs.tables.reading import refusing_unreadable
from jobs.tables.scores import require_date
from jobs.verbs.options import add_scoring_arguments, date_option
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
    require_workers(session)
    undated = 0 if options.date_column is None else _refuse_undated_column(session, options)
    statuses: Counter[str] = Counter()
    reports = []
    for day in _days(options.first, options.last):
        given = argparse.Namespace(
            **vars(options) | {"input": [name.replace(_PLACE, str(day)) for name in options.input]}
        )
        report = run_once(session, given, models=models, run_date=day, timings=Timings(), where=_where(options, day))
        emit(report)
        if options.date_column is None:
            forget_converted()  # each date has files of its own
        statuses[report["status"]] += 1
        reports.append({"input": report["input"], "output": report["output"]})
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    left = f"; {undated:,} rows have no {options.date_column} and belong to no date" if undated else ""
    return f"{sum(statuses.values()):,} dates: {counts}{left}{remarks(reports)}"


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _where(options: argparse.Namespace, day: date) -> Callable[[T.StructType], Column] | None:
    if options.date_column is None:
        return None
    return lambda schema: _forms(options).day(schema, options.date_column) == date_literal(day)


def _forms(options: argparse.Namespace) -> DateForms:
    return DateForms(patterns=tuple(options.date_format))


def _refuse_undated_column(session: SparkSession, options: argparse.Namespace) -> int:
    """Check that there are dates and nothing else; returns how many rows have none."""
    frame = open_reviews(session, options).frame
    require_date(frame.schema, options.date_column)
    forms, name = _forms(options), options.date_column
    forms.check(session)
    check = RowCheck(wrong=forms.is_no_date(frame.schema, name), said=forms.refusal(name))
    conditions = [condition for condition in options.where if condition.name in frame.columns]
    frame, unjudged = filtered(frame, conditions, schema=frame.schema, also=None, always=F.lit(False))
    checks = [*unjudged, check]
    flags = frame.select(forms.is_blank(frame.schema, name).alias("undated"), *flag_columns(checks))
    counts = (F.count(F.lit(1)).alias("rows"), F.count_if("undated").alias("undated"))
    with refusing_unreadable(", ".join(options.input)):
        row = flags.agg(*counts, *count_columns(checks)).collect()[0]
    refuse_counted(checks, row)
    if row["rows"] and row["undated"] == row["rows"]:
        raise InputError(
            f"no row has a date in {options.date_column!r}; name a column of dates like 2026-11-23 with --date-column"
        )
    return int(row["undated"])
