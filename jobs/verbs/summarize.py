"""Make the marts that dashboards read, from the scores table and its run reports.

Without options it refreshes what changed since the last time: the days of scores partitions that are new, replaced or
gone. Counts of the other days come from the marts themselves, so a day costs what the day holds; the result is that of
a full rebuild. Nothing is published if anything fails or the drift gate is closed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jobs.marts.drift import DRIFT_REFERENCES, Finding
from jobs.marts.quality import DateWindow
from jobs.marts.run import DriftGateError, load_known, summarize
from jobs.marts.settings import SummarizeSettings
from jobs.spark.session import spark_session
from jobs.tables.dates import date_format
from jobs.verbs.options import date_option
from jobs.verbs.settings import add_option, settings_from

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``summarize`` verb."""
    add = partial(add_option, parser, SummarizeSettings)
    for name in ("scores", "output"):
        add(name, metavar="PATH")
    for name in ("product_column", "date_column", "id_column"):
        add(name, metavar="NAME")
    labels = parser.add_argument_group("known labels, which make the estimated shares surer")
    given = labels.add_mutually_exclusive_group()
    add_option(given, SummarizeSettings, "label_column", metavar="NAME")
    add_option(given, SummarizeSettings, "labels", metavar="FILE")
    add_option(labels, SummarizeSettings, "positive_above", metavar="X")
    add_option(labels, SummarizeSettings, "positive_label", metavar="WORD")
    dates = parser.add_argument_group("dates")
    add_option(dates, SummarizeSettings, "date_format", type=date_format, metavar="PATTERN")
    for name in ("earliest_date", "latest_date"):
        option = f"--{name.replace('_', '-')}"
        add_option(dates, SummarizeSettings, name, type=date_option(option), metavar="YYYY-MM-DD")
    chosen = parser.add_mutually_exclusive_group()
    add_option(chosen, SummarizeSettings, "date", type=date_option("--date"), default=None, metavar="YYYY-MM-DD")
    add_option(chosen, SummarizeSettings, "rebuild")
    add("model", type=Path, metavar="DIR")
    add("core_hour_price", type=float, metavar="X")
    gate = parser.add_argument_group("drift gate")
    add_option(gate, SummarizeSettings, "fail_on_drift")
    add_option(gate, SummarizeSettings, "drift_against", choices=(*DRIFT_REFERENCES, "both"))
    for name in ("drift_warn", "drift_fail"):
        add_option(gate, SummarizeSettings, name, metavar="X")
    add_option(gate, SummarizeSettings, "drift_min_rows", metavar="N")


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
