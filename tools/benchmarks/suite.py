"""Ours beside what one would otherwise take, on the same reviews in one run: a table, a JSON file and a plot.

    .venv/bin/python -m tools.benchmarks.suite --data DIRECTORY --hourly-price 0.10

Each case runs in a process of its own, in rounds of alternating order. A command that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_core.artifact import Model, load_model
from sentiment_core.engines.selection import choose_engine
from sentiment_core.mxnet_setup import available_cores
from tools.benchmarks.cases import CASES, CONTESTANTS, REFERENCE
from tools.benchmarks.command import benchmark_parser, parse, run
from tools.benchmarks.figures import Spread, paired_ratio, price_per_million
from tools.benchmarks.limits import operations_per_token
from tools.benchmarks.report import comparison_table, machine, plot, scaling_table
from tools.benchmarks.reviews import prepare_reviews, training_reviews
from tools.benchmarks.runs import Runs

__all__ = ["compare", "main", "scale_up"]

_LOGGER = logging.getLogger(__name__)
_SCALING_ROWS, _QUICK_SCALING_ROWS = (1_000, 10_000, 50_000, 200_000), (100, 300)
# Beyond it a scaling run is done once.
_REPEATED_ROWS = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing; returns the exit code."""
    parser = benchmark_parser(__doc__, reviews=5_000, quick_reviews=300)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--hourly-price", type=float, default=0.10, help="of a machine of so many cores")
    parser.add_argument("--part", choices=("comparison", "scaling", "all"), default="all")
    options = parse(parser, arguments)
    return run(lambda: report(options))


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the tables, save ``suite.json`` and the plot; returns what the file holds."""
    directory: Path = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model)
    kind = "generated" if options.data is None else "real"
    runs = Runs(directory=directory / "runs", model=options.model, linear=directory / f"{kind}-linear")
    file = directory / "suite.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    results |= {
        "machine": machine() | {"cores": options.cores},
        "model": model.sha256,
        "reviews": "generated" if options.data is None else "Large Movie Review Dataset",
        "hourly_price": options.hourly_price,
    }
    if options.part != "scaling":
        results["comparison"] = compare(runs, model, options)
        print(comparison_table(results["comparison"]))
    if options.part != "comparison":
        results["scaling"] = scale_up(runs, options)
        print(scaling_table(results["scaling"]))
    file.write_text(json.dumps(results, indent=2) + "\n")
    print(f"saved {file}")
    if find_spec("matplotlib") is None:
        print("left out the plot, which needs matplotlib: pip install '.[bench]'")
    else:
        plot(results, directory / "suite.svg")
        print(f"saved {directory / 'suite.svg'}")
    return results


def compare(runs: Runs, model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """All contestants on the same reviews, the machine's limits, and what is measured once by itself."""
    reviews = prepare_reviews(options.directory, data=options.data, n_reviews=options.reviews)
    if (
        runs.linear
        and not (runs.linear / "words.json").exists()
        and not CASES["pandas UDF, TF-IDF of word pairs"].missing
    ):
        from tools.benchmarks.peer_linear import fit_linear

        fit_linear(training_reviews(options.data), runs.linear)
    texts = pq.read_table(reviews, columns=["text"])["text"].cast(pa.large_string())
    tokens = int(model.text.encode(texts).valid_length.sum())
    measured: dict[str, list[dict[str, Any]]] = {}
    for attempt in range(options.rounds):
        # What warms up or tires the machine within a round hits each end of the order in turn.
        for name in list(CASES) if attempt % 2 == 0 else reversed(CASES):
            bound = CASES[name].rounds
            if bound is None or attempt < bound:
                cores = 1 if name == "text pipeline" else options.cores
                result = runs.measure(name, reviews, cores=cores, attempt=attempt)
                if result is not None:
                    measured.setdefault(name, []).append(result)
    limits = measured["matrix limits"]
    limit = {
        precision: max(result["giga_operations_per_second"][precision] for result in limits)
        for precision in ("float32", "int8")
    }
    operations = operations_per_token(model.architecture.layer_sizes)
    oracle = runs.probabilities("float64 oracle", reviews, cores=options.cores)
    rows: dict[str, Any] = {}
    for name in (name for name in CONTESTANTS if name in measured):
        results = measured[name]
        speeds = [options.reviews / result["seconds"] for result in results]
        row: dict[str, Any] = {
            "reviews_per_second": asdict(Spread.of(speeds)),
            "tokens_per_second": asdict(Spread.of([speed * tokens / options.reviews for speed in speeds])),
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
            "accuracy": results[0]["accuracy"],
            "accuracy_labelled": results[0]["accuracy_labelled"],
            "price_per_million": price_per_million(Spread.of(speeds).median, hourly_price=options.hourly_price),
        }
        if REFERENCE in measured:
            base = [options.reviews / result["seconds"] for result in measured[REFERENCE]]
            row["against_reference"] = asdict(paired_ratio(speeds, base))
        if "padding_waste" in results[0]:
            precision = "int8" if name.endswith("int8") else "float32"
            row["padding_waste"] = results[0]["padding_waste"]
            row["share_of_limit"] = row["tokens_per_second"]["median"] * operations / limit[precision] / 1e9
        probabilities = runs.probabilities(name, reviews, cores=options.cores)
        if oracle is not None and probabilities is not None and CASES[name].same_weights:
            row["largest_change_from_oracle"] = float(np.nanmax(np.abs(probabilities - oracle)))
        rows[name] = row
    return {
        "reviews": options.reviews,
        "tokens": tokens,
        "rounds": options.rounds,
        "contestants": rows,
        "limits": {"giga_operations_per_second": limit, "products": limits[0]["products"]},
        "operations_per_token": operations,
        "tokenising_reviews_per_second_a_core": asdict(
            Spread.of([options.reviews / result["seconds"] for result in measured["text pipeline"]])
        ),
        "predict_seconds": asdict(Spread.of([result["seconds"] for result in measured["predict, one sentence"]])),
    }


def scale_up(runs: Runs, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The default engine, bare and as the score job, over rows and cores."""
    default = " ".join(choose_engine("auto", precision="auto", device="cpu"))
    found = []
    for rows in _QUICK_SCALING_ROWS if options.quick else _SCALING_ROWS:
        reviews = prepare_reviews(options.directory, data=options.data, n_reviews=rows)
        rounds = options.rounds if rows <= _REPEATED_ROWS else 1
        for cores in sorted({1, options.cores}):
            if rows > _REPEATED_ROWS and cores < options.cores:
                continue
            seconds: dict[str, list[float]] = {default: [], f"score job, {default}": []}
            memory = []
            for attempt in range(rounds):
                for name in list(seconds) if attempt % 2 == 0 else reversed(list(seconds)):
                    result = runs.measure(name, reviews, cores=cores, attempt=attempt)
                    assert result is not None
                    seconds[name].append(result["seconds"])
                    if name != default:
                        memory.append(result["peak_memory_bytes"])
            bare, job = seconds.values()
            found.append(
                {
                    "rows": rows,
                    "cores": cores,
                    "bare_seconds": asdict(Spread.of(bare)),
                    "job_seconds": asdict(Spread.of(job)),
                    "job_share_of_bare": asdict(paired_ratio(bare, job)),
                    "worker_peak_memory_bytes": max(memory),
                    "price_per_million": price_per_million(
                        rows / Spread.of(job).median, hourly_price=options.hourly_price * cores / options.cores
                    ),
                }
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
