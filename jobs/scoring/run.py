"""One run for one date: read -> group -> score -> audit -> publish.

A run is named by what decides its output: the date, the rows, the columns and the model, and with ``--only-new`` the
runs before it. What is published under that name already, and still lies there, is not scored again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.executor import GroupScorer, SharedModel, WorkerStatistics
from jobs.publishing.columns import column_types
from jobs.publishing.output import ScoresOutput
from jobs.publishing.publication import Publication, signature
from jobs.publishing.staging import Staging, finding_damage, table_folders
from jobs.scoring.audit import audit_records, audit_scores
from jobs.scoring.grouping import group_count, score_table
from jobs.scoring.incremental import ScoredTable, audit_keys, key_columns
from jobs.scoring.metrics import to_prometheus
from jobs.scoring.models import ScoringModels
from jobs.scoring.only_new import OnlyNew
from jobs.scoring.progress import showing_progress
from jobs.scoring.report import ScoreReport, Timings, cost_inputs, describe_run, name_run, results
from jobs.scoring.settings import ScoreSettings, ScoringSettings
from jobs.scoring.source import ReviewSource
from jobs.scoring.workers import checking_workers
from jobs.spark.devices import check_engine
from jobs.tables.dates import DateForms, date_literal
from jobs.tables.reading import is_path
from jobs.tables.scores import quoted, scores_schema
from jobs.telemetry.log import begin_run, log_spark
from jobs.telemetry.privacy import redact
from sentiment_core.errors import EnvironmentFault

__all__ = ["load_models", "run_once", "score"]

_LOGGER = logging.getLogger(__name__)
# Until workers can score; it raises if they cannot.
_Wait = Callable[[], None]


def score(
    session: SparkSession,
    settings: ScoreSettings,
    *,
    models: ScoringModels | None = None,
    timings: Timings | None = None,
) -> ScoreReport:
    """Score the input for its date and publish the scores.

    Parameters
    ----------
    session : SparkSession
    settings : ScoreSettings
    models : ScoringModels, optional
        Those that `load_models` loaded before Spark started; by default they are loaded here.
    timings : Timings, optional
        Takes the seconds of each stage, beside those that it has.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With nothing published.
    """
    timings = Timings() if timings is None else timings
    models = load_models(settings, timings=timings) if models is None else models
    with checking_workers(session) as workers:
        return run_once(session, settings, models=models, run_date=settings.run_date, timings=timings, workers=workers)


def load_models(settings: ScoringSettings, *, timings: Timings) -> ScoringModels:
    """Load the models that the settings name, for an engine that there is; it needs no Spark.

    Raises
    ------
    InputError, EnvironmentFault, UsageError
        If a model cannot be read, or the engine is none for this machine.
    """
    check_engine(settings.engine, precision=settings.precision, device=settings.device)
    with timings.of("load_model"):
        return ScoringModels.load(settings.model)


def run_once(
    session: SparkSession,
    settings: ScoringSettings,
    *,
    models: ScoringModels,
    run_date: date,
    timings: Timings,
    where: Callable[[T.StructType], Column] | None = None,
    workers: Callable[[], None] | None = None,
) -> ScoreReport:
    """Score the input for one date and publish the scores.

    Parameters
    ----------
    session : SparkSession
    settings : ScoringSettings
    models : ScoringModels
    run_date : date
    timings : Timings
        Takes the seconds of each stage.
    where : callable, optional
        Which rows of the input are scored, by its schema; default all.
    workers : callable, optional
        Waits until workers can score, and raises if they cannot.

    Returns
    -------
    ScoreReport
        Its status is ``published``, ``unchanged`` or ``dry-run``.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With nothing published.
    """
    _require_gpu(session, settings)
    settings, paths = _as_read(session, settings)
    # What the run replaces as a whole, if that is known before a row is read.
    replaced = f"run_date={run_date}" if settings.partition_by == "run_date" and not settings.only_new else None
    output = ScoresOutput.open(
        session, settings.output, sources=paths, partition=settings.partition_by, replaced=replaced
    )
    with timings.of("read_input"):
        DateForms(patterns=settings.date_format).check(session)
        extra = models.extra_columns(drivers=settings.drivers > 0)
        source = ReviewSource.read(session, settings, extra=extra, accept=output.refuse_columns, where=where)
        repeated = source.repeated_ids()
    if not paths:
        output.refuse_sources(table_folders(source.frame))
    if not (source.digest.count or settings.allow_empty):
        output.refuse_emptying()
    earlier = output.runs() if settings.only_new else []
    run_id = name_run(source, models=models, settings=settings, run_date=run_date, earlier_runs=earlier)
    begin_run(run_id)
    log_spark(session._jvm)
    report = describe_run(session, settings, source=source, models=models, run_date=run_date, run_id=run_id)
    report["input"] |= {"repeated_ids": repeated[0], "rows_of_repeated_ids": repeated[1]}
    run = _Run(
        session=session,
        settings=settings,
        models=models,
        run_id=run_id,
        run_date=run_date,
        output=output,
        timings=timings,
        report=report,
        is_part=where is not None,
    )
    if settings.dry_run:
        return run.try_dry(source)
    with output.changing(run_id, source=", ".join(settings.input)) as publication:
        if settings.only_new:
            return run.score_new(source, publication, workers=workers)
        published = output.published(run_id)
        if published is not None:
            return ScoreReport(facts=published | {"status": "unchanged", "seconds": timings.seconds})
        return run.score_all(source, publication, workers=workers)


def _require_gpu(session: SparkSession, settings: ScoringSettings) -> None:
    if settings.device == "gpu" and not session.conf.get("spark.task.resource.gpu.amount", None):
        raise EnvironmentFault(
            "--device gpu was asked for, but no GPU is requested from Spark; set spark.executor.resource.gpu.amount "
            "and spark.task.resource.gpu.amount, or use --device cpu"
        )


def _as_read(session: SparkSession, settings: ScoringSettings) -> tuple[ScoringSettings, list[str]]:
    """The settings, with the format of a table in a catalog, and the inputs that are files or folders."""
    paths = [source for source in settings.input if settings.input_format != "table" and is_path(session, source)]
    return (settings if paths else replace(settings, input_format="table")), paths


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run that has a name: what it does to the rows, and its report."""

    session: SparkSession
    settings: ScoringSettings
    models: ScoringModels
    run_id: str
    run_date: date
    output: ScoresOutput
    timings: Timings
    report: dict[str, Any]
    is_part: bool

    def try_dry(self, source: ReviewSource) -> ScoreReport:
        """Check everything, write nothing."""
        if self.settings.only_new:
            name = ", ".join(self.settings.input)
            with finding_damage(self.output.location, source=name), self._only_new(source).new_rows() as fresh:
                self.report["input"] |= {"new_rows": fresh.digest.count}
        return self._ended("dry-run")

    def score_new(self, source: ReviewSource, publication: Publication, *, workers: _Wait | None) -> ScoreReport:
        """Publish the scores of rows that are new, beside the older ones of their partitions."""
        only_new = self._only_new(source)
        with only_new.new_rows() as fresh:
            self.report["input"] |= {"new_rows": fresh.digest.count}
            if not fresh.digest.count:
                return self._ended("unchanged")
            replaced_rows = only_new.replaced_rows(fresh)
            staging = self._stage(fresh, publication, workers=workers)
            kept_rows = only_new.keep_older(fresh, staging, publication.partitions())
            self.report["output"] |= {"replaced_rows": replaced_rows, "kept_rows": kept_rows}
            return self._publish(fresh, staging, publication, malformed=source.malformed)

    def score_all(self, source: ReviewSource, publication: Publication, *, workers: _Wait | None) -> ScoreReport:
        """Publish the scores of all rows, in place of the partitions that they fall into."""
        staging = self._stage(source, publication, workers=workers)
        if "raw_files" in self.report["input"]:
            audit_records(
                self.report["input"]["raw_files"],
                scored=self.report["counts"]["rows"],
                is_part=bool(self.settings.where) or self.is_part or source.has_other_rows,
            )
        return self._publish(source, staging, publication, malformed=source.malformed)

    def _only_new(self, source: ReviewSource) -> OnlyNew:
        return OnlyNew(
            settings=self.settings,
            table=ScoredTable(self.session, self.output.fs, self.output.location),
            source=source,
            models=self.models,
            run_date=self.run_date,
            timings=self.timings,
        )

    def _stage(self, source: ReviewSource, publication: Publication, *, workers: _Wait | None) -> Staging:
        """Score, write and audit, as soon as workers can score."""
        cores = self.session.sparkContext.defaultParallelism
        groups = self.settings.groups or group_count(source.digest.count, cores=cores)
        self.report["settings"] |= {"groups": groups}
        sha256 = self.models.first.sha256[:12]
        _LOGGER.info("%s: %s rows in %d groups, model %s", self.run_id, f"{source.digest.count:,}", groups, sha256)
        if workers is not None:
            with self.timings.of("start_workers"):
                workers()
        staging = self.output.staging(publication, source.frame.schema, source.columns)
        self.report.update(self._score(source, staging, groups=groups))
        return staging

    def _publish(
        self, source: ReviewSource, staging: Staging, publication: Publication, *, malformed: str
    ) -> ScoreReport:
        partition, cores = source.columns.partition, self.session.sparkContext.defaultParallelism
        staging.complete(expected=f"run_date={self.run_date}" if partition == "run_date" else None)
        report, names = self.report, publication.partitions()
        report["output"] |= {
            "bytes": staging.n_bytes(),
            "partitions": names,
            "columns": column_types(source.frame.schema, source.columns),
            "signatures": {name: signature(self.output.fs, f"{publication.data}/{name}") for name in names},
        }
        report |= {
            "status": "published",
            "seconds": self.timings.seconds,
            "cost_inputs": cost_inputs(report["workers"], self.timings.seconds, cores=cores),
            "report": redact(f"{self.output.location}/_runs/{self.run_id}.json"),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self.timings.of("publish"):
            publication.publish(report, metrics=to_prometheus(report), malformed=malformed)
        return ScoreReport(facts=report)

    def _ended(self, status: str) -> ScoreReport:
        return ScoreReport(facts=self.report | {"status": status, "seconds": self.timings.seconds})

    def _score(self, source: ReviewSource, staging: Staging, *, groups: int) -> dict[str, Any]:
        """Score, write and audit; returns the report's part about it."""
        context = self.session.sparkContext
        statistics = context.accumulator({}, WorkerStatistics())
        names = self.models.names or (None,)
        shared = tuple(
            SharedModel(content=context.broadcast(model.to_bytes()), sha256=model.sha256, name=name)
            for name, model in zip(names, self.models.models)
        )
        scorer = GroupScorer(
            models=shared,
            drivers=self.settings.drivers,
            engine=self.settings.engine,
            precision=self.settings.precision,
            device=self.settings.device,
            most_failed=int(self.settings.max_failed_ratio * source.digest.count),
            statistics=statistics,
        )
        run_columns = {
            "model_sha256": F.lit(self.models.first.sha256),
            "run_id": F.lit(self.run_id),
            "run_date": date_literal(self.run_date),
        }
        try:
            with (
                self.timings.of("score"),
                showing_progress(context, statistics, groups=groups, rows=source.digest.count),
            ):
                scored = score_table(source.frame, columns=source.columns, scorer=scorer, groups=groups)
                ordered = map(quoted, scores_schema(source.frame.schema, source.columns).names)
                staged = staging.write(scored.withColumns(run_columns).selectExpr(*ordered))
            with self.timings.of("audit"), finding_damage(self.output.location):
                audit = audit_scores(
                    staged,
                    columns=source.columns,
                    schema=source.frame.schema,
                    expected=source.digest,
                    run_columns=run_columns,
                    max_failed_ratio=self.settings.max_failed_ratio,
                )
            with self.timings.of("keys"):
                keys = key_columns(source.columns, model_key=self.models.key, run_date=self.run_date)
                audit_keys(staging.write_keys(source.frame.select(*keys)), expected=source.text_digest)
        finally:
            for model in shared:
                model.content.destroy()
        return results(audit, statistics.value, seconds=self.timings.seconds["score"])
