"""What runs inside a Python worker: find the model, choose the device, score groups.

Spark ships functions of the entry script by value and those of a package by name; this module is always imported,
so every executor runs the packaged code. The engine is imported by the first score, after the worker was forked.
"""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import AccumulatorParam, TaskContext
from pyspark.accumulators import Accumulator
from pyspark.core.broadcast import Broadcast

from jobs.devices import task_device
from jobs.schema import GROUP, TEXT
from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import AuditError, ModelError
from sentiment_core.scoring import Scorer, Scores

__all__ = ["GroupScorer", "WorkerStatistics", "append_scores", "score_columns", "score_group"]

_SCORERS: dict[tuple[str | bool, ...], Scorer] = {}


class WorkerStatistics(AccumulatorParam[dict[str, Any]]):
    """Adds up what workers report: numbers are summed per worker; informative, never used for the audit."""

    def zero(self, value: dict[str, Any]) -> dict[str, Any]:
        """Nothing seen."""
        return {}

    def addInPlace(  # noqa: N802, the name that Spark calls
        self, value1: dict[str, Any], value2: dict[str, Any]
    ) -> dict[str, Any]:
        """Merge the reports of both, by worker."""
        for worker, report in value2.items():
            known = value1.setdefault(worker, dict(report, rows=0, tokens=0, groups=0, seconds=0.0, failures={}))
            for name in ("rows", "tokens", "groups", "seconds"):
                known[name] += report[name]
            known["failures"] = dict(Counter(known["failures"]) + Counter(report["failures"]))
            for name in ("engines", "devices", "gpu_addresses"):
                known[name] = sorted({*known[name], *report[name]})
            known["peak_memory_bytes"] = max(known["peak_memory_bytes"], report["peak_memory_bytes"])
        return value1


@dataclass(frozen=True, kw_only=True)
class GroupScorer:
    """The grouped UDF: appends scores to the Arrow batches of one group.

    Attributes
    ----------
    model_bytes : Broadcast of bytes
        `Model.to_bytes`, sent once to each executor.
    model_sha256 : str
        Finds a model that this worker has already loaded.
    engine, precision, device : str
        As in the ``score`` command; device is ``auto``, ``cpu`` or ``gpu``.
    most_failed : int
        Rows that may fail in the whole run.
    statistics : Accumulator
        Takes the worker's report.
    """

    model_bytes: Broadcast[bytes]
    model_sha256: str
    engine: str
    precision: str
    device: str
    most_failed: int = sys.maxsize
    statistics: Accumulator[dict[str, Any]] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score one group, batch by batch.

        Raises
        ------
        AuditError
            If more rows of the group fail than may fail in the run, which then need not go on.
        """
        scorer, addresses = self._scorer()
        report: dict[str, Any] = {"rows": 0, "tokens": 0, "groups": 1, "seconds": 0.0}
        failures: Counter[str] = Counter()
        for batch in batches:
            started = time.perf_counter()
            scores = scorer.score_texts(batch[TEXT], mark_failed=True)
            failures.update(scores.failures())
            if failures.total() > self.most_failed:
                raise AuditError(
                    f"more than {self.most_failed:,} rows failed {dict(failures)}, which is more than "
                    "--max-failed-ratio allows; nothing was published"
                )
            scored = append_scores(batch, scores)
            report["seconds"] += time.perf_counter() - started
            report["rows"] += scored.num_rows
            report["tokens"] += pc.sum(scored["n_tokens"]).as_py() or 0
            yield scored
        if self.statistics is not None:
            report["failures"] = dict(failures)
            report["engines"] = [scorer.engine.name]
            report["devices"] = [scorer.engine.device]
            report["gpu_addresses"] = list(addresses)
            report["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            self.statistics.add({f"{socket.gethostname()}/{os.getpid()}": report})

    def _scorer(self) -> tuple[Scorer, tuple[str, ...]]:
        device, addresses = task_device(self.device, engine=self.engine, precision=self.precision)
        scorer = _cached_scorer(
            self.model_sha256,
            lambda: Model.from_bytes(self.model_bytes.value),
            engine=self.engine,
            precision=self.precision,
            device=device,
        )
        if scorer.model.sha256 != self.model_sha256:
            raise ModelError(
                f"the broadcast model is {scorer.model.sha256}, expected {self.model_sha256}; submit the job again"
            )
        return scorer, addresses


def append_scores(batch: pa.RecordBatch, scores: Scores) -> pa.RecordBatch:
    """Replace the text and the group of an Arrow batch by its scores.

    Every other column passes as the Arrow array that it is, bit for bit.

    Returns
    -------
    RecordBatch
        The other columns, then `jobs.schema.WORKER_FIELDS`.
    """
    columns = score_columns(scores)
    kept = [name for name in batch.schema.names if name not in (TEXT, GROUP)]
    return pa.RecordBatch.from_arrays([*(batch[name] for name in kept), *columns.values()], names=[*kept, *columns])


def score_group(
    group: pd.DataFrame,
    *,
    model: Broadcast[bytes] | None = None,
    text_column: str = "text",
    engine: str = "auto",
    precision: str = "auto",
    device: str = "auto",
) -> pd.DataFrame:
    """Score a pandas group, for ``groupBy(...).applyInPandas`` in user code; the numbers are those of the job.

    Parameters
    ----------
    group : DataFrame
        Holds the text column; every other column is passed through.
    model : Broadcast of bytes, optional
        What `Model.to_bytes` gives, broadcast; the bundled model by default.
    text_column : str
        Its name.
    engine, precision, device : str
        As in the ``score`` command.

    Returns
    -------
    DataFrame
        The group without its text, then `jobs.schema.WORKER_FIELDS`.
    """
    content = None if model is None else model.value
    scorer = _cached_scorer(
        "bundled" if content is None else hashlib.sha256(content).hexdigest(),
        lambda: load_model(bundled_model_path()) if content is None else Model.from_bytes(content),
        engine=engine,
        precision=precision,
        device=task_device(device, engine=engine, precision=precision)[0],
    )
    texts = pa.array(group[text_column], pa.large_string(), from_pandas=True)
    scored = score_columns(scorer.score_texts(texts, mark_failed=True))
    return group.drop(columns=text_column).assign(
        **{name: array.to_pandas().to_numpy() for name, array in scored.items()}
    )


def score_columns(scores: Scores) -> dict[str, pa.Array]:
    """Scores as the columns `jobs.schema.WORKER_FIELDS`, in that order."""
    probability = scores.positive_probability
    return {
        "positive_probability": pa.array(probability, mask=np.isnan(probability)),
        "sentiment": pa.array(scores.sentiment, pa.string()),
        "score_status": pa.array(scores.status, pa.string()),
        "n_tokens": pa.array(scores.n_tokens),
        "n_unknown": pa.array(scores.n_unknown),
    }


def _cached_scorer(name: str, load: Callable[[], Model], *, engine: str, precision: str, device: str) -> Scorer:
    """The worker's scorer of this model, loaded once.

    A task that is tried again may have ended its worker, so then the engine is loaded into a process of its own.
    """
    context = TaskContext.get()
    isolated = context is not None and context.attemptNumber() > 0
    key = (name, engine, precision, device, isolated)
    if key not in _SCORERS:
        model = load()
        _SCORERS.clear()  # one model at a time is in use; an older one would only hold memory
        _SCORERS[key] = Scorer(
            model,
            engine=engine,
            precision=precision,
            device=device,
            threads=context.cpus() if context is not None else None,
            isolated=isolated,
        )
    return _SCORERS[key]
