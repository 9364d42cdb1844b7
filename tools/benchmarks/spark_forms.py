"""Which form of Spark's Python functions scores fastest, and where the time of the score job goes.

    .venv/bin/python -m tools.benchmarks.spark_forms --data DIRECTORY --reviews 50000

Forms: the job's own grouped map in iterator form, `mapInArrow` after and without a shuffle, plain `applyInPandas`. The
parts are steps of the job's way, each with one more than the one before: read, shuffle, to Python and back, Parquet,
scoring.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.executor import GroupScorer, SharedModel, WorkerStatistics, score_group
from jobs.scoring.grouping import group_count, score_table
from jobs.tables.scores import GROUP, KEPT, TEXT, WORKER_FIELDS, ScoreColumns
from sentiment_core.artifact import load_model
from sentiment_core.mxnet_setup import available_cores
from tools.benchmarks.command import benchmark_parser, parse, run
from tools.benchmarks.figures import Spread, markdown_table, paired_ratio
from tools.benchmarks.report import machine
from tools.benchmarks.reviews import prepare_reviews
from tools.benchmarks.spark_runs import start_spark

__all__ = ["FORMS", "PARTS", "StubScorer", "main", "measure_forms"]

_LOGGER = logging.getLogger(__name__)
_COLUMNS = ScoreColumns(id="review_id", text="text", kept=("review_id",), partition="run_date")
_SCORED = T.StructType([T.StructField("review_id", T.LongType()), *WORKER_FIELDS.fields])
# As the worker's function takes and gives them: kept columns are packed into one.
_PACKED = T.StructType(
    [T.StructField(KEPT, T.StructType([T.StructField("review_id", T.LongType())])), *WORKER_FIELDS.fields]
)
Batches = Iterator[pa.RecordBatch]


class StubScorer:
    """Stands for `jobs.executor.GroupScorer`: the same columns, and no work for them."""

    def __call__(self, batches: Batches) -> Batches:
        """Append constants."""
        for batch in batches:
            kept = [name for name in batch.schema.names if name not in (TEXT, GROUP)]
            rows = batch.num_rows
            columns = [*(batch[name] for name in kept)]
            columns += [pa.array([0.5] * rows), pa.array(["neutral"] * rows), pa.array(["ok"] * rows)]
            columns += [pa.array([1] * rows, pa.int32()), pa.array([0] * rows, pa.int32())]
            yield pa.RecordBatch.from_arrays(columns, names=[*kept, *WORKER_FIELDS.names])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = benchmark_parser(__doc__, reviews=20_000, quick_reviews=200)
    parser.add_argument("--groups", type=int, help="default: as the job, one for 8,000 reviews, equally many a core")
    parser.add_argument("--cores", type=int, default=available_cores())
    options = parse(parser, arguments)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    return run(lambda: report(options))


def report(options: argparse.Namespace) -> None:
    """Measure, save ``spark_forms.json`` and print the tables."""
    results = measure_forms(options)
    (options.directory / "spark_forms.json").write_text(json.dumps(results, indent=2) + "\n")
    print(tables(results))
    print(f"saved {options.directory / 'spark_forms.json'}")


def measure_forms(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of all forms and parts, in rounds of alternating order."""
    reviews = prepare_reviews(options.directory, data=options.data, n_reviews=options.reviews)
    groups = options.groups or group_count(options.reviews, cores=options.cores)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        session = start_spark(Path(scratch), cores=options.cores)
        run = _Forms(session, reviews=str(reviews), model=options.model, groups=groups, output=f"{scratch}/scores")
        run.warm_up()
        names = [*PARTS, *FORMS]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        busy: list[list[float]] = []
        for attempt in range(options.rounds):
            for name in names if attempt % 2 == 0 else reversed(names):
                run.statistics.value.clear()
                started = time.perf_counter()
                getattr(run, ({**PARTS, **FORMS})[name])()
                seconds[name].append(time.perf_counter() - started)
                _LOGGER.info("%s, round %d: %.1f s", name, attempt + 1, seconds[name][-1])
                if FORMS.get(name) == "grouped":
                    busy.append([worker["seconds"] for worker in run.statistics.value.values()])
        sizes = run.group_sizes()
        session.stop()
    grouped = seconds[next(name for name, method in FORMS.items() if method == "grouped")]
    # Lower bound of the job's time on these cores: what the workers computed, spread evenly.
    engine = [sum(workers) / options.cores for workers in busy]
    skew = [max(workers) / (sum(workers) / options.cores) for workers in busy]
    return {
        "machine": machine() | {"cores": options.cores},
        "reviews": options.reviews,
        "groups": groups,
        "rounds": options.rounds,
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "against_grouped": {name: asdict(paired_ratio(seconds[name], grouped)) for name in FORMS},
        "scoring_share": asdict(paired_ratio(engine, grouped)),
        "busiest_worker_over_mean": asdict(Spread.of(skew)),
        "largest_group_over_mean": max(sizes) / (sum(sizes) / len(sizes)),
    }


