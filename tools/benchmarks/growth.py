"""What the score job takes as data grow in one direction: more rows, most of one product, all in one group.

    .venv/bin/python -m tools.benchmarks.growth

Score jobs with a stub of a model (`tools.benchmarks.scale.stub_model`), each in a process of its own:

- 200,000 and 2,000,000 rows: what the driver holds, in Java after a collection and in Python at its peak;
- products of even size, and 90 % of the rows in one: seconds, with the product as the partition and as the id;
- one group of more than 2 GiB of text, in short and in very long reviews: peak memory of its worker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import save_model
from sentiment_core.mxnet_setup import available_cores
from tools.benchmarks.figures import markdown_table
from tools.benchmarks.memory import peak_memory
from tools.benchmarks.report import machine
from tools.benchmarks.reviews import prepare_reviews
from tools.benchmarks.scale import stub_model
from tools.benchmarks.spark_runs import heap_after_collection, run_job, start_spark

__all__ = ["main", "write_long_reviews", "write_products"]

_ROWS, _QUICK_ROWS = (200_000, 2_000_000), (1_000, 2_000)
_SKEW_ROWS, _QUICK_SKEW_ROWS = 500_000, 2_000
_PRODUCTS, _LARGEST_SHARE = 20, 0.9
# Of one group; Arrow's 32-bit offsets end at 2 GiB.
_GROUP_BYTES, _QUICK_GROUP_BYTES = 2_300_000_000, 20_000_000
_REVIEW_BYTES = (2_000, 200_000)


def main() -> None:
    """Measure, print the table, save ``growth.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=1, help="of the skewed runs; the fastest counts")
    parser.add_argument("--quick", action="store_true", help="few rows: to try the command")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the options of one job, as JSON
    options = parser.parse_args()
    if options.job:
        print(json.dumps(_run(json.loads(options.job), cores=options.cores)))
        return
    options.directory.mkdir(parents=True, exist_ok=True)
    save_model(stub_model(), options.directory / "stub")
    results = {
        "machine": machine() | {"cores": options.cores},
        "rows": _rows(options),
        "skew": _skew(options),
        "group": _group(options),
    }
    (options.directory / "growth.json").write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    few, many = results["rows"].values()
    lines = [
        [f"{name}, {int(few['rows']):,} to {int(many['rows']):,} rows", f"{many[key] / few[key] - 1:+.1%}"]
        for name, key in (("driver's heap", "driver_heap_bytes"), ("driver's Python", "driver_python_bytes"))
    ]
    lines += [
        [f"seconds with {_LARGEST_SHARE:.0%} in one product, as the {role}", f"{times['ratio']:.2f} x"]
        for role, times in results["skew"].items()
    ]
    lines += [
        [f"worker, one group of {group['bytes'] / 2**30:.2f} GiB in reviews of {int(size):,} bytes",
         f"{group['worker_bytes'] / 1e9:.2f} GB"]
        for size, group in results["group"].items()
    ]  # fmt: skip
    return markdown_table(["figure", "measured"], lines)


def write_products(path: Path, *, n_rows: int, largest_share: float | None) -> None:
    """Reviews of some products of even size, or of which one has a large share."""
    rng = np.random.default_rng(3)
    product = rng.integers(0, _PRODUCTS, n_rows)
    if largest_share is not None:
        product = np.where(rng.random(n_rows) < largest_share, 0, 1 + product % (_PRODUCTS - 1))
    texts = generate_reviews(5_000, odd_texts=False)["text"].to_pylist()
    table = pa.table(
        {
            "review_id": np.arange(n_rows),
            "product": [f"product-{number}" for number in product],
            "text": [f"{texts[number % len(texts)]} {number}" for number in range(n_rows)],
        }
    )
    pq.write_table(table, path, row_group_size=50_000, compression="zstd", write_page_checksum=True)


def write_long_reviews(path: Path, *, n_bytes: int, review_bytes: int) -> None:
    """Reviews of about one length, no two alike."""
    words = " ".join(generate_reviews(2_000, odd_texts=False)["text"].to_pylist())
    words *= 1 + 2 * review_bytes // len(words)
    schema = pa.schema({"review_id": pa.int64(), "text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for numbers in _parts(n_bytes // review_bytes, size=max(1, 20_000_000 // review_bytes)):
            texts = [f"{number} {words[number % review_bytes :][: review_bytes - 10]}" for number in numbers]
            writer.write_table(pa.table({"review_id": numbers, "text": texts}, schema))


def _parts(n_rows: int, *, size: int) -> Iterator[list[int]]:
    for start in range(0, n_rows, size):
        yield list(range(start, min(n_rows, start + size)))


def _rows(options: argparse.Namespace) -> dict[int, dict[str, Any]]:
    found = {}
    for n_rows in _QUICK_ROWS if options.quick else _ROWS:
        reviews = prepare_reviews(options.directory, data=None, n_reviews=n_rows)
        found[n_rows] = _measured(options, input=reviews)
    return found


def _skew(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    n_rows = _QUICK_SKEW_ROWS if options.quick else _SKEW_ROWS
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        even, skewed = Path(folder, "even.parquet"), Path(folder, "skewed.parquet")
        write_products(even, n_rows=n_rows, largest_share=None)
        write_products(skewed, n_rows=n_rows, largest_share=_LARGEST_SHARE)
        for role, columns in {
            "partition": {"partition-by": "product"},
            "id": {"id-column": "product", "keep-columns": "review_id"},
        }.items():
            times = {
                name: min(_measured(options, input=path, **columns)["seconds"] for _ in range(options.rounds))
                for name, path in (("even", even), ("skewed", skewed))
            }
            found[role] = times | {"ratio": times["skewed"] / times["even"], "rows": n_rows}
    return found


def _group(options: argparse.Namespace) -> dict[int, dict[str, Any]]:
    n_bytes = _QUICK_GROUP_BYTES if options.quick else _GROUP_BYTES
    found = {}
    for review_bytes in _REVIEW_BYTES:
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            reviews = Path(folder, "reviews.parquet")
            write_long_reviews(reviews, n_bytes=n_bytes, review_bytes=review_bytes)
            found[review_bytes] = _measured(options, input=reviews, groups="1") | {"bytes": n_bytes}
    return found


def _measured(options: argparse.Namespace, **job: Any) -> dict[str, Any]:
    """Run one job in a process of its own."""
    job |= {"model": options.directory / "stub"}
    command = [sys.executable, "-m", "tools.benchmarks.growth", "--cores", str(options.cores)]
    command += ["--job", json.dumps({name: str(value) for name, value in job.items()})]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(job | result, default=str), file=sys.stderr, flush=True)
    return result


def _run(job: dict[str, str], *, cores: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        session = start_spark(Path(scratch), cores=cores)
        how = {"engine": "onnx", "precision": "float32", "run-date": "2026-11-01", "output": Path(scratch, "scores")}
        _, report = run_job(how | job)
        python = peak_memory()
        heap = heap_after_collection(session)
        session.stop()
    starting = ("load_model", "start_spark")
    return {
        "rows": report["counts"]["rows"],
        "groups": report["settings"]["groups"],
        "seconds": sum(seconds for stage, seconds in report["seconds"].items() if stage not in starting),
        "stages": report["seconds"],
        "driver_heap_bytes": heap,
        "driver_python_bytes": python,
        "worker_bytes": max(worker["peak_memory_bytes"] for worker in report["workers"].values()),
    }


if __name__ == "__main__":
    main()
