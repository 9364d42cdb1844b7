"""Score a range of dates, one run a date: history for a new table, late rows of old dates, or a new model."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from jobs.scoring.backfill import backfill
from jobs.scoring.report import Timings, remarks
from jobs.scoring.run import load_models
from jobs.scoring.settings import BackfillSettings
from jobs.spark.session import spark_session
from jobs.verbs.options import add_scoring_arguments, date_option
from jobs.verbs.settings import add_option, settings_from

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``backfill`` verb."""
    add_scoring_arguments(parser)
    for option, name in (("--from", "first"), ("--to", "last")):
        parser.add_argument(option, dest=name, required=True, type=date_option(option), metavar="YYYY-MM-DD")
    add_option(parser, BackfillSettings, "date_column", metavar="NAME")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Run the job; emits a run report for each date.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With the earlier dates published, and the date in question not.
    """
    settings = settings_from(options, BackfillSettings)
    models = load_models(settings, timings=Timings())
    session = spark_session("sentiment backfill")
    report = backfill(session, settings, models=models, done=lambda run: emit(run.facts))
    statuses = Counter(run.status for run in report.runs)
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    left = ""
    if report.undated_rows:
        left = f"; {report.undated_rows:,} rows have no {settings.date_column} and belong to no date"
    return f"{len(report.runs):,} dates: {counts}{left}{remarks([run.facts for run in report.runs])}"
