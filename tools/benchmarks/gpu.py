"""Our GPU engine on one card: agreement with the oracle, speed from text to probability, its peers, sharing the card.

    .venv/bin/python -m tools.benchmarks.gpu --data DIRECTORY

Each part is a process of its own with a time limit; what it had found by then is kept, and what failed is named.
Without a CUDA GPU: one sentence and exit code 6.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sentiment_core.errors import AuditError, EnvironmentFault
from tools.benchmarks.command import benchmark_parser, parse, run
from tools.benchmarks.figures import markdown_table
from tools.benchmarks.reviews import prepare_reviews

__all__ = ["main", "tables"]

_LOGGER = logging.getLogger(__name__)
# Seconds that a part may take at most.
_PARTS = {"engine": 100.0, "workers": 75.0, "peers": 60.0}
# Before its process is ended, a part has so long to end its last step.
_GRACE = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = benchmark_parser(__doc__, reviews=20_000, quick_reviews=500)
    parser.add_argument("--file", type=Path, help="Parquet with text, and the oracle's probability; instead of --data")
    parser.add_argument("--seconds", type=float, default=240.0, help="default: %(default)s")
    options = parse(parser, arguments)
    return run(lambda: report(options))


def report(options: argparse.Namespace) -> None:
    """Measure, save ``gpu.json`` and ``gpu.md``, and print the tables.

    Raises
    ------
    EnvironmentFault
        If there is no GPU.
    AuditError
        If an engine differs from the oracle, or a step failed.
    """
    _require_gpu()
    options.directory.mkdir(parents=True, exist_ok=True)
    reviews = options.file or prepare_reviews(options.directory, data=options.data, n_reviews=options.reviews)
    results: dict[str, Any] = {}
    for _ in measured(results, reviews, options.directory, model=options.model, seconds=options.seconds):
        (options.directory / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.directory / "gpu.md").write_text(tables(results) + "\n")
    print(tables(results))
    broken = list(failures(results))
    if broken:
        raise AuditError("; ".join(broken))


def measured(
    results: dict[str, Any],
    reviews: Path,
    directory: Path,
    *,
    model: Path,
    seconds: float,
    device: str = "gpu:0",
    scale: float = 1.0,
) -> Iterator[str]:
    """Measure part by part into the results; gives the part's name after each."""
    deadline = time.monotonic() + seconds
    for name, most in _PARTS.items():
        left = min(most, deadline - time.monotonic() - _GRACE)
        result = (directory / f"gpu-{name}.json").absolute()
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tools.benchmarks.gpu_part", name, "--reviews", str(reviews.absolute())]
        command += [
            "--model",
            str(model.absolute()),
            "--result",
            str(result),
            "--device",
            device,
            "--seconds",
            f"{left:.0f}",
            "--scale",
            str(scale),
        ]
        started = time.monotonic()
        try:
            done = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=max(1.0, left + _GRACE), check=False)
            ended = f"exit code {done.returncode}" if done.returncode else None
        except subprocess.TimeoutExpired:
            ended = f"ended after {time.monotonic() - started:.0f} s"
        results[name] = json.loads(result.read_text()) if result.exists() else {}
        result.unlink(missing_ok=True)
        results[name]["part"] = {"seconds": round(time.monotonic() - started, 1)} | ({"failed": ended} if ended else {})
        yield name


def failures(results: dict[str, Any]) -> Iterator[str]:
    """One phrase for each step that failed or does not agree."""
    for part, steps in results.items():
        for name, step in steps.items():
            if "failed" in step:
                yield f"{part}, {name}: {step['failed']}"
            elif step.get("agrees") is False:
                yield f"{name} differs from the oracle by too much"


def tables(results: dict[str, Any]) -> str:
    """What was found as Markdown."""
    engine, peers = results.get("engine", {}), results.get("peers", {})
    parts = [_card_line(engine.get("card", {})), _agreement(engine), _forms(engine.get("forms", {}).get("rows", []))]
    parts += [_one_worker(engine), _workers(results.get("workers", {}), engine), _peers(peers)]
    if engine.get("out of memory"):
        parts.append("out of memory: " + json.dumps(engine["out of memory"]))
    parts.append("\n".join(f"failed: {failure}" for failure in failures(results)))
    return "\n\n".join(part for part in parts if part)


