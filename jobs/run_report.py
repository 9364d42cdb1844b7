"""The run report: how a run is named, what it was asked, and what it found."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pyspark.sql import SparkSession

from jobs.audit import ScoreAudit
from jobs.drift import validation_histogram
from jobs.review_source import ReviewSource
from jobs.schema import CONTRACT_VERSION
from sentiment_core.artifact import Model

__all__ = ["Timings", "describe_run", "name_run", "results"]

_PACKAGES = ("sentiment-warehouse", "pyspark", "pyarrow", "numpy", "onnxruntime", "mxnet", "torch")


class Timings:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        started = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - started, 3)


def name_run(source: ReviewSource, *, model: Model, options: argparse.Namespace, run_date: date) -> str:
    """Name a run by what decides its output, so that the same run again has the same name."""
    decisive = {
        "rows": source.digest.as_dict(),
        "texts": source.text_digest.as_dict(),
        "columns": asdict(source.columns),
        "model": model.sha256,
        "engine": [options.engine, options.precision],
        "run_date": str(run_date),
        "only_new": options.only_new,
    }
    return f"{run_date}-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]}"


def describe_run(
    session: SparkSession,
    options: argparse.Namespace,
    *,
    source: ReviewSource,
    model: Model,
    run_date: date,
    run_id: str,
) -> dict[str, Any]:
    """The part of the report that is known before the first row is scored."""
    settings = ("engine", "precision", "device", "max_failed_ratio", "only_new")
    return {
        "contract_version": CONTRACT_VERSION,
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
        "model": {
            "sha256": model.sha256,
            "metrics": model.metrics.get("validation", {}),
            "validation_histogram": validation_histogram(model.metrics),
        },
        "settings": {name: getattr(options, name) for name in settings},
        "versions": _versions(*_PACKAGES),
        "spark": {
            "master": session.sparkContext.master,
            "application_id": session.sparkContext.applicationId,
            "parallelism": session.sparkContext.defaultParallelism,
        },
    }


def results(audit: ScoreAudit, workers: dict[str, Any], *, seconds: float) -> dict[str, Any]:
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
        "failures": dict(sum((Counter(worker["failures"]) for worker in workers.values()), Counter())),
        "engines": sorted({engine for worker in workers.values() for engine in worker["engines"]}),
        "devices": sorted({device for worker in workers.values() for device in worker["devices"]}),
        "workers": workers,
    }


def _versions(*names: str) -> dict[str, str | None]:
    """Installed versions, None for a package that this system lacks."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
