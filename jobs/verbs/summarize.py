"""Make the marts that dashboards read, from the scores table and its run reports.

Without options it refreshes what changed since the last time: the days of scores partitions that are new, replaced or
gone. Counts of the other days come from the marts themselves, so a day costs what the day holds; the result is that of
a full rebuild. Nothing is published if anything fails or the drift gate is closed.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs.labels.grades import POSITIVE_LABEL_HELP
from jobs.labels.known import LabelColumn, LabelFile, Labels, open_label_file
from jobs.marts.days import ScoreDays
from jobs.marts.drift import DRIFT_REFERENCES, DriftLimits, Finding, judge, validation_histogram
from jobs.marts.plan import MartPlan, plan_refresh
from jobs.marts.quality import DateWindow
from jobs.marts.refresh import refresh_marts
from jobs.marts.state import MartState
from jobs.marts.tables import MartTables
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.staging import open_output, refuse_overlap, saying_what_failed
from jobs.spark.session import spark_session
from jobs.statistics.corrections import ShareCorrection, correction_of
from jobs.tables.dates import DateForms, date_format
from jobs.tables.reading import refusing_unreadable
from jobs.tables.run_reports import RunReports
from jobs.verbs.options import date_option
from sentiment_core.artifact import load_model
from sentiment_core.errors import GateError, InputError, UsageError

__all__ = ["add_arguments", "run"]

_LOGGER = logging.getLogger(__name__)


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
    limits = DriftLimits(warn=options.drift_warn, fail=options.drift_fail, min_rows=options.drift_min_rows)
    price = options.core_hour_price
    if price is not None and not 0 <= price < math.inf:
        raise UsageError(f"--core-hour-price must be 0 or more, not {price}")
    references = DRIFT_REFERENCES if options.drift_against == "both" else (options.drift_against,)
    window = DateWindow(earliest=options.earliest_date, latest=options.latest_date)
    validation, corrections = _known_of(options.model)
    session = _session()
    labels = _labels(session, options)
    refuse_overlap(session, sources=[options.scores], output=options.output)
    dates = DateForms(patterns=tuple(options.date_format))
    dates.check(session)
    scores = ScoreDays(
        session,
        options.scores,
        product_column=options.product_column,
        date_column=options.date_column,
        dates=dates,
        window=window,
        labels=labels,
        id_column=options.id_column,
    )
    fs, _ = open_output(session, options.output)
    with saying_what_failed(options.output), OutputLock(fs, Owner.this_process("summarize")).held() as lock:
        settings = {
            "--product-column": options.product_column,
            "--date-column": options.date_column,
            "--date-format": ", ".join(options.date_format),
            "--earliest-date": str(window.earliest),
            "--latest-date": str(window.latest or ""),
            "--label-column": options.label_column or "",
            "--labels": "a file" if options.labels else "",
            "--positive-above": str(options.positive_above) if options.label_column else "",
            "--positive-label": options.positive_label or "",
        }
        before = MartState(settings=settings)
        if not options.rebuild:
            before = MartState.load(fs, output=options.output, settings=settings)
        plan = plan_refresh(
            scores,
            RunReports(open_output(session, options.scores)[0]),
            before=before,
            core_hour_price=price,
            validation=validation,
            corrections=corrections,
            labels=labels.digest if isinstance(labels, LabelFile) else "",
            dates=options.date,
        )
        if options.rebuild and not plan.days:
            raise InputError(
                f"{options.scores}: no row has a {options.date_column!r} from {window}; name another column with "
                "--date-column, or another time with --earliest-date and --latest-date"
            )
        _refuse_scored_twice(scores, plan, options)
        _check_labels(scores, labels, plan, before=before)
        _say_unknown(plan)
        _LOGGER.info("%s: %d days and %d run reports to refresh", plan.run_id, len(plan.days), len(plan.reports))
        report = _report(plan, output=options.output, labels=labels)
        with MartTables(session, options.output, run_id=plan.run_id, lock=lock) as tables:
            with refusing_unreadable(options.scores):
                models = refresh_marts(session, scores, plan, tables, rebuild=options.rebuild)
            findings = judge(models, limits=limits, references=references, validation=plan.state.validation)
            report["drift"] = [asdict(finding) for finding in findings]
            for finding in findings:
                if finding.level in ("warn", "fail"):
                    _LOGGER.warning("drift, %s: %s", finding.level, finding.sentence)
            if options.fail_on_drift and findings and findings[0].level == "fail":
                emit(report | {"status": "drifted"})
                raise GateError(f"{findings[0].sentence}; nothing was published (without --fail-on-drift it is)")
            if plan.days:
                plan.begun.save(fs)  # should this process die between two marts
            tables.publish(report | {"status": "published"})
        plan.state.save(fs)
    emit(report | {"status": "published"})
    return _sentence(report, findings, gated=options.fail_on_drift, window=window)


def _report(plan: MartPlan, *, output: str, labels: Labels | None) -> dict[str, Any]:
    folders = plan.state.folders.values()
    counted = sum(folder.labelled for folder in folders)
    return {
        "marts": output,
        "run_id": plan.run_id,
        "days": list(map(str, sorted(plan.days))),
        "rows": sum(folder.rows for folder in folders),
        "undated_rows": sum(folder.undated for folder in folders),
        "misdated_rows": sum(folder.misdated for folder in folders),
        "labelled_rows": labels.n_labels if isinstance(labels, LabelFile) else counted,
    }


def _labels(session: SparkSession, options: argparse.Namespace) -> Labels | None:
    if options.positive_label is not None and options.label_column is None:
        raise UsageError("--positive-label is of a --label-column; name one")
    if options.label_column is not None:
        return LabelColumn(
            name=options.label_column,
            positive_above=options.positive_above,
            positive_label=options.positive_label,
        )
    return open_label_file(session, options.labels, id_column=options.id_column) if options.labels else None


def _check_labels(scores: ScoreDays, labels: Labels | None, plan: MartPlan, *, before: MartState) -> None:
    """Refuse labels of other reviews, and a column of labels without one."""
    if isinstance(labels, LabelFile) and labels.digest != before.labels:
        found, counted = scores.found_labels(labels)
        if found < labels.n_labels:
            raise InputError(
                f"{labels.path}: {labels.n_labels - found:,} of {labels.n_labels:,} labelled reviews are not in the "
                "scores; name the file that was drawn from these scores, or their --id-column"
            )
        if counted < found:
            _LOGGER.warning(
                "%s: %d labelled reviews have no probability that counts or no date, and are left out",
                labels.path,
                found - counted,
            )
    folders = plan.state.folders.values()
    if isinstance(labels, LabelColumn) and folders and not any(folder.labelled for folder in folders):
        raise InputError(f"no review has a {labels.name!r}; name another --label-column, or none")


def _say_unknown(plan: MartPlan) -> None:
    for sha256, correction in plan.state.corrections.items():
        if not correction.is_known:
            _LOGGER.warning(
                "model %s was not measured on other domains: its estimated shares get a standard deviation of %.2f; "
                "name the model with --model if it was, or give labels",
                sha256[:12],
                correction.standard_deviation,
            )


def _session() -> SparkSession:
    """A session of its own: marts are small, so Spark may merge their partitions; scoring must not."""
    session = spark_session("sentiment summarize").newSession()
    session.conf.set("spark.sql.adaptive.coalescePartitions.enabled", "true")
    # Spark's default of 200 is for clusters: here most would be empty tasks.
    partitions = int(session.conf.get("spark.sql.shuffle.partitions") or 200)
    partitions = min(partitions, 4 * session.sparkContext.defaultParallelism)
    session.conf.set("spark.sql.shuffle.partitions", str(partitions))
    return session


def _known_of(paths: Sequence[Path]) -> tuple[dict[str, Sequence[int]], dict[str, ShareCorrection]]:
    """Validation histograms and corrections of models, by their SHA-256."""
    histograms: dict[str, Sequence[int]] = {}
    corrections: dict[str, ShareCorrection] = {}
    for path in paths:
        model = load_model(path, kind="sentiment")
        histogram = validation_histogram(model.metrics)
        if histogram is None:
            raise InputError(f"--model {path} has no calibration table of 15 steps; train it with this version")
        histograms[model.sha256] = histogram
        corrections[model.sha256] = correction_of(model.metrics.get("domain_shift"))
    return histograms, corrections


def _refuse_scored_twice(scores: ScoreDays, plan: MartPlan, options: argparse.Namespace) -> None:
    twice = scores.scored_twice(plan.folders, plan.days, id_column=options.id_column) if plan.folders else 0
    if twice:
        raise InputError(
            f"{options.scores}: {twice:,} reviews were scored by more than one run and would count twice; remove the "
            "older partition, or summarize with --date-column run_date, each run as a day of its own"
        )


def _sentence(report: Mapping[str, Any], findings: Sequence[Finding], *, gated: bool, window: DateWindow) -> str:
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
