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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import AccumulatorParam, TaskContext
from pyspark.accumulators import Accumulator
from pyspark.core.broadcast import Broadcast

from jobs.spark.devices import task_device
from jobs.tables.extras import DRIVERS, probability_of
from jobs.tables.scores import KEPT, TEXT
from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import AuditError, ModelError
from sentiment_core.scoring.lanes import in_order
from sentiment_core.scoring.scorer import Scorer, score_by_each
from sentiment_core.scoring.scores import Scores

__all__ = ["GroupScorer", "SharedModel", "WorkerStatistics", "score_columns", "score_group"]

SCORERS: dict[tuple[str | bool, ...], Scorer] = {}


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
class SharedModel:
    """A model on its way to the workers.

    Attributes
    ----------
    content : Broadcast of bytes
        `Model.to_bytes`, sent once to each executor.
    sha256 : str
        Finds a model that a worker has already loaded.
    name : str or None
        Of its own column of probabilities.
    """

    content: Broadcast[bytes]
    sha256: str
    name: str | None = None

    def load(self) -> Model:
        """The model.

        Raises
        ------
        ModelError
            If it is another one.
        """
        model = Model.from_bytes(self.content.value)
        if model.sha256 != self.sha256:
            raise ModelError(f"the broadcast model is {model.sha256}, expected {self.sha256}; submit the job again")
        return model


@dataclass(frozen=True, kw_only=True)
class GroupScorer:
    """The grouped UDF: appends scores to the Arrow batches of one group.

    Attributes
    ----------
    models : tuple of SharedModel
        The first one fills `jobs.tables.scores.WORKER_FIELDS`.
    engine, precision, device : str
        As in the ``score`` command; device is ``auto``, ``cpu`` or ``gpu``.
    drivers : int
        Words, and pairs of words, of a review that are named at most.
    most_failed : int
        Rows that may fail in the whole run.
    statistics : Accumulator
        Takes the worker's report; its seconds are those of each batch, which on a GPU pass at the same time.
    """

    models: tuple[SharedModel, ...]
    engine: str
    precision: str
    device: str
    drivers: int = 0
    most_failed: int = sys.maxsize
    statistics: Accumulator[dict[str, Any]] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score one group, batch by batch.

        Raises
        ------
        AuditError
            If more rows of the group fail than may fail in the run, which then need not go on.
        """
        # Arrow's own allocator keeps what a batch has freed: 90 MB more of memory, and no faster.
        pa.set_memory_pool(pa.system_memory_pool())
        device, addresses = task_device(self.device, engine=self.engine, precision=self.precision)
        loaded = _cached_scorers(
            {model.sha256: model.load for model in self.models},
            engine=self.engine,
            precision=self.precision,
            device=device,
        )
        scorers = [loaded[model.sha256] for model in self.models]
        report: dict[str, Any] = {"rows": 0, "tokens": 0, "groups": 1, "seconds": 0.0}
        failures = [Counter[str]() for _ in self.models]

        def score(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Counter[str]], float]:
            started = time.perf_counter()
            left = self.most_failed - max(counted.total() for counted in failures)
            scores = score_by_each(scorers, batch[TEXT], most_failed=left, drivers=self.drivers)
            scored = append_columns(batch, self._columns(scores))
            return scored, [of_model.failures() for of_model in scores], time.perf_counter() - started

        for scored, failed, seconds in in_order(score, batches, lanes=min(scorer.lanes for scorer in scorers)):
            for counted, of_model in zip(failures, failed):
                counted.update(of_model)
                if counted.total() > self.most_failed:
                    raise AuditError(
                        f"more than {self.most_failed:,} rows failed {dict(counted)}, which is more than "
                        "--max-failed-ratio allows; nothing was published"
                    )
            report["seconds"] += seconds
            report["rows"] += scored.num_rows
            report["tokens"] += pc.sum(scored["n_tokens"]).as_py() or 0
            yield scored
        if self.statistics is not None:
            report["failures"] = dict(failures[0])
            report["engines"] = sorted({scorer.engine.name for scorer in scorers})
            report["devices"] = sorted({scorer.engine.device for scorer in scorers})
            report["gpu_addresses"] = list(addresses)
            report["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            self.statistics.add({f"{socket.gethostname()}/{os.getpid()}": report})

    def _columns(self, scores: Sequence[Scores]) -> dict[str, pa.Array]:
        """`jobs.tables.scores.WORKER_FIELDS`, then what `jobs.tables.scores.ExtraColumns` names."""
        columns = score_columns(scores[0])
        for model, of_model in zip(self.models, scores):
            if model.name is not None:
                columns[probability_of(model.name)] = _probability(of_model)
        if self.drivers:
            columns[DRIVERS.name] = scores[0].drivers
        return columns


def append_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Replace the text and the group of an Arrow batch by columns; the kept ones pass as they are, bit for bit."""
    kept = batch[KEPT]
    # Spark's optimizer finds out which columns hold no NULL, and would then refuse the type that was promised before.
    fields = [field.with_nullable(True) for field in kept.type]
    kept = pa.StructArray.from_arrays(kept.flatten(), fields=fields)
    return pa.RecordBatch.from_arrays([kept, *columns.values()], names=[KEPT, *columns])


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
        The group without its text, then `jobs.tables.scores.WORKER_FIELDS`.
    """
    content = None if model is None else model.value
    name = "bundled" if content is None else hashlib.sha256(content).hexdigest()
    load = partial(load_model, bundled_model_path()) if content is None else partial(Model.from_bytes, content)
    device, _ = task_device(device, engine=engine, precision=precision)
    scorer = _cached_scorers({name: load}, engine=engine, precision=precision, device=device)[name]
    texts = pa.array(group[text_column], pa.large_string(), from_pandas=True)
    scored = score_columns(scorer.score_texts(texts, mark_failed=True))
    return group.drop(columns=text_column).assign(
        **{name: array.to_pandas().to_numpy() for name, array in scored.items()}
    )


def score_columns(scores: Scores) -> dict[str, pa.Array]:
    """Scores as the columns `jobs.tables.scores.WORKER_FIELDS`, in that order."""
    return {
        "positive_probability": _probability(scores),
        "sentiment": pa.array(scores.sentiment, pa.string()),
        "score_status": pa.array(scores.status, pa.string()),
        "n_tokens": pa.array(scores.n_tokens),
        "n_unknown": pa.array(scores.n_unknown),
    }


def _probability(scores: Scores) -> pa.Array:
    return pa.array(scores.positive_probability, mask=np.isnan(scores.positive_probability))


def _cached_scorers(
    loads: Mapping[str, Callable[[], Model]], *, engine: str, precision: str, device: str
) -> dict[str, Scorer]:
    """The worker's scorers of these models, by their names, loaded once.

    A task that is tried again may have ended its worker, so then the engine is loaded into a process of its own.
    """
    context = TaskContext.get()
    isolated = context is not None and context.attemptNumber() > 0
    keys = {name: (name, engine, precision, device, isolated) for name in loads}
    for stale in SCORERS.keys() - set(keys.values()):
        del SCORERS[stale]  # models of one run at a time are in use; older ones would only hold memory
    for name, key in keys.items():
        if key not in SCORERS:
            SCORERS[key] = Scorer(
                loads[name](),
                engine=engine,
                precision=precision,
                device=device,
                threads=context.cpus() if context is not None else None,
                isolated=isolated,
            )
    return {name: SCORERS[key] for name, key in keys.items()}
