"""The nightly job: read -> group -> score -> audit -> publish.

The scores table exists so that dashboards and marts can read the sentiment of every review without a model. One row
of the input gives one row of the output; a run that fails publishes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.audit import RowDigest, ScoreAudit, audit_scores, digest_columns
from jobs.devices import check_engine
from jobs.executor import GroupScorer, WorkerStatistics
from jobs.publish import Publication, refuse_overlap, table_folders
from jobs.reading import CORRUPT_RECORD, INPUT_FORMATS, data_files, open_table, refusing_unreadable
from jobs.schema import GROUP, TEXT, WORKER_FIELDS, ScoreColumns, choose_columns, column, row_hash
from jobs.session import spark_session
from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import EnvironmentFault, InputError, UsageError

__all__ = ["add_arguments", "run", "score_table"]

_LOGGER = logging.getLogger(__name__)
# A group is the unit of batching and of retry: large enough to sort by length, small enough to repeat.
_ROWS_PER_GROUP = 8_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``score`` verb."""
    parser.add_argument("--input", required=True, metavar="PATH|TABLE", help="reviews: file, directory, URI or table")
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name, else parquet")
    parser.add_argument("--output", required=True, metavar="PATH", help="directory of the scores table")
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    parser.add_argument("--id-column", default="review_id", metavar="NAME")
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument("--keep-columns", default="", metavar="A,B|all", help="columns that the output repeats")
    parser.add_argument("--partition-by", default="run_date", metavar="COLUMN")
    parser.add_argument("--run-date", type=_date, default=date.today(), metavar="YYYY-MM-DD", help="default: today")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--groups", type=_positive, metavar="N", help="default: by rows and cores")
    parser.add_argument("--max-failed-ratio", type=_ratio, default=0.001, metavar="R")
    parser.add_argument("--dry-run", action="store_true", help="check everything, score nothing")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Run the job; emits the run report.

    Raises
    ------
    InputError, AuditError, EnvironmentFault, UsageError
        With nothing published.
    """
    timings = _Timings()
    run_date = options.run_date
    check_engine(options.engine, precision=options.precision, device=options.device)
    with timings.of("load_model"):
        model = load_model(options.model or bundled_model_path())
    with timings.of("start_spark"):
        session = spark_session("sentiment score")
    if options.device == "gpu" and not session.conf.get("spark.task.resource.gpu.amount", None):
        raise EnvironmentFault(
            "--device gpu was asked for, but no GPU is requested from Spark; set spark.executor.resource.gpu.amount "
            "and spark.task.resource.gpu.amount, or use --device cpu"
        )
    is_path = options.input_format != "table" and data_files(session, options.input) is not None
    if is_path:
        refuse_overlap(session, sources=[options.input], output=options.output)
    with timings.of("read_input"):
        source = _Source.read(session, options)
        groups = options.groups or _group_count(source.digest.count, session.sparkContext.defaultParallelism)
    run_id = f"{run_date}-{_fingerprint(source, model, options, run_date)[:12]}"
    if not is_path:
        refuse_overlap(session, sources=table_folders(source.frame), output=options.output)
    publication = Publication(session, output=options.output, run_id=run_id, partition=source.columns.partition)
    report: dict[str, Any] = {
        "run_id": run_id,
        "run_date": str(run_date),
        "input": {
            "source": options.input,
            "id_column": source.columns.id,
            "text_column": source.columns.text,
            "rows": source.digest.count,
            "row_digest": source.digest.as_dict(),
            "text_digest": source.text_digest.as_dict(),
        },
        "output": {"path": options.output, "partition_by": source.columns.partition, "kept": source.columns.kept},
        "model": {"sha256": model.sha256, "metrics": model.metrics.get("validation", {})},
        "settings": {name: getattr(options, name) for name in ("engine", "precision", "device", "max_failed_ratio")}
        | {"groups": groups},
        "versions": _versions("sentiment-warehouse", "pyspark", "pyarrow", "numpy", "onnxruntime", "mxnet", "torch"),
        "spark": {
            "master": session.sparkContext.master,
            "application_id": session.sparkContext.applicationId,
            "parallelism": session.sparkContext.defaultParallelism,
        },
    }
    _LOGGER.info("%s: %s rows in %d groups, model %s", run_id, f"{source.digest.count:,}", groups, model.sha256[:12])
    if options.dry_run:
        emit(report | {"status": "dry-run", "seconds": timings.seconds})
        return f"dry run: {source.digest.count:,} rows would be scored, nothing was written"

    statistics = session.sparkContext.accumulator({}, WorkerStatistics())
    broadcast = session.sparkContext.broadcast(model.to_bytes())
    scorer = GroupScorer(
        model_bytes=broadcast,
        model_sha256=model.sha256,
        engine=options.engine,
        precision=options.precision,
        device=options.device,
        statistics=statistics,
    )
    scored = score_table(source.frame, columns=source.columns, scorer=scorer, groups=groups)
    scored = scored.withColumns(
        {"model_sha256": F.lit(model.sha256), "run_id": F.lit(run_id), "run_date": F.lit(run_date)}
    )
    expected = f"run_date={run_date}" if source.columns.partition == "run_date" else None
    try:
        with timings.of("score"), refusing_unreadable(options.input):
            staged = publication.stage(scored, expected=expected)
        with timings.of("audit"):
            audit = audit_scores(
                staged,
                columns=source.columns,
                schema=source.frame.schema,
                expected=source.digest,
                max_failed_ratio=options.max_failed_ratio,
            )
        report["output"] |= {"bytes": publication.staged_bytes(), "partitions": publication.staged_partitions()}
        report |= {"status": "published", "seconds": timings.seconds}
        report |= _results(audit, statistics.value, seconds=timings.seconds["score"])
        cores = session.sparkContext.defaultParallelism
        report["cost_inputs"] = {"cores": cores, "core_seconds": round(cores * sum(timings.seconds.values()), 1)}
        report |= {"report": publication.publish(report)}
    finally:
        publication.discard()
        broadcast.destroy()
    emit(report)
    speed = report["throughput"]["reviews_per_second"]
    return f"published {audit.digest.count:,} rows to {options.output} as {run_id}, {speed:,.0f} reviews/s"


def score_table(frame: DataFrame, *, columns: ScoreColumns, scorer: GroupScorer, groups: int) -> DataFrame:
    """Reviews -> scores: one shuffle, one pass through Python.

    Parameters
    ----------
    frame : DataFrame
        Holds the text and the kept columns.
    columns : ScoreColumns
    scorer : GroupScorer
    groups : int
        Groups, and tasks: a group is a task of its own, so that groups spread evenly over the cores even when the
        input comes as one partition.

    Returns
    -------
    DataFrame
        The kept columns, then `jobs.schema.WORKER_FIELDS`.
    """
    # A hash of the row and nothing random: a repeated task sees the same rows. With the text, since ids may be NULL.
    group = F.pmod(F.xxhash64(column(columns.id), column(columns.text)), F.lit(groups)).cast("int").alias(GROUP)
    numbered = [column(name).alias(str(index)) for index, name in enumerate(columns.kept)]
    kept = [T.StructField(str(index), frame.schema[name].dataType) for index, name in enumerate(columns.kept)]

    # Spark reads the iterator form off these annotations, which it does not find on a callable object.
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return scorer(batches)

    grouped = frame.select(*numbered, column(columns.text).alias(TEXT), group).repartitionById(groups, F.col(GROUP))
    scored = grouped.groupBy(GROUP).applyInArrow(score, T.StructType(kept + WORKER_FIELDS.fields))
    return scored.toDF(*columns.kept, *WORKER_FIELDS.names)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The input, checked and digested."""

    frame: DataFrame
    columns: ScoreColumns
    digest: RowDigest
    text_digest: RowDigest

    @classmethod
    def read(cls, session: SparkSession, options: argparse.Namespace) -> _Source:
        frame = open_table(session, options.input, input_format=options.input_format)
        rows = T.StructType([field for field in frame.schema.fields if field.name != CORRUPT_RECORD])
        columns = choose_columns(
            rows,
            id_column=options.id_column,
            text_column=options.text_column,
            keep_columns=options.keep_columns,
            partition_by=options.partition_by,
        )
        corrupt = F.col(CORRUPT_RECORD).isNotNull() if CORRUPT_RECORD in frame.columns else F.lit(False)
        partition = column(columns.partition) if columns.partition in rows.names else F.lit("-")
        text = row_hash(rows, [columns.id, columns.text])
        with refusing_unreadable(options.input):
            row = frame.agg(
                *digest_columns(row_hash(rows, columns.kept)),
                *(part.alias(f"text_{name}") for part, name in zip(digest_columns(text), ("count", "sum", "xor"))),
                F.count_if(corrupt).alias("corrupt"),
                F.count_if(partition.cast("string").isin("", "__HIVE_DEFAULT_PARTITION__")).alias("unnamed"),
            ).collect()[0]
        if row["corrupt"]:
            raise InputError(f"{options.input}: {row['corrupt']:,} records are malformed; repair the file")
        if row["unnamed"]:
            raise InputError(
                f"{row['unnamed']:,} rows have an empty or reserved {columns.partition!r}, which as a partition would "
                "be read back as NULL; partition by another column"
            )
        return cls(
            frame=frame.select(*(column(name) for name in rows.names)),
            columns=columns,
            digest=RowDigest(count=row["count"], sum=int(row["sum"]), xor=row["xor"]),
            text_digest=RowDigest(count=row["text_count"], sum=int(row["text_sum"]), xor=row["text_xor"]),
        )