def _card_line(card: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in card.items() if name != "seconds")


def _agreement(engine: dict[str, Any]) -> str:
    rows = [
        [
            step["engine"],
            f"{step['real_reviews']:,}",
            *(_exponent(step["largest_change"].get(name)) for name in step["largest_change"]),
            _exponent(step["change_99.9_percentile"]),
            _exponent(step["tolerance"]),
            str(step["labels_changed"]),
            str(step["scored_again_changed"]),
            _exponent(step["largest_change_by_neighbours"]),
        ]
        for name, step in engine.items()
        if name.startswith("oracle") and "engine" in step
    ]
    header = ["engine", "real reviews", "largest change", "golden model", "golden reviews", "99.9 %", "allowed"]
    header += ["labels changed", "changed when scored again", "by neighbours"]
    return markdown_table(header, rows) if rows else ""


def _forms(rows: Sequence[dict[str, Any]]) -> str:
    header = ["engine alone", "precision", "tokens a batch", "streams", "million tokens/s", "GPU memory, GB"]
    cells = [
        [
            row["form"],
            row["precision"],
            f"{row['batch_tokens']:,}",
            str(row["streams"]),
            row["failed"] if "failed" in row else f"{row['tokens_per_second'] / 1e6:.1f}",
            "" if "failed" in row else f"{row['gpu_memory_bytes'] / 1e9:.1f}",
        ]
        for row in rows
    ]
    return markdown_table(header, cells) if cells else ""


def _one_worker(engine: dict[str, Any]) -> str:
    header = ["one worker, text to probability", "reviews/s", "million tokens/s", "engine's share", "GPU memory, GB"]
    cells = [
        [
            f"{step['threads']} threads, {step['lanes']} lanes",
            f"{step['reviews_per_second']:,.0f}",
            f"{step['tokens_per_second'] / 1e6:.1f}",
            f"{step['engine_share']:.0%}",
            f"{step['gpu_memory_bytes'] / 1e9:.1f}",
        ]
        for name, step in engine.items()
        if name.startswith("worker") and "reviews_per_second" in step
    ]
    return markdown_table(header, cells) if cells else ""


def _workers(workers: dict[str, Any], engine: dict[str, Any]) -> str:
    """The engine's share is that of the speed that it has alone, in one process."""
    alone = max((step.get("engine_tokens_per_second", 0.0) for step in engine.values()), default=0.0)
    header = ["processes on the card", "reviews/s", "million tokens/s", "engine's share", "GPU memory in use, GB"]
    cells = [
        [
            f"{step['workers']}, {', '.join(step['engines'])}",
            f"{step['reviews_per_second']:,.0f}",
            f"{step['tokens_per_second'] / 1e6:.1f}",
            f"{step['tokens_per_second'] / alone:.0%}" if alone else "",
            f"{step['gpu_memory_in_use_bytes'] / 1e9:.1f}",
        ]
        for step in workers.values()
        if "reviews_per_second" in step
    ]
    return markdown_table(header, cells) if cells else ""


def _peers(peers: dict[str, Any]) -> str:
    cells = [
        [name, f"{step['reviews']:,}", f"{step['reviews_per_second']:,.0f}"]
        if "reviews" in step
        else [name, step.get("skipped") or step.get("failed", ""), ""]
        for name, step in peers.items()
        if name != "part"
    ]
    return markdown_table(["peer", "reviews", "reviews/s"], cells) if cells else ""


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _require_gpu() -> None:
    if find_spec("torch") is None:
        raise EnvironmentFault("the GPU benchmark needs PyTorch; pip install 'sentiment-warehouse[gpu]'")
    import torch

    if not torch.cuda.is_available():
        raise EnvironmentFault("there is no CUDA GPU that PyTorch can use; run `make bench` for the CPU")


if __name__ == "__main__":
    sys.exit(main())
