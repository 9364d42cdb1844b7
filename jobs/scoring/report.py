"""The run report: how a run is named, what it was asked, and what it found."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pyspark.sql import SparkSession

from jobs.marts.drift import validation_histogram
from jobs.scoring.audit import ScoreAudit
from jobs.scoring.models import ScoringModels
from jobs.scoring.settings import ScoringSettings
from jobs.scoring.source import ReviewSource
from jobs.tables.scores import CONTRACT_VERSION
from jobs.telemetry.log import in_stage
from jobs.telemetry.privacy import redact
from sentiment_core.artifact import Model
from sentiment_core.scoring.status import COUNTED, OK, STATUSES

__all__ = ["ScoreReport", "Timings", "cost_inputs", "describe_run", "name_run", "remarks", "results"]

_LOGGER = logging.getLogger(__name__)

_PACKAGES = ("sentiment-warehouse", "pyspark", "pyarrow", "numpy", "onnxruntime", "mxnet", "torch")


@dataclass(frozen=True, kw_only=True)
class ScoreReport:
    """What a run did.

    Attributes
    ----------
    facts : dict
        The run report as ``_runs/RUN_ID.json`` holds it, with the status and the seconds of each stage.
    """

    facts: dict[str, Any]

    @property
    def status(self) -> str:
        """``published``, ``unchanged`` or ``dry-run``."""
        return str(self.facts["status"])

    @property
    def run_id(self) -> str:
        """The name of the run, which what it read decides."""
        return str(self.facts["run_id"])

    @property
    def rows_read(self) -> int:
        """Rows of the input."""
        return int(self.facts["input"]["rows"])

    @property
    def rows_to_score(self) -> int:
        """Rows of the input that were not scored before the run."""
        return int(self.facts["input"].get("new_rows", self.rows_read))


class Timings:
    """Seconds of each stage, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time a stage, and let the log name it."""
        started = time.monotonic()
        with in_stage(stage):
            yield
            seconds = round(time.monotonic() - started, 3)
            self.seconds[stage] = seconds
            _LOGGER.info("%s: %.1f s", stage, seconds, extra={"facts": {"seconds": seconds}})


def name_run(
    source: ReviewSource,
    *,
    models: ScoringModels,
    settings: ScoringSettings,
    run_date: date,
    earlier_runs: Sequence[str] = (),
) -> str:
    """Name a run by what decides its output, so that the same run again has the same name.

    Parameters
    ----------
    source : ReviewSource
    models : ScoringModels
    settings : ScoringSettings
    run_date : date
    earlier_runs : sequence of str
        Those whose rows are not scored again.
    """
    decisive = {
        "rows": source.digest.as_dict(),
        "texts": source.text_digest.as_dict(),
        "columns": {name: value for name, value in asdict(source.columns).items() if name != "extra"},
        "model": models.first.sha256,
        "engine": [settings.engine, settings.precision],
        "run_date": str(run_date),
        "only_new": settings.only_new,
    }
    if settings.where:
        decisive["where"] = sorted(set(map(str, settings.where)))
    if source.renamed:
        decisive["renamed"] = source.renamed
    if models.names:
        decisive["models"] = models.by_name()
    if settings.drivers:
        decisive["drivers"] = settings.drivers
    if earlier_runs:
        decisive["earlier_runs"] = list(earlier_runs)
    return f"{run_date}-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]}"


def describe_run(
    session: SparkSession,
    settings: ScoringSettings,
    *,
    source: ReviewSource,
    models: ScoringModels,
    run_date: date,
    run_id: str,
) -> dict[str, Any]:
    """The part of the report that is known before the first row is scored."""
    told = ("engine", "precision", "device", "max_failed_ratio", "only_new", "drivers")
    model = models.first
    named = [
        {
            "name": name,
            "sha256": model.sha256,
            **_cut_offs(model),
            "domain_shift": model.metrics.get("domain_shift"),
        }
        for name, model in zip(models.names, models.models)
    ]
    return {
        "contract_version": CONTRACT_VERSION,
        "run_id": run_id,
        "run_date": str(run_date),
        "input": {
            "source": redact(", ".join(settings.input)),
            "id_column": source.columns.id,
            "text_column": source.columns.text,
            "where": list(map(str, settings.where)),
            "rows": source.digest.count,
            "rows_without_id": source.without_id,
            "renamed": source.renamed,
            "cast": list(map(str, settings.cast)),
            "row_digest": source.digest.as_dict(),
            "text_digest": source.text_digest.as_dict(),
            "parquet": asdict(source.parquet),
            **({} if source.opened is None else source.opened.describe()),
        },
        "output": {
            "path": redact(settings.output),
            "partition_by": source.columns.partition,
            "kept": source.columns.kept,
        },
        "model": {
            "sha256": model.sha256,
            "metrics": model.metrics.get("validation", {}),
            "validation_histogram": validation_histogram(model.metrics),
            "domain_shift": model.metrics.get("domain_shift"),
        },
        **({"models": named} if named else {}),
        "settings": {name: getattr(settings, name) for name in told},
        "versions": _versions(*_PACKAGES),
        "spark": {
            "master": session.sparkContext.master,
            "application_id": session.sparkContext.applicationId,
            "parallelism": session.sparkContext.defaultParallelism,
        },
    }


def _cut_offs(model: Model) -> dict[str, float]:
    """From which a probability is no more negative, and from which it is positive."""
    return {"negative_below": model.decision.negative_below, "positive_from": model.decision.positive_from}


def results(audit: ScoreAudit, workers: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """The part of the report that the scoring gave."""
    rows, by_status = audit.digest.count, {status: getattr(audit, status) for status in STATUSES}
    counted = sum(by_status[status] for status in COUNTED)
    return {
        "counts": {"rows": rows} | audit.as_dict(),
        **({"failed_by_model": audit.failed_by_model} if audit.failed_by_model else {}),
        "score_histogram": list(audit.score_histogram),
        "rates": {
            "positive": audit.positive / max(1, counted),
            **{status: n / max(1, rows) for status, n in by_status.items() if status != OK},
            "unknown_words": audit.unknown_ok / max(1, audit.tokens_ok),
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


def remarks(reports: Sequence[Mapping[str, Any]]) -> str:
    """What a closing sentence has to say of ids and of rows that made room, each after a semicolon; "" for nothing."""
    counts: Counter[str] = Counter()
    for report in reports:
        names = ("repeated_ids", "rows_of_repeated_ids", "rows_without_id")
        counts.update({name: report["input"].get(name, 0) for name in names})
        counts.update({"replaced_rows": report["output"].get("replaced_rows", 0)})
    said = ""
    if counts["repeated_ids"]:
        said += f"; {counts['repeated_ids']:,} ids are repeated ({counts['rows_of_repeated_ids']:,} rows have them)"
    if counts["rows_without_id"]:
        said += f"; {counts['rows_without_id']:,} rows have no id"
    if counts["replaced_rows"]:
        said += f"; {counts['replaced_rows']:,} published rows with the ids of new ones were replaced"
    return said


def cost_inputs(workers: Mapping[str, Any], seconds: Mapping[str, float], *, cores: int) -> dict[str, Any]:
    """What a price is multiplied with: cores for as long as the run took, GPUs for as long as it scored.

    Parameters
    ----------
    workers : mapping
        What workers reported, by host and process.
    seconds : mapping
        Of each stage.
    cores : int
    """
    gpus = {
        (name.rpartition("/")[0], address) for name, worker in workers.items() for address in worker["gpu_addresses"]
    }
    return {
        "cores": cores,
        "core_seconds": round(cores * sum(seconds.values()), 1),
        "gpus": len(gpus),
        "gpu_seconds": round(len(gpus) * seconds.get("score", 0.0), 1),
        "largest_worker_bytes": max((worker["peak_memory_bytes"] for worker in workers.values()), default=0),
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
