"""One refresh of the marts: plan it, derive what changed, judge the drift, publish."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import SparkSession

from jobs.labels.known import LabelColumn, LabelFile, Labels, open_label_file
from jobs.marts.days import ScoreDays
from jobs.marts.drift import Finding, judge, validation_histogram
from jobs.marts.plan import MartPlan, plan_refresh
from jobs.marts.refresh import refresh_marts
from jobs.marts.settings import SummarizeSettings
from jobs.marts.state import MartState
from jobs.marts.tables import MartTables
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.staging import open_output, refuse_overlap, saying_what_failed
from jobs.statistics.corrections import ShareCorrection, correction_of
from jobs.tables.dates import DateForms
from jobs.tables.reading import refusing_unreadable
from jobs.tables.run_reports import RunReports
from sentiment_core.artifact import load_model
from sentiment_core.errors import GateError, InputError

__all__ = ["DriftGateError", "KnownModels", "MartReport", "load_known", "summarize"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MartReport:
    """What a refresh did.

    Attributes
    ----------
    facts : dict
        What was refreshed, and the drift findings.
    findings : tuple of Finding
        The worst first.
    """

    facts: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def status(self) -> str:
        """``published`` or ``drifted``."""
        return str(self.facts["status"])


class DriftGateError(GateError):
    """The last day drifted and the settings ask to fail then; ``report`` has the findings."""

    def __init__(self, message: str, *, report: MartReport) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, kw_only=True)
class KnownModels:
    """Validation histograms and corrections of models, by their SHA-256."""

    histograms: Mapping[str, Sequence[int]]
    corrections: Mapping[str, ShareCorrection]


def summarize(session: SparkSession, settings: SummarizeSettings, *, known: KnownModels | None = None) -> MartReport:
    """Refresh the marts.

    Parameters
    ----------
    session : SparkSession
        Its settings stay as they are: a session beside it does the work.
    settings : SummarizeSettings
    known : KnownModels, optional
        What `load_known` loaded before Spark started; by default it is loaded here.

    Raises
    ------
    InputError, UsageError
        With nothing published.
    DriftGateError
        If the settings ask for it and a stability index reached the limit; nothing is published.
    """
    known = load_known(settings) if known is None else known
    session = _session_of_marts(session)
    window = settings.window()
    labels = _labels(session, settings)
    refuse_overlap(session, sources=[settings.scores], output=settings.output)
    dates = DateForms(patterns=settings.date_format)
    dates.check(session)
    scores = ScoreDays(
        session,
        settings.scores,
        product_column=settings.product_column,
        date_column=settings.date_column,
        dates=dates,
        window=window,
        labels=labels,
        id_column=settings.id_column,
    )
    fs, _ = open_output(session, settings.output)
    with saying_what_failed(settings.output), OutputLock(fs, Owner.this_process("summarize")).held() as lock:
        given = {
            "--product-column": settings.product_column,
            "--date-column": settings.date_column,
            "--date-format": ", ".join(settings.date_format),
            "--earliest-date": str(window.earliest),
            "--latest-date": str(window.latest or ""),
            "--label-column": settings.label_column or "",
            "--labels": "a file" if settings.labels else "",
            "--positive-above": str(settings.positive_above) if settings.label_column else "",
            "--positive-label": settings.positive_label or "",
        }
        before = MartState(settings=given)
        if not settings.rebuild:
            before = MartState.load(fs, output=settings.output, settings=given)
        plan = plan_refresh(
            scores,
            RunReports(open_output(session, settings.scores)[0]),
            before=before,
            core_hour_price=settings.core_hour_price,
            validation=known.histograms,
            corrections=known.corrections,
            labels=labels.digest if isinstance(labels, LabelFile) else "",
            dates=settings.date,
        )
        if settings.rebuild and not plan.days:
            raise InputError(
                f"{settings.scores}: no row has a {settings.date_column!r} from {window}; name another column with "
                "--date-column, or another time with --earliest-date and --latest-date"
            )
        _refuse_scored_twice(scores, plan, settings)
        _check_labels(scores, labels, plan, before=before)
        _say_unknown(plan)
        _LOGGER.info("%s: %d days and %d run reports to refresh", plan.run_id, len(plan.days), len(plan.reports))
        report = _report(plan, output=settings.output, labels=labels)
        with MartTables(session, settings.output, run_id=plan.run_id, lock=lock) as tables:
            with refusing_unreadable(settings.scores):
                models = refresh_marts(session, scores, plan, tables, rebuild=settings.rebuild)
            findings = judge(
                models, limits=settings.limits(), references=settings.references(), validation=plan.state.validation
            )
            report["drift"] = [asdict(finding) for finding in findings]
            for finding in findings:
                if finding.level in ("warn", "fail"):
                    _LOGGER.warning("drift, %s: %s", finding.level, finding.sentence)
            if settings.fail_on_drift and findings and findings[0].level == "fail":
                raise DriftGateError(
                    f"{findings[0].sentence}; nothing was published (without --fail-on-drift it is)",
                    report=MartReport(facts=report | {"status": "drifted"}, findings=tuple(findings)),
                )
            if plan.days:
                plan.begun.save(fs)  # should this process die between two marts
            tables.publish(report | {"status": "published"})
        plan.state.save(fs)
    return MartReport(facts=report | {"status": "published"}, findings=tuple(findings))


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


def _labels(session: SparkSession, settings: SummarizeSettings) -> Labels | None:
    if settings.label_column is not None:
        return LabelColumn(
            name=settings.label_column,
            positive_above=settings.positive_above,
            positive_label=settings.positive_label,
        )
    return open_label_file(session, settings.labels, id_column=settings.id_column) if settings.labels else None


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


def _session_of_marts(session: SparkSession) -> SparkSession:
    """A session of its own: marts are small, so Spark may merge their partitions; scoring must not."""
    session = session.newSession()
    session.conf.set("spark.sql.adaptive.coalescePartitions.enabled", "true")
    # Spark's default of 200 is for clusters: here most would be empty tasks.
    partitions = int(session.conf.get("spark.sql.shuffle.partitions") or 200)
    partitions = min(partitions, 4 * session.sparkContext.defaultParallelism)
    session.conf.set("spark.sql.shuffle.partitions", str(partitions))
    return session


def load_known(settings: SummarizeSettings) -> KnownModels:
    """Load what is known of the models that the settings name; it needs no Spark.

    Raises
    ------
    InputError, ModelError
        If a model cannot be read or has no validation histogram.
    """
    histograms: dict[str, Sequence[int]] = {}
    corrections: dict[str, ShareCorrection] = {}
    for path in settings.model:
        model = load_model(path, kind="sentiment")
        histogram = validation_histogram(model.metrics)
        if histogram is None:
            raise InputError(f"--model {path} has no calibration table of 15 steps; train it with this version")
        histograms[model.sha256] = histogram
        corrections[model.sha256] = correction_of(model.metrics.get("domain_shift"))
    return KnownModels(histograms=histograms, corrections=corrections)


def _refuse_scored_twice(scores: ScoreDays, plan: MartPlan, settings: SummarizeSettings) -> None:
    twice = scores.scored_twice(plan.folders, plan.days, id_column=settings.id_column) if plan.folders else 0
    if twice:
        raise InputError(
            f"{settings.scores}: {twice:,} reviews were scored by more than one run and would count twice; remove the "
            "older partition, or summarize with --date-column run_date, each run as a day of its own"
        )
