"""One run for one date: read -> group -> score -> audit -> publish.

A run is named by what decides its output: the date, the rows, the columns and the model, and with ``--only-new`` the
runs before it. What is published under that name already, and still lies there, is not scored again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.executor import GroupScorer, SharedModel, WorkerStatistics
from jobs.publishing.columns import column_types, has_rows, refuse_other_columns
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication, read_report, reported_runs, signature
from jobs.publishing.staging import (
    Staging,
    finding_damage,
    open_output,
    refuse_other_partitioning,
    refuse_overlap,
    saying_what_failed,
    table_folders,
)
from jobs.scoring.audit import audit_records, audit_scores, digest_rows
from jobs.scoring.grouping import group_count, score_table
from jobs.scoring.incremental import (
    ScoredTable,
    audit_keys,
    digest_keys,
    key_columns,
    placed_ids,
    rows_of,
    unscored,
    with_ids,
    without,
)
from jobs.scoring.metrics import to_prometheus
from jobs.scoring.models import ScoringModels
from jobs.scoring.progress import showing_progress
from jobs.scoring.report import ScoreReport, Timings, cost_inputs, describe_run, name_run, results
from jobs.scoring.settings import ScoreSettings, ScoringSettings
from jobs.scoring.source import ReviewSource
from jobs.scoring.workers import checking_workers
from jobs.spark.devices import check_engine
from jobs.storage.files import FileSystem
from jobs.tables.dates import DateForms, date_literal
from jobs.tables.reading import is_path
from jobs.tables.scores import ScoreColumns, quoted, scores_schema
from jobs.telemetry.log import begin_run, log_spark
from jobs.telemetry.privacy import redact
from sentiment_core.errors import AuditError, EnvironmentFault, InputError

__all__ = ["load_models", "run_once", "score"]

_LOGGER = logging.getLogger(__name__)


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
    if settings.device == "gpu" and not session.conf.get("spark.task.resource.gpu.amount", None):
        raise EnvironmentFault(
            "--device gpu was asked for, but no GPU is requested from Spark; set spark.executor.resource.gpu.amount "
            "and spark.task.resource.gpu.amount, or use --device cpu"
        )
    paths = [source for source in settings.input if settings.input_format != "table" and is_path(session, source)]
    refuse_overlap(session, sources=paths, output=settings.output)
    if not paths:
        settings = replace(settings, input_format="table")  # its name says no format
    fs, location = open_output(session, settings.output)
    refuse_other_partitioning(session, fs, output=settings.output, partition=settings.partition_by)
    # What the run replaces as a whole, if that is known before a row is read.
    replaced = f"run_date={run_date}" if settings.partition_by == "run_date" and not settings.only_new else None

    def accept(schema: T.StructType, columns: ScoreColumns) -> None:
        refuse_other_columns(session, fs, location, schema=schema, columns=columns, replaced=replaced)

    with timings.of("read_input"):
        DateForms(patterns=settings.date_format).check(session)
        extra = models.extra_columns(drivers=settings.drivers > 0)
        source = ReviewSource.read(session, settings, extra=extra, accept=accept, where=where)
        opened = source.opened
        repeated = source.repeated_ids()
    if not paths:
        refuse_overlap(session, sources=table_folders(source.frame), output=settings.output)
    if replaced is not None and not (source.digest.count or settings.allow_empty) and has_rows(fs, replaced):
        raise InputError(
            f"the input has no row to score, and {settings.output} has rows of {replaced}, which would be replaced by "
            "nothing; check the input, or give --allow-empty"
        )
    earlier = reported_runs(fs) if settings.only_new else []
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
        columns=source.columns,
        table=ScoredTable(session, fs, location),
        timings=timings,
    )
    if settings.dry_run:
        if settings.only_new:
            with finding_damage(location, source=", ".join(settings.input)):
                report["input"] |= {"new_rows": run.new_rows(source)[1].digest.count}
        return ScoreReport(facts=report | {"status": "dry-run", "seconds": timings.seconds})
    with (
        saying_what_failed(settings.output),
        finding_damage(location, source=", ".join(settings.input)),
        OutputLock(fs, Owner.this_process(run_id)).held() as lock,
        Publication(fs, run_id=run_id, lock=lock) as publication,
        ExitStack() as cleanup,
    ):
        published = None if settings.only_new else _published(fs, run_id)
        if published is not None:
            return ScoreReport(facts=published | {"status": "unchanged", "seconds": timings.seconds})
        if settings.only_new:
            ids, source = run.new_rows(source)
            cleanup.callback(ids.unpersist)
            report["input"] |= {"new_rows": source.digest.count}
            if not source.digest.count:
                return ScoreReport(facts=report | {"status": "unchanged", "seconds": timings.seconds})
            report["output"] |= {"replaced_rows": run.replaced_rows(source)}
        staging = Staging(
            session,
            fs,
            location=location,
            publication=publication,
            partition=source.columns.partition,
            contract=scores_schema(source.frame.schema, source.columns),
        )
        cores = session.sparkContext.defaultParallelism
        groups = settings.groups or group_count(source.digest.count, cores=cores)
        report["settings"] |= {"groups": groups}
        rows = f"{source.digest.count:,}"
        _LOGGER.info("%s: %s rows in %d groups, model %s", run_id, rows, groups, models.first.sha256[:12])
        if workers is not None:
            with timings.of("start_workers"):
                workers()
        report |= run.stage(source, staging, groups=groups)
        if not settings.only_new and "raw_files" in report["input"]:
            audit_records(
                report["input"]["raw_files"],
                scored=report["counts"]["rows"],
                is_part=bool(settings.where) or where is not None or source.has_other_rows,
            )
        if settings.only_new:
            report["output"] |= {"kept_rows": run.keep_older(source, staging, publication.partitions())}
        staging.complete(expected=f"run_date={run_date}" if source.columns.partition == "run_date" else None)
        names = publication.partitions()
        report["output"] |= {
            "bytes": staging.n_bytes(),
            "partitions": names,
            "columns": column_types(source.frame.schema, source.columns),
            "signatures": {name: signature(fs, f"{publication.data}/{name}") for name in names},
        }
        report |= {
            "status": "published",
            "seconds": timings.seconds,
            "cost_inputs": cost_inputs(report["workers"], timings.seconds, cores=cores),
            "report": redact(f"{location}/_runs/{run_id}.json"),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with timings.of("publish"):
            publication.publish(report, metrics=to_prometheus(report), malformed=opened.malformed if opened else "")
    return ScoreReport(facts=report)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run, and what it does to the rows."""

    session: SparkSession
    settings: ScoringSettings
    models: ScoringModels
    run_id: str
    run_date: date
    columns: ScoreColumns
    table: ScoredTable
    timings: Timings

    def new_rows(self, source: ReviewSource) -> tuple[DataFrame, ReviewSource]:
        """Ids of the rows that the model has not scored yet, and these rows."""
        with self.timings.of("find_new"):
            id_type = source.frame.schema[self.columns.id].dataType
            self.table.refuse_other_extras(self.columns, run_date=self.run_date)
            known = self.table.keys(
                self.columns, id_type, model_key=self.models.key, model_sha256=self.models.first.sha256
            )
            ids = unscored(source.frame, self.columns, known=known).persist()
            rows = rows_of(source.frame, self.columns, ids=ids)
            return ids, ReviewSource.digested(rows, self.columns, source=", ".join(self.settings.input))

    def replaced_rows(self, source: ReviewSource) -> int:
        """How many published rows the new ones take the place of.

        Raises
        ------
        InputError
            If there would be fewer rows of an id than before: the id then stands for several reviews, and nothing tells
            which of them the input brings.
        """
        with self.timings.of("find_replaced"):
            replaced, lossy = self.table.replaced_by(source.frame, self.columns, run_date=self.run_date)
        if lossy:
            raise InputError(
                f"{lossy:,} ids stand for more rows in {self.settings.output} than in the new rows of this input, so "
                "reviews would be lost; make the ids unique (--id-column none makes ids from the content), or score "
                "without --only-new"
            )
        return replaced

    def stage(self, source: ReviewSource, staging: Staging, *, groups: int) -> dict[str, Any]:
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
                scored = score_table(source.frame, columns=self.columns, scorer=scorer, groups=groups)
                ordered = map(quoted, scores_schema(source.frame.schema, self.columns).names)
                staged = staging.write(scored.withColumns(run_columns).selectExpr(*ordered))
            with self.timings.of("audit"), finding_damage(self.table.location):
                audit = audit_scores(
                    staged,
                    columns=self.columns,
                    schema=source.frame.schema,
                    expected=source.digest,
                    run_columns=run_columns,
                    max_failed_ratio=self.settings.max_failed_ratio,
                )
            with self.timings.of("keys"):
                keys = key_columns(self.columns, model_key=self.models.key, run_date=self.run_date)
                audit_keys(staging.write_keys(source.frame.select(*keys)), expected=source.text_digest)
        finally:
            for model in shared:
                model.content.destroy()
        return results(audit, statistics.value, seconds=self.timings.seconds["score"])

    def keep_older(self, source: ReviewSource, staging: Staging, partitions: list[str]) -> int:
        """Stage, beside the new scores, the rows that the partitions have already; returns how many.

        Raises
        ------
        AuditError
            If they did not come out as they went in, or others were left out than those that new rows replace.
        """
        with self.timings.of("keep_older"):
            rows = self.table.rows(partitions, staging.scores().schema, partition=self.columns.partition)
            if rows is None:
                return 0
            schema = source.frame.schema
            # Not cached: Spark would read a cached table of the staged files again after each write to them.
            ids = placed_ids(staging.scores(), self.columns)
            older, replaced = rows.count(), with_ids(rows, self.columns, ids=ids).count()
            rows = without(rows, self.columns, ids=ids)
            kept = digest_rows(rows, schema=schema, columns=self.columns)
            scored_again = with_ids(staging.scores(), self.columns, ids=ids).count()
            found = digest_rows(staging.write(rows), schema=schema, columns=self.columns)
            if found != source.digest + kept:
                raise AuditError(
                    f"{source.digest.count:,} new and {kept.count:,} older rows became {found.count:,}, digests "
                    f"{(source.digest + kept).as_dict()} and {found.as_dict()}; run again, nothing was published"
                )
            twins = with_ids(staging.scores(), self.columns, ids=ids).count() - scored_again
            if twins:
                raise AuditError(
                    f"{twins:,} older rows stand beside new ones of their ids; run again, nothing was published"
                )
            if older != kept.count + replaced:
                raise AuditError(
                    f"of {older:,} older rows {kept.count:,} were kept and {replaced:,} replaced; run again, nothing "
                    "was published"
                )
            keys = self.table.keys_of(partitions, staging.keys().schema)
            if keys is not None:
                keys = without(keys, self.columns, ids=ids)
                audit_keys(staging.write_keys(keys), expected=source.text_digest + digest_keys(keys))
            return kept.count


def _published(fs: FileSystem, run_id: str) -> dict[str, Any] | None:
    """The report of this very run, if what it published still lies there."""
    report = read_report(fs, run_id)
    signatures = (report or {}).get("output", {}).get("signatures")
    if not isinstance(signatures, dict) or any(signature(fs, name) != found for name, found in signatures.items()):
        return None
    return report
