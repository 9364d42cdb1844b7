"""Score a range of dates, one run a date: history for a new table, late rows of old dates, or a new model.

The rows of a date are those whose ``--date-column`` falls on it, or what lies where ``{date}`` in ``--input`` leads.
Each date is published by itself, so readers find every partition whole throughout, and a backfill that was stopped
goes on where it was: dates that are published already, from the same rows by the same model, are not scored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.raw.conversion import forget_converted
from jobs.scoring.models import ScoringModels
from jobs.scoring.report import ScoreReport, Timings
from jobs.scoring.run import load_models, run_once
from jobs.scoring.settings import PLACE_OF_DATE, BackfillSettings, ScoreSettings, ScoringSettings
from jobs.scoring.source import open_reviews
from jobs.scoring.workers import require_workers
from jobs.shaping.checks import RowCheck, count_columns, flag_columns, refuse_counted
from jobs.shaping.filtering import filtered
from jobs.tables.dates import DateForms, date_literal
from jobs.tables.reading import refusing_unreadable
from jobs.tables.scores import require_date
from sentiment_core.errors import InputError

__all__ = ["BackfillReport", "backfill"]


@dataclass(frozen=True, kw_only=True)
class BackfillReport:
    """What a backfill did.

    Attributes
    ----------
    runs : tuple of ScoreReport
        One for each date.
    undated_rows : int
        Rows that have no date and belong to no run.
    """

    runs: tuple[ScoreReport, ...]
    undated_rows: int


def backfill(
    session: SparkSession,
    settings: BackfillSettings,
    *,
    models: ScoringModels | None = None,
    done: Callable[[ScoreReport], None] = lambda report: None,
) -> BackfillReport:
    """Score each date of a range, in a run of its own.

    Parameters
    ----------
    session : SparkSession
    settings : BackfillSettings
    models : ScoringModels, optional
        Those that `load_models` loaded before Spark started; by default they are loaded here.
    done : callable
        Called with the report of each run as soon as it has ended.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With the earlier dates published, and the date in question not.
    """
    models = load_models(settings, timings=Timings()) if models is None else models
    require_workers(session)
    undated = 0 if settings.date_column is None else _refuse_undated_column(session, settings, settings.date_column)
    reports = []
    for day in _days(settings.first, settings.last):
        given = settings if settings.date_column is not None else _of_day(settings, day)
        where = _where(settings, day)
        report = run_once(session, given, models=models, run_date=day, timings=Timings(), where=where)
        done(report)
        if settings.date_column is None:
            forget_converted()  # each date has files of its own
        reports.append(report)
    return BackfillReport(runs=tuple(reports), undated_rows=undated)


def _of_day(settings: BackfillSettings, day: date) -> ScoreSettings:
    """The settings with the date in its place in the names of the input."""
    shared = {field.name: getattr(settings, field.name) for field in fields(ScoringSettings)}
    names = tuple(name.replace(PLACE_OF_DATE, str(day)) for name in settings.input)
    return ScoreSettings(**shared | {"input": names, "run_date": day})


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _where(settings: BackfillSettings, day: date) -> Callable[[T.StructType], Column] | None:
    name = settings.date_column
    if name is None:
        return None
    return lambda schema: _forms(settings).day(schema, name) == date_literal(day)


def _forms(settings: BackfillSettings) -> DateForms:
    return DateForms(patterns=settings.date_format)


def _refuse_undated_column(session: SparkSession, settings: BackfillSettings, name: str) -> int:
    """Check that there are dates and nothing else; returns how many rows have none."""
    frame = open_reviews(session, settings).frame
    require_date(frame.schema, name)
    forms = _forms(settings)
    forms.check(session)
    check = RowCheck(wrong=forms.is_no_date(frame.schema, name), said=forms.refusal(name))
    conditions = [condition for condition in settings.where if condition.name in frame.columns]
    frame, unjudged = filtered(frame, conditions, schema=frame.schema, also=None, always=F.lit(False))
    checks = [*unjudged, check]
    flags = frame.select(forms.is_blank(frame.schema, name).alias("undated"), *flag_columns(checks))
    counts = (F.count(F.lit(1)).alias("rows"), F.count_if("undated").alias("undated"))
    with refusing_unreadable(", ".join(settings.input)):
        row = flags.agg(*counts, *count_columns(checks)).collect()[0]
    refuse_counted(checks, row)
    if row["rows"] and row["undated"] == row["rows"]:
        raise InputError(f"no row has a date in {name!r}; name a column of dates like 2026-11-23 with --date-column")
    return int(row["undated"])
