"""The contestants: each scores one file of reviews in a process of its own, and prints one JSON object.

    python -m tools.benchmarks.cases "onnx int8" reviews.parquet --cores 2

Start-up (Spark, workers, models, a first batch) is not in ``seconds``, but for the job from cold.
`tools.benchmarks.suite` runs them all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.errors import EnvironmentFault, UsageError
from sentiment_core.mxnet_setup import available_cores
from sentiment_core.scoring.batching import token_batches
from sentiment_core.scoring.scorer import Scorer
from tools.benchmarks.limits import measure_limits
from tools.benchmarks.memory import peak_memory

__all__ = ["CASES", "COLD_JOB", "CONTESTANTS", "REFERENCE", "Case", "Task"]

Probabilities = npt.NDArray[np.float64]
# As the score job groups them.
_ROWS_PER_GROUP = 8_000
REFERENCE = "mxnet float32, static shapes"
# Not in the comparison: what `tools.benchmarks.scale` measures.
COLD_JOB = "score job from cold, onnx float32"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a case works on.

    Attributes
    ----------
    reviews : Path
        As `tools.benchmarks.reviews.write_reviews` writes them.
    model : Path
    linear : Path or None
        What `tools.benchmarks.peer_linear.fit_linear` has stored.
    scratch : Path
        A directory to write to.
    cores : int
    groups : int or None
        Of the score job.
    """

    reviews: Path
    model: Path
    linear: Path | None
    scratch: Path
    cores: int
    groups: int | None = None

    @cached_property
    def texts(self) -> pa.LargeStringArray:
        """All texts, shape (N,)."""
        return pq.read_table(self.reviews, columns=["text"])["text"].cast(pa.large_string()).combine_chunks()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One contestant.

    Attributes
    ----------
    run : callable
        Task -> ``seconds`` and whatever else it measured; ``probability`` in the order of the reviews.
    packages : tuple of str
        What it imports beyond the project's own needs.
    spark : bool
        Whether it runs in Spark.
    same_weights : bool
        Whether its probabilities ought to be the oracle's.
    rounds : int or None
        Bound on its repeats.
    """

    run: Callable[[Task], dict[str, Any]]
    packages: tuple[str, ...] = ()
    spark: bool = False
    same_weights: bool = True
    rounds: int | None = None

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--model", type=Path, default=bundled_model_path())
    parser.add_argument("--linear", type=Path)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--groups", type=int)
    parser.add_argument("--probabilities", type=Path, help="file to write them to")
    options = parser.parse_args()
    case = CASES[options.case]
    if case.missing:
        raise EnvironmentFault(
            f"{options.case} needs {', '.join(case.missing)}; pip install 'sentiment-warehouse[bench]'"
        )
    if options.cores > available_cores():
        raise UsageError(f"--cores {options.cores}: this process may use {available_cores()}")
    if hasattr(os, "sched_setaffinity"):  # before any library counts the cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        task = Task(
            reviews=options.reviews,
            model=options.model,
            linear=options.linear,
            scratch=Path(scratch),
            cores=options.cores,
            groups=options.groups,
        )
        result = case.run(task)
    probability = result.pop("probability", None)
    if probability is not None:
        result |= _accuracy(probability, options.reviews)
        if options.probabilities:
            np.save(options.probabilities, probability)
    result.setdefault("peak_memory_bytes", peak_memory())
    print(json.dumps(result))


def padding_waste(model: Model, texts: pa.Array, *, max_batch_tokens: int, length_step: int) -> float:
    """Share of the computed tokens that are padding, over groups as the score job makes them."""
    valid = padded = 0
    for group in _groups(texts):
        encoded = model.text.encode(group)
        for batch in token_batches(encoded, max_batch_tokens=max_batch_tokens, length_step=length_step):
            valid += int(batch.valid_length.sum())
            padded += batch.token_ids.size
    return 1 - valid / max(1, padded)


def _groups(texts: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(texts), _ROWS_PER_GROUP):
        yield texts[start : start + _ROWS_PER_GROUP]


def _accuracy(probability: Probabilities, reviews: Path) -> dict[str, Any]:
    """Share of right labels at 0.5, of the held-out reviews and of all labelled ones."""
    table = pq.read_table(reviews, columns=["positive", "held_out"])
    labelled = pc.is_valid(table["positive"]).to_numpy()
    positive = pc.fill_null(table["positive"], False).to_numpy()
    held_out = pc.fill_null(table["held_out"], False).to_numpy() & labelled
    right = (np.nan_to_num(probability, nan=0.5) >= 0.5) == positive
    return {
        name: float(right[rows].mean()) if rows.any() else None
        for name, rows in {"accuracy": held_out, "accuracy_labelled": labelled}.items()
    }


def _timed(score: Callable[[Any], Probabilities], texts: pa.Array, *, as_list: bool) -> dict[str, Any]:
    """Score the texts, after a few of them for warming up."""
    groups = list(_groups(texts))
    given: list[Any] = [group.to_pylist() for group in groups] if as_list else groups
    score(given[0][:64])
    started = time.perf_counter()
    probability = np.concatenate([score(group) for group in given])
    return {"seconds": time.perf_counter() - started, "probability": probability}


def _own(task: Task, *, engine: str, precision: str, static_shapes: bool = False) -> dict[str, Any]:
    """Ours, without Spark."""
    model = load_model(task.model)
    scorer = Scorer(model, engine=engine, precision=precision, threads=task.cores)
    if static_shapes:
        scorer.engine._net.hybridize(static_alloc=True, static_shape=True)  # type: ignore[attr-defined]
    result = _timed(lambda texts: scorer.score_texts(texts).positive_probability, task.texts, as_list=False)
    result["peak_memory_bytes"] = peak_memory()
    shapes = {"max_batch_tokens": scorer.max_batch_tokens, "length_step": scorer.engine.length_step}
    return result | {"padding_waste": padding_waste(model, task.texts, **shapes)}


def _score_job(task: Task, *, engine: str, precision: str, warm: bool = True) -> dict[str, Any]:
    """Ours, as the nightly job."""
    from tools.benchmarks.spark_runs import score_job

    return score_job(task, engine=engine, precision=precision, warm=warm)


def _predict_batch_udf(task: Task) -> dict[str, Any]:
    """Spark's own way to score with a network."""
    from tools.benchmarks.spark_runs import predict_batch

    return predict_batch(task)


