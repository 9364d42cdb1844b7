"""Processes that share one GPU, each a Spark Python worker in what it computes: Arrow batches in, scored batches out.

Where PySpark is installed they call `jobs.executor.GroupScorer` in a task that Spark gave the GPU 0; else its `Scorer`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from sentiment_core.artifact import Model

__all__ = ["Workers", "announced_gpu", "group_scorer"]

_START_SECONDS = 120
_RUN_SECONDS = 60


class Workers:
    """Python workers that wait for work.

    Parameters
    ----------
    count : int
    model : Model
    device : str
        ``gpu:0``, or ``cpu`` to try it.
    reviews : Path
        What `tools.benchmarks.gpu_part.Part` reads.
    scale : float
        Share of the rows of a batch.
    """

    def __init__(self, count: int, *, model: Model, device: str, reviews: Path, scale: float) -> None:
        self.function = "GroupScorer" if find_spec("pyspark") else "Scorer"
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, number, model.to_bytes(), device, reviews, scale), daemon=True
            )
            process.start()
            self._workers.append((process, ours))
        try:
            for _, connection in self._workers:
                _answer(connection, _START_SECONDS)
        except BaseException:
            self.close()
            raise

    def run(self, count: int, *, n_slices: int) -> dict[str, Any]:
        """Let so many of them score so many Arrow batches each."""
        started = time.perf_counter()
        for _, connection in self._workers[:count]:
            connection.send(n_slices)
        answers = [_answer(connection, _RUN_SECONDS) for _, connection in self._workers[:count]]
        seconds = time.perf_counter() - started
        reviews, tokens = (sum(answer[name] for answer in answers) for name in ("reviews", "tokens"))
        return {
            "workers": count,
            "reviews": reviews,
            "tokens": tokens,
            "wall_seconds": seconds,
            "reviews_per_second": reviews / seconds,
            "tokens_per_second": tokens / seconds,
            "slowest_worker_seconds": max(answer["seconds"] for answer in answers),
            "engines": sorted({answer["engine"] for answer in answers}),
            "gpu_memory_bytes_a_worker": max(answer["gpu_memory_bytes"] for answer in answers),
            "gpu_memory_in_use_bytes": max(answer["gpu_memory_in_use_bytes"] for answer in answers),
        }

    def close(self) -> None:
        """End them."""
        for process, _ in self._workers:
            process.kill()
        for process, _ in self._workers:
            process.join()


def announced_gpu(*addresses: str, cpus: int = 1) -> SimpleNamespace:
    """What `TaskContext.get` returns in a task to which Spark assigned these GPUs."""
    resources = {"gpu": SimpleNamespace(addresses=list(addresses))} if addresses else {}
    return SimpleNamespace(resources=lambda: resources, cpus=lambda: cpus, attemptNumber=lambda: 0)


def group_scorer(content: bytes, *, statistics: list[dict[str, Any]] | None = None, **options: str) -> Any:
    """The score job's UDF, with a model as if Spark had broadcast it.

    Parameters
    ----------
    content : bytes
        `Model.to_bytes`.
    statistics : list, optional
        Takes the worker's reports.
    options : str
        Engine, precision and device; each ``auto`` by default.
    """
    from jobs.executor import GroupScorer, SharedModel

    model: Any = SimpleNamespace(value=content)
    taken: Any = None if statistics is None else SimpleNamespace(add=statistics.append)
    return GroupScorer(
        models=(SharedModel(content=model, sha256=Model.from_bytes(content).sha256),),
        statistics=taken,
        **{"engine": "auto", "precision": "auto", "device": "auto", **options},
    )


def _answer(connection: Connection, seconds: float) -> dict[str, Any]:
    if not connection.poll(seconds):
        raise TimeoutError(f"a worker gave no answer in {seconds} s")
    answer: dict[str, Any] = connection.recv()
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return answer


def _work(connection: Connection, number: int, content: bytes, device: str, reviews: Path, scale: float) -> None:
    """What a worker process does until it is ended."""
    try:
        import torch

        from tools.benchmarks.gpu_part import Part

        model = Model.from_bytes(content)
        part = Part(model=model, reviews=reviews, result=reviews, device=device, seconds=0, scale=scale)
        slices = part.films(5 * (number % 4 + 1))[-5:]  # not everybody's begin alike
        batches = [
            pa.RecordBatch.from_arrays(
                [
                    pa.array(np.arange(len(texts))),
                    texts.cast(pa.string()),
                    pa.array([{"stars": None}] * len(texts), pa.struct([("stars", pa.int64())])),
                ],
                ["id", "text", "kept"],
            )
            for texts in slices
        ]
        score = _scoring(content, device, part)

        def run(n_slices: int) -> dict[str, Any]:
            started = time.perf_counter()
            rows = tokens = 0
            for scored in score(batches[place % len(batches)] for place in range(n_slices)):
                rows += len(scored)
                tokens += int(np.minimum(scored["n_tokens"].to_numpy(), model.text.settings.max_tokens).sum())
            return {"reviews": rows, "tokens": tokens, "seconds": time.perf_counter() - started}

        engine = run(2) and _engine_name(device)
        connection.send({})
        while True:
            answer = run(connection.recv())
            free, total = (0, 0) if device == "cpu" else torch.cuda.mem_get_info()
            memory = 0 if device == "cpu" else torch.cuda.max_memory_reserved()
            connection.send(
                answer
                | {"engine": engine, "gpu_memory_bytes": int(memory), "gpu_memory_in_use_bytes": int(total - free)}
            )
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001, the parent tells it
        connection.send({"failed": f"{type(error).__name__}: {error}"})


def _scoring(content: bytes, device: str, part: Any) -> Any:
    """Arrow batches -> scored Arrow batches."""
    if find_spec("pyspark"):
        from pyspark import TaskContext

        TaskContext._taskContext = announced_gpu("0")  # type: ignore[assignment]
        return group_scorer(content, device="cpu" if device == "cpu" else "gpu")
    from sentiment_core.scoring.lanes import in_order

    scorer = part.scorer(threads=1)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        texts = (batch["text"] for batch in batches)
        for scores in in_order(scorer.score_texts, texts, lanes=scorer.lanes):
            yield pa.RecordBatch.from_arrays(
                [pa.array(scores.positive_probability), pa.array(scores.n_tokens)], ["positive_probability", "n_tokens"]
            )

    return score


def _engine_name(device: str) -> str:
    if find_spec("pyspark"):
        from jobs.executor import _SCORERS

        return ", ".join(sorted({f"{one.engine.name} on {one.engine.device}" for one in _SCORERS.values()}))
    return f"torch float16 on {device}"
