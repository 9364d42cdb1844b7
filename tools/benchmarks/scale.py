"""Measure the constants of `tools.benchmarks.scale_model`, check the model against larger runs, predict the largest.

    .venv/bin/python -m tools.benchmarks.scale --data DIRECTORY --executors 16 --executor-cores 4 --hourly-price 0.2

The runs that calibrate and check it are score jobs with a stub of a model, which reads one word of each review: all of
the job but the network. A command that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import Architecture, Model, save_model
from sentiment_core.engines.selection import choose_engine
from sentiment_core.mxnet_setup import available_cores
from sentiment_core.text.pipeline import TextPipeline, TextSettings, build_vocabulary
from tools.benchmarks.cases import COLD_JOB
from tools.benchmarks.command import benchmark_parser, parse, run
from tools.benchmarks.figures import markdown_table
from tools.benchmarks.report import machine
from tools.benchmarks.reviews import prepare_reviews
from tools.benchmarks.runs import Runs
from tools.benchmarks.scale_model import ScaleModel

__all__ = ["calibrate", "check", "main", "stub_model"]

_TOLERANCE = 0.2
_CALIBRATION_ROWS, _CHECKED_ROWS = (20_000, 500_000), (50_000, 200_000, 1_000_000, 2_000_000)
_QUICK_CALIBRATION_ROWS, _QUICK_CHECKED_ROWS = (500, 2_000), (1_000,)
_PREDICTED_ROWS = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
_MANY_GROUPS, _QUICK_MANY_GROUPS = 2_000, 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing; returns the exit code."""
    parser = benchmark_parser(__doc__, reviews=5_000, quick_reviews=300)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--executors", type=int, default=16)
    parser.add_argument("--executor-cores", type=int, default=4)
    parser.add_argument("--hourly-price", type=float, default=0.20, help="of one executor")
    options = parse(parser, arguments)
    return run(lambda: report(options))


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the tables, save ``scale.json``; returns what the file holds."""
    stub_path = options.directory / "stub"
    if not stub_path.exists():
        options.directory.mkdir(parents=True, exist_ok=True)
        save_model(stub_model(), stub_path)
    stub_runs = Runs(directory=options.directory / "runs", model=stub_path)
    stub = calibrate(stub_runs, options)
    checks = check(stub, stub_runs, options)
    own_runs = replace(stub_runs, model=options.model)
    reviews = prepare_reviews(options.directory, data=options.data, n_reviews=options.reviews)
    name = " ".join(choose_engine("auto", precision="auto", device="cpu"))
    own = _median_of([own_runs.measure(name, reviews, cores=1, attempt=attempt) for attempt in range(options.rounds)])
    job = own_runs.measure(f"score job, {name}", reviews, cores=options.cores)
    assert job is not None
    model = replace(
        stub,
        reviews_per_second_a_core=options.reviews / own["seconds"],
        worker_bytes=job["peak_memory_bytes"],
        output_bytes_a_row=job["output_bytes"] / options.reviews,  # the stub's scores are all alike
    )
    cluster = {"executors": options.executors, "executor_cores": options.executor_cores}
    results = {
        "machine": machine() | {"cores": options.cores},
        "engine": name,
        "constants": asdict(model),
        "stub_reviews_per_second_a_core": stub.reviews_per_second_a_core,
        "checks": checks,
        "cluster": cluster | {"hourly_price": options.hourly_price},
        "predictions": {
            rows: asdict(model.predict(rows, **cluster, hourly_price=options.hourly_price)) for rows in _PREDICTED_ROWS
        },
    }
    (options.directory / "scale.json").write_text(json.dumps(results, indent=2) + "\n")
    print(tables(results))
    print(f"saved {options.directory / 'scale.json'}")
    return results


def stub_model() -> Model:
    """A model that reads the first word of a review and says nothing."""
    settings = TextSettings(max_tokens=1)
    vocabulary, _ = build_vocabulary([generate_reviews(200)["text"]], settings=settings, max_size=1_000)
    architecture = Architecture(vocab_size=len(vocabulary), embed_size=8, hidden_size=8)
    return Model(
        kind="sentiment",
        architecture=architecture,
        text=TextPipeline(settings=settings, vocabulary=vocabulary),
        weights={name: np.zeros(shape, np.float32) for name, shape in architecture.shapes("sentiment").items()},
    )


def calibrate(runs: Runs, options: argparse.Namespace) -> ScaleModel:
    """Constants from three kinds of runs: few rows, more rows, and few rows in many groups."""
    few_rows, more_rows = _QUICK_CALIBRATION_ROWS if options.quick else _CALIBRATION_ROWS
    many_groups = _QUICK_MANY_GROUPS if options.quick else _MANY_GROUPS
    few_reviews = prepare_reviews(options.directory, data=options.data, n_reviews=few_rows)
    more_reviews = prepare_reviews(options.directory, data=options.data, n_reviews=more_rows)

    def measured(name: str, reviews: Path, *, cores: int, groups: int | None = None) -> dict[str, Any]:
        attempts = range(options.rounds)
        return _median_of([runs.measure(name, reviews, cores=cores, attempt=one, groups=groups) for one in attempts])

    few = measured(COLD_JOB, few_reviews, cores=options.cores)
    more = measured(COLD_JOB, more_reviews, cores=options.cores)
    grouped = measured(COLD_JOB, few_reviews, cores=options.cores, groups=many_groups)
    bare = measured("onnx float32", more_reviews, cores=1)
    cores, groups = options.cores, grouped["groups"] - few["groups"]
    on_cores = max(0.0, (_scoring_task_seconds(grouped) - _scoring_task_seconds(few)) / groups)
    on_driver = max(0.0, (grouped["seconds"] - few["seconds"]) / groups - on_cores / cores)
    a_group = on_driver + on_cores / cores
    a_row = (more["seconds"] - few["seconds"] - a_group * (more["groups"] - few["groups"])) / (more_rows - few_rows)
    scoring = bare["seconds"] / more_rows
    bytes_a_group = max(0.0, (grouped["driver_heap_bytes"] - few["driver_heap_bytes"]) / groups)
    return ScaleModel(
        start_seconds=few["start_seconds"],
        job_seconds=max(0.0, few["seconds"] - few_rows * a_row - few["groups"] * a_group),
        core_seconds_a_row=max(0.0, a_row * cores - scoring),
        reviews_per_second_a_core=1 / scoring,
        core_seconds_a_group=on_cores,
        driver_seconds_a_group=on_driver,
        shuffle_bytes_a_row=more["events"]["shuffle_bytes"] / more_rows,
        output_bytes_a_row=more["output_bytes"] / more_rows,
        driver_bytes=few["driver_heap_bytes"] - few["groups"] * bytes_a_group,
        driver_bytes_a_group=bytes_a_group,
        worker_bytes=more["peak_memory_bytes"],
    )


def check(model: ScaleModel, runs: Runs, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Predicted and measured seconds of runs that the constants were not taken from, largest last."""
    found = []
    for rows in _QUICK_CHECKED_ROWS if options.quick else _CHECKED_ROWS:
        reviews = prepare_reviews(options.directory, data=options.data, n_reviews=rows)
        result = runs.measure(COLD_JOB, reviews, cores=options.cores)
        assert result is not None
        measured = result["seconds"] + result["start_seconds"]
        predicted = model.predict(rows, executors=1, executor_cores=options.cores).seconds
        error = predicted / measured - 1
        found.append(
            {
                "rows": rows,
                "measured_seconds": measured,
                "predicted_seconds": predicted,
                "error": error,
                "within_tolerance": abs(error) <= _TOLERANCE,
            }
        )
    return found