def _linear_udf(task: Task) -> dict[str, Any]:
    from tools.benchmarks.spark_runs import linear_in_pandas

    return linear_in_pandas(task)


def _gluonnlp(task: Task) -> dict[str, Any]:
    from tools.benchmarks.peer_gluonnlp import gluonnlp_loop

    return _timed(gluonnlp_loop(load_model(task.model), cores=task.cores), task.texts, as_list=True)


def _oracle(task: Task) -> dict[str, Any]:
    """The tests' float64 network; what the others' probabilities are compared with."""
    from multiprocessing import get_context

    from tests.support.reference import reference_probability

    score = partial(reference_probability, load_model(task.model))
    parts = np.array_split(np.array(task.texts.to_pylist(), dtype=object), 50 * task.cores)
    started = time.perf_counter()
    with get_context("fork").Pool(task.cores) as pool:
        scored = pool.map(score, [part.tolist() for part in parts if len(part)], chunksize=1)
    return {"seconds": time.perf_counter() - started, "probability": np.concatenate(scored)}


def _text_pipeline(task: Task) -> dict[str, Any]:
    """Text -> token ids alone, as a worker does it that is not at its first batches."""
    pa.set_cpu_count(task.cores)
    pipeline = load_model(task.model).text
    groups = list(_groups(task.texts))
    for _ in range(2):
        started = time.perf_counter()
        for group in groups:
            pipeline.encode(group)
    return {"seconds": time.perf_counter() - started}


def _predict(task: Task) -> dict[str, Any]:
    """`predict` of one sentence, start-up included."""
    command = [sys.executable, "-m", "jobs.cli", "predict", "--model", str(task.model), "A film with a heart."]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - started, "reviews": 1}


_ENGINES: dict[str, dict[str, Any]] = {
    REFERENCE: {"engine": "mxnet", "precision": "float32", "static_shapes": True},
    "mxnet float32": {"engine": "mxnet", "precision": "float32"},
    "onnx float32": {"engine": "onnx", "precision": "float32"},
    "onnx int8": {"engine": "onnx", "precision": "int8"},
    "torch float32": {"engine": "torch", "precision": "float32"},
}
_NEEDS = {"mxnet": ("mxnet",), "onnx": (), "torch": ("torch",)}
CONTESTANTS = {
    **{name: Case(run=partial(_own, **how), packages=_NEEDS[how["engine"]]) for name, how in _ENGINES.items()},
    **{
        f"score job, {name}": Case(run=partial(_score_job, **how), packages=_NEEDS[how["engine"]], spark=True)
        for name, how in _ENGINES.items()
        if name != REFERENCE
    },
    "GluonNLP loop": Case(run=_gluonnlp, packages=("gluonnlp", "mxnet", "spacy")),
    "predict_batch_udf, PyTorch LSTM": Case(run=_predict_batch_udf, packages=("torch",), spark=True),
    "pandas UDF, TF-IDF of word pairs": Case(run=_linear_udf, packages=("sklearn",), spark=True, same_weights=False),
    "float64 oracle": Case(run=_oracle, rounds=1),
}
CASES = {
    **CONTESTANTS,
    COLD_JOB: Case(run=partial(_score_job, engine="onnx", precision="float32", warm=False), spark=True, rounds=0),
    "matrix limits": Case(run=lambda task: measure_limits(task.cores)),
    "text pipeline": Case(run=_text_pipeline),
    "predict, one sentence": Case(run=_predict),
}

if __name__ == "__main__":
    main()
