"""The contestants that run in Spark, with what the session says of their tasks."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.functions import pandas_udf

from jobs.spark.session import spark_session
from jobs.verbs import score as score_reviews
from tools.benchmarks.event_log import read_event_log
from tools.benchmarks.memory import peak_worker_memory

if TYPE_CHECKING:
    from tools.benchmarks.cases import Task

__all__ = [
    "heap_after_collection",
    "linear_in_pandas",
    "predict_batch",
    "run_job",
    "score_job",
    "start_spark",
]

_BATCH_SIZE = 64
_FEW_REVIEWS = 64


def start_spark(scratch: Path, *, cores: int) -> SparkSession:
    """A local session that writes its event log below a directory."""
    log = scratch / "events"
    log.mkdir(parents=True)
    conf = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.sql.warehouse.dir": (scratch / "warehouse").as_uri(),
    }
    settings = " ".join(f"--conf {name}={value}" for name, value in conf.items())
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{cores}] --driver-memory 3g {settings} pyspark-shell"
    # Workers import these modules.
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return spark_session("benchmark")


def score_job(task: Task, *, engine: str, precision: str, warm: bool) -> dict[str, Any]:
    """The nightly job as it is; ``seconds`` without the start of Spark.

    Warm, a job of a few reviews goes before it: Java has compiled its loops, and the workers have loaded the model.
    """
    started = time.perf_counter()
    session = start_spark(task.scratch, cores=task.cores)
    start_seconds = time.perf_counter() - started
    how = {"model": task.model, "engine": engine, "precision": precision, "run-date": "2026-11-01"}
    if warm:
        run_job(how | {"input": _few_reviews(task), "output": task.scratch / "warm-up"})
    output = task.scratch / "scores"
    groups = {"groups": task.groups} if task.groups else {}
    seconds, report = run_job(how | groups | {"input": task.reviews, "output": output})
    memory = peak_worker_memory()
    heap = heap_after_collection(session)
    session.stop()
    return {
        "seconds": seconds - report["seconds"]["load_model"] - report["seconds"]["start_spark"],
        "start_seconds": start_seconds + report["seconds"]["load_model"],
        "stages": report["seconds"],
        "groups": report["settings"]["groups"],
        "busy_seconds": [worker["seconds"] for worker in report["workers"].values()],
        "peak_memory_bytes": memory,
        "driver_heap_bytes": heap,
        "output_bytes": report["output"]["bytes"],
        "events": read_event_log(task.scratch / "events"),
        "probability": _in_order(output, task.reviews),
    }


def predict_batch(task: Task) -> dict[str, Any]:
    """Spark's `predict_batch_udf` with the same weights in PyTorch."""
    model = str(task.model)

    def load() -> Callable[[Any], Any]:
        from tools.benchmarks.peer_torch import predictor

        return predictor(model, batch_size=_BATCH_SIZE)

    return _scored(task, predict_batch_udf(load, return_type=T.DoubleType(), batch_size=_BATCH_SIZE))


def linear_in_pandas(task: Task) -> dict[str, Any]:
    """The linear model in a pandas UDF."""
    path = str(task.linear)

    def score(texts: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in texts:
            yield pd.Series(_linear_scorer(path)(batch.tolist()))

    score.__annotations__ = {"texts": Iterator[pd.Series], "return": Iterator[pd.Series]}
    make_udf: Any = pandas_udf  # its stub does not know a return type beside annotations
    return _scored(task, make_udf(score, T.DoubleType()))


@cache
def _linear_scorer(path: str) -> Any:
    """Loaded once a worker."""
    from tools.benchmarks.peer_linear import linear_scorer

    return linear_scorer(Path(path))


def _scored(task: Task, udf: Callable[[str], Column]) -> dict[str, Any]:
    """Reviews -> a UDF -> Parquet."""
    session = start_spark(task.scratch, cores=task.cores)
    output = task.scratch / "scores"

    def scored(path: Path) -> DataFrame:
        # A small file comes as one partition, which would keep one core busy.
        reviews = session.read.parquet(str(path)).select("review_id", "text").repartition(4 * task.cores)
        return reviews.select("review_id", udf("text").alias("positive_probability"))

    scored(_few_reviews(task)).write.parquet(str(task.scratch / "warm-up"))
    started = time.perf_counter()
    scored(task.reviews).write.parquet(str(output))
    result = {"seconds": time.perf_counter() - started, "peak_memory_bytes": peak_worker_memory()}
    session.stop()
    return result | {"probability": _in_order(output, task.reviews)}


def run_job(arguments: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds and report of one score job."""
    parser = argparse.ArgumentParser()
    score_reviews.add_arguments(parser)
    options = parser.parse_args([str(part) for name, value in arguments.items() for part in (f"--{name}", value)])
    reports: list[dict[str, Any]] = []
    started = time.perf_counter()
    score_reviews.run(options, reports.append)
    return time.perf_counter() - started, reports[0]


def _few_reviews(task: Task) -> Path:
    """A file with the first of them."""
    path = task.scratch / "few.parquet"
    pq.write_table(pq.read_table(task.reviews).slice(0, _FEW_REVIEWS), path)
    return path


def _in_order(output: Path, reviews: Path) -> Any:
    """Probabilities in the order of the reviews; NaN for a review without."""
    scores = pq.read_table(output, columns=["review_id", "positive_probability"])
    places = pd.Series(scores["positive_probability"].to_numpy(), index=scores["review_id"].to_numpy())
    return places.reindex(pq.read_table(reviews, columns=["review_id"])["review_id"].to_numpy()).to_numpy(np.float64)


def heap_after_collection(session: SparkSession) -> int:
    """What the driver's heap holds when all garbage is gone."""
    jvm: Any = session._jvm
    runtime = jvm.java.lang.Runtime.getRuntime()
    held = [sys.maxsize]
    # Spark frees the blocks of tables and broadcasts only when a collection has found them unused.
    while len(held) < 2 or held[-1] < 0.99 * held[-2]:
        jvm.java.lang.System.gc()
        held.append(int(runtime.totalMemory() - runtime.freeMemory()))
        time.sleep(1)
    return min(held)
