"""Make the marts that dashboards read, from the scores table and its run reports.

Without options it refreshes what changed since the last time: the days of scores partitions that are new, replaced or
gone. Counts of the other days come from the marts themselves, so a day costs what the day holds; the result is that of
a full rebuild. Nothing is published if anything fails or the drift gate is closed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jobs.labels.grades import POSITIVE_LABEL_HELP
from jobs.marts.drift import DRIFT_REFERENCES, DriftLimits, Finding
from jobs.marts.quality import DateWindow
from jobs.marts.run import DriftGateError, load_known, summarize
from jobs.marts.settings import SummarizeSettings
from jobs.spark.session import spark_session
from jobs.tables.dates import date_format
from jobs.verbs.options import date_option
from jobs.verbs.settings import settings_from
from sentiment_core.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``summarize`` verb."""
    limits = DriftLimits()
    parser.add_argument("--scores", required=True, metavar="PATH", help="the output of `sentiment score`")
    parser.add_argument("--output", required=True, metavar="PATH", help="directory of the marts")
    parser.add_argument("--product-column", default="product_id", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--date-column", default="run_date", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--id-column", default="review_id", metavar="NAME", help="default: %(default)s")
    labels = parser.add_argument_group("known labels, which make the estimated shares surer")
    given = labels.add_mutually_exclusive_group()
    given.add_argument(
        "--label-column",
        metavar="NAME",
        help="labels that were kept when scoring, such as stars; NULL where a review has none",
    )
    given.add_argument(
        "--labels",
        metavar="FILE",
        help="CSV or Parquet of labelled reviews: the id column, label (0 or 1, negative or positive) and weight",
    )
    labels.add_argument(
        "--positive-above", type=float, default=0.5, metavar="X", help="a larger label is positive; default: 0.5"
    )
    labels.add_argument("--positive-label", metavar="WORD", help=POSITIVE_LABEL_HELP)
    dates = parser.add_argument_group("dates")
    dates.add_argument(
        "--date-format",
        action="append",
        default=[],
        type=date_format,
        metavar="PATTERN",
        help="form of dates in texts beside 2026-11-23, as Spark writes it: MM/dd/yyyy; repeatable, the first that "
        "fits counts",
    )
    dates.add_argument(
        "--earliest-date",
        type=date_option("--earliest-date"),
        default=DateWindow().earliest,
        metavar="YYYY-MM-DD",
        help="an older review is misdated, and counted in data_quality only; default: %(default)s",
    )
    dates.add_argument(
        "--latest-date",
        type=date_option("--latest-date"),
        metavar="YYYY-MM-DD",
        help="a later review is misdated; default: the day after the run date of each row",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--date",
        type=_date,
        action="append",
        metavar="YYYY-MM-DD",
        help="only this day, repeatable (default: what changed)",
    )
    chosen.add_argument("--rebuild", action="store_true", help="make the marts anew from all scores")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a model whose validation histogram or error between domains no run report has, repeatable",
    )
    parser.add_argument("--core-hour-price", type=float, metavar="X", help="price of a core hour, for run_history")
    gate = parser.add_argument_group("drift gate")
    gate.add_argument("--fail-on-drift", action="store_true", help="exit 5 and publish nothing if the last day drifted")
    gate.add_argument("--drift-against", choices=(*DRIFT_REFERENCES, "both"), default="both", help="default: both")
    gate.add_argument("--drift-warn", type=float, default=limits.warn, metavar="X", help="default: %(default)s")
    gate.add_argument("--drift-fail", type=float, default=limits.fail, metavar="X", help="default: %(default)s")
    gate.add_argument("--drift-min-rows", type=int, default=limits.min_rows, metavar="N", help="default: %(default)s")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Refresh the marts; emits what was refreshed and the drift findings.

    Raises
    ------
    InputError, UsageError
        With nothing published.
    GateError
        If ``--fail-on-drift`` was given and a stability index reached the limit; nothing is published.
    """
    settings = settings_from(options, SummarizeSettings)
    known = load_known(settings)
    try:
        report = summarize(spark_session("sentiment summarize"), settings, known=known)
    except DriftGateError as error:
        emit(error.report.facts)
        raise
    emit(report.facts)
    return closing_sentence(report.facts, report.findings, gated=settings.fail_on_drift, window=settings.window())


def closing_sentence(report: Mapping[str, Any], findings: Sequence[Finding], *, gated: bool, window: DateWindow) -> str:
    days = report["days"]
    if not days:
        said = f"nothing to refresh in {report['marts']}"
    else:
        span = days[0] if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
        said = f"refreshed {span} in {report['marts']}"
    if report["undated_rows"]:
        said += f", {report['undated_rows']:,} rows have no date and are left out"
    if report["misdated_rows"]:
        said += f", {report['misdated_rows']:,} rows have a date outside {window} and are left out"
    # A gate that could judge nothing must not look like one that found nothing.
    if findings and findings[0].level in ("warn", "fail", *(["not judged"] if gated else [])):
        said += f"; drift: {findings[0].sentence}"
    return said


def _date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"--date must be a date like 2026-11-23, not {value!r}") from None