class _Timings:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        started = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - started, 3)


def _versions(*names: str) -> dict[str, str | None]:
    """Installed versions, None for a package that this system lacks."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _group_count(rows: int, parallelism: int) -> int:
    """Equal groups of bounded size, as many as keep every core busy to the end."""
    return parallelism * max(1, math.ceil(rows / (_ROWS_PER_GROUP * parallelism)))


def _fingerprint(source: _Source, model: Model, options: argparse.Namespace, run_date: date) -> str:
    """Names the run by what decides its output, so that the same run again has the same name."""
    decisive = {
        "rows": source.digest.as_dict(),
        "texts": source.text_digest.as_dict(),
        "columns": asdict(source.columns),
        "model": model.sha256,
        "engine": [options.engine, options.precision],
        "run_date": str(run_date),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _results(audit: ScoreAudit, workers: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """The part of the report that the scoring gave."""
    rows, scored = audit.digest.count, max(1, audit.ok + audit.truncated)
    return {
        "counts": {"rows": rows} | audit.as_dict(),
        "rates": {
            "positive": audit.positive / scored,
            "truncated": audit.truncated / max(1, rows),
            "failed": audit.failed / max(1, rows),
            "unknown_words": audit.unknown_tokens / max(1, audit.tokens),
        },
        "throughput": {
            "reviews_per_second": rows / max(seconds, 1e-9),
            "tokens_per_second": audit.tokens / max(seconds, 1e-9),
        },
        "engines": sorted({engine for worker in workers.values() for engine in worker["engines"]}),
        "devices": sorted({device for worker in workers.values() for device in worker["devices"]}),
        "workers": workers,
    }


def _date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(f"--run-date must be a date like 2026-11-23, not {value!r}") from None


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1_000_000:
        raise UsageError(f"--groups must be a whole number from 1 to 1,000,000, not {value!r}")
    return int(value)


def _ratio(value: str) -> float:
    try:
        ratio = float(value)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise UsageError(f"--max-failed-ratio must be from 0 to 1, not {value!r}")
    return ratio
