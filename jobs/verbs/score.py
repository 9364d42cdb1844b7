"""The nightly job: score a review table for one date.

The scores table exists so that dashboards and marts can read the sentiment of every review without a model. One row
of the input gives one row of the output; a run that fails publishes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from typing import Any

from jobs.scoring.models import ScoringModels
from jobs.scoring.report import Timings, remarks
from jobs.scoring.run import run_once
from jobs.scoring.workers import checking_workers
from jobs.spark.devices import check_engine
from jobs.spark.session import spark_session
from jobs.verbs.options import add_scoring_arguments, date_option

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``score`` verb."""
    add_scoring_arguments(parser)
    parser.add_argument(
        "--run-date", type=date_option("--run-date"), default=date.today(), metavar="YYYY-MM-DD", help="default: today"
    )


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Run the job; emits the run report.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With nothing published.
    """
    timings = Timings()
    check_engine(options.engine, precision=options.precision, device=options.device)
    with timings.of("load_model"):
        models = ScoringModels.load(options.model)
    with timings.of("start_spark"):
        session = spark_session("sentiment score")
    with checking_workers(session) as workers:
        report = run_once(session, options, models=models, run_date=options.run_date, timings=timings, workers=workers)
    emit(report)
    if report["status"] == "dry-run":
        rows = report["input"].get("new_rows", report["input"]["rows"])
        return f"dry run: {rows:,} rows would be scored, nothing was written{remarks([report])}"
    if report["status"] == "unchanged":
        return f"nothing to do: {_reason(options, report)}"
    speed = report["throughput"]["reviews_per_second"]
    rows = report["counts"]["rows"]
    return (
        f"published {rows:,} rows to {options.output} as {report['run_id']}, {speed:,.0f} reviews/s{_left_out(report)}"
        + remarks([report])
    )


def _left_out(report: dict[str, Any]) -> str:
    count = report["input"].get("raw_files", {}).get("set_aside", 0)
    if not count:
        return ""
    records = "1 malformed record was" if count == 1 else f"{count:,} malformed records were"
    return f"; {records} set aside, see _runs/{report['run_id']}.malformed.jsonl"


def _reason(options: argparse.Namespace, report: dict[str, Any]) -> str:
    if options.only_new:
        return f"none of the {report['input']['rows']:,} rows is new in {options.output}"
    return f"{report['run_id']} is published in {options.output} already"