def tables(results: dict[str, Any]) -> str:
    """Forms and parts as Markdown."""
    seconds = {name: Spread(**spread) for name, spread in results["seconds"].items()}
    forms = [
        [name, f"{seconds[name]:.2f}", f"{results['reviews'] / seconds[name].median:,.0f}", f"{Spread(**ratio):.2f}"]
        for name, ratio in results["against_grouped"].items()
    ]
    parts, before = [], 0.0
    for name in PARTS:
        parts.append([name, f"{seconds[name]:.2f}", f"{seconds[name].median - before:+.2f}"])
        before = seconds[name].median
    return "\n\n".join(
        [
            f"{results['reviews']:,} reviews, {results['groups']} groups, {results['machine']['cores']} cores, "
            f"medians of {results['rounds']} rounds (lowest to highest)",
            markdown_table(["form", "s", "reviews/s", "x the grouped form's time"], forms),
            markdown_table(["up to", "s", "adds, s"], parts),
            f"scoring in the workers: {Spread(**results['scoring_share']):.0%} of the grouped form's time\n"
            f"busiest worker over the mean: {Spread(**results['busiest_worker_over_mean']):.2f}; "
            f"largest group over the mean: {results['largest_group_over_mean']:.2f}",
        ]
    )


class _Forms:
    """The forms and parts over one table of reviews."""

    def __init__(self, session: SparkSession, *, reviews: str, model: Path, groups: int, output: str) -> None:
        self.statistics = session.sparkContext.accumulator({}, WorkerStatistics())
        self._reviews = session.read.parquet(reviews).select("review_id", "text")
        self._groups = groups
        self._output = output
        loaded = load_model(model)
        self._broadcast = session.sparkContext.broadcast(loaded.to_bytes())
        self._scorer = GroupScorer(
            models=(SharedModel(content=self._broadcast, sha256=loaded.sha256),),
            engine="auto",
            precision="auto",
            device="cpu",
            statistics=self.statistics,
        )

    def warm_up(self) -> None:
        """Start the workers and let each load the model, through both of its ways."""
        everything = self._reviews
        self._reviews = everything.limit(4 * self._groups)
        self.grouped()
        self.pandas()
        self._reviews = everything

    def group_sizes(self) -> list[int]:
        """Reviews of each group."""
        return [row["count"] for row in self._grouped_rows().groupBy(GROUP).count().collect()]

    def read(self) -> None:
        """Parquet -> rows."""
        _discard(self._reviews)

    def shuffled(self) -> None:
        """And by groups."""
        _discard(self._grouped_rows())

    def transferred(self) -> None:
        """And to Python and back."""
        _discard(self._job(StubScorer()))

    def written(self) -> None:
        """And to Parquet."""
        self._write(self._job(StubScorer()))

    def grouped(self) -> None:
        """The job's form: `applyInArrow` with iterators."""
        self._write(self._job(self._scorer))

    def arrow_shuffled(self) -> None:
        """`mapInArrow` over the same groups as partitions."""
        self._write(self._by_batches(self._grouped_rows()))

    def arrow(self) -> None:
        """`mapInArrow` over the partitions of the input as they come."""
        self._write(self._by_batches(self._reviews))

    def pandas(self) -> None:
        """`applyInPandas`, a whole group at a time."""
        score = partial(_score_pandas, broadcast=self._broadcast)
        self._write(self._grouped_rows().groupBy(GROUP).applyInPandas(_plain(score), _SCORED))

    def _by_batches(self, rows: DataFrame) -> DataFrame:
        packed = rows.select(F.struct("review_id").alias(KEPT), TEXT)
        scored = packed.mapInArrow(partial(_score_batches, self._scorer), _PACKED)
        return scored.select(f"{KEPT}.review_id", *WORKER_FIELDS.names)

    def _job(self, scorer: Callable[[Batches], Batches]) -> DataFrame:
        return score_table(self._reviews, columns=_COLUMNS, scorer=scorer, groups=self._groups)  # type: ignore[arg-type]

    def _grouped_rows(self) -> DataFrame:
        group = F.pmod(F.xxhash64("review_id", "text"), F.lit(self._groups)).cast("int").alias(GROUP)
        return self._reviews.select("*", group).repartitionById(self._groups, F.col(GROUP))

    def _write(self, scored: DataFrame) -> None:
        scored.write.mode("overwrite").parquet(self._output)


# Methods of `_Forms`: what each adds to the one before it, and the ways to score.
PARTS = {"read": "read", "shuffle": "shuffled", "to Python and back": "transferred", "Parquet": "written"}
FORMS = {
    "applyInArrow, iterators (the job)": "grouped",
    "mapInArrow after a shuffle": "arrow_shuffled",
    "mapInArrow without": "arrow",
    "applyInPandas, plain": "pandas",
}


def _score_batches(scorer: GroupScorer, batches: Batches) -> Batches:
    return scorer(batches)


def _score_pandas(group: pd.DataFrame, *, broadcast: Any) -> pd.DataFrame:
    return score_group(group, model=broadcast, device="cpu").drop(columns=GROUP)


def _plain(score: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A function of one argument, which is what Spark counts."""

    def function(group: pd.DataFrame) -> pd.DataFrame:
        return score(group)

    return function


def _discard(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


if __name__ == "__main__":
    sys.exit(main())