def tables(results: dict[str, Any]) -> str:
    """Constants, checks and predictions as Markdown."""
    checks = [
        [
            f"{row['rows']:,}",
            f"{row['measured_seconds']:.1f}",
            f"{row['predicted_seconds']:.1f}",
            f"{row['error']:+.0%}{'' if row['within_tolerance'] else ', beyond the tolerance'}",
        ]
        for row in results["checks"]
    ]
    predictions = [
        [
            f"{int(rows):,}",
            f"{row['seconds'] / 3600:,.2f}",
            f"{row['price']:,.2f}",
            f"{row['groups']:,}",
            f"{row['shuffle_bytes'] / 1e9:,.0f}",
            f"{row['output_bytes'] / 1e9:,.1f}",
            f"{row['driver_bytes'] / 1e9:,.2f}",
        ]
        for rows, row in results["predictions"].items()
    ]
    cluster = results["cluster"]
    return "\n\n".join(
        [
            markdown_table(["constant", "value"], [[name, f"{x:.4g}"] for name, x in results["constants"].items()]),
            markdown_table(["stub-scored rows", "measured, s", "predicted, s", "error"], checks),
            f"{cluster['executors']} executors of {cluster['executor_cores']} cores, "
            f"{cluster['hourly_price']} an hour each:",
            markdown_table(
                ["reviews", "hours", "price", "groups", "shuffle, GB", "output, GB", "driver, GB"], predictions
            ),
        ]
    )


def _scoring_task_seconds(result: dict[str, Any]) -> float:
    """Core seconds of the stage that scores: the one that writes."""
    return float(max(result["events"]["stages"], key=lambda stage: stage["output_bytes"])["task_seconds"])


def _median_of(results: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """The run whose time is the (lower) median."""
    done = [result for result in results if result is not None]
    middle = statistics.median_low([result["seconds"] for result in done])
    return next(result for result in done if result["seconds"] == middle)


if __name__ == "__main__":
    sys.exit(main())
