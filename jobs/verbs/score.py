"""The nightly job: score a review table for one date.

The scores table exists so that dashboards and marts can read the sentiment of every review without a model. One row
of the input gives one row of the output; a run that fails publishes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jobs.scoring.report import ScoreReport, Timings, remarks
from jobs.scoring.run import load_models, score
from jobs.scoring.settings import ScoreSettings
from jobs.spark.session import spark_session
from jobs.verbs.options import add_scoring_arguments, date_option
from jobs.verbs.settings import add_option, settings_from

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``score`` verb."""
    add_scoring_arguments(parser)
    add_option(parser, ScoreSettings, "run_date", type=date_option("--run-date"), metavar="YYYY-MM-DD")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Run the job; emits the run report.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With nothing published.
    """
    settings = settings_from(options, ScoreSettings)
    timings = Timings()
    models = load_models(settings, timings=timings)
    with timings.of("start_spark"):
        session = spark_session("sentiment score")
    done = score(session, settings, models=models, timings=timings)
    report = done.facts
    emit(report)
    if done.status == "dry-run":
        return f"dry run: {done.rows_to_score:,} rows would be scored, nothing was written{remarks([report])}"
    if done.status == "unchanged":
        return f"nothing to do: {_reason(settings, done)}"
    speed = report["throughput"]["reviews_per_second"]
    rows = report["counts"]["rows"]
    return (
        f"published {rows:,} rows to {settings.output} as {report['run_id']}, {speed:,.0f} reviews/s{_left_out(report)}"
        + remarks([report])
    )


def _left_out(report: dict[str, Any]) -> str:
    count = report["input"].get("raw_files", {}).get("set_aside", 0)
    if not count:
        return ""
    records = "1 malformed record was" if count == 1 else f"{count:,} malformed records were"
    return f"; {records} set aside, see _runs/{report['run_id']}.malformed.jsonl"


def _reason(settings: ScoreSettings, done: ScoreReport) -> str:
    if settings.only_new:
        return f"none of the {done.rows_read:,} rows is new in {settings.output}"
    return f"{done.run_id} is published in {settings.output} already"
