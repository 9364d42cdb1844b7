"""The run report as metrics in Prometheus' text format, for a node exporter's textfile collector or a push gateway."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from sentiment_core.scoring.status import STATUSES

__all__ = ["to_prometheus"]

_GAUGES: tuple[tuple[str, str, str, str], ...] = (
    ("cores", "cost_inputs", "cores", "Cores that Spark had."),
    ("gpus", "cost_inputs", "gpus", "GPUs that scored."),
    ("core_seconds", "cost_inputs", "core_seconds", "Seconds of the run times its cores."),
    ("gpu_seconds", "cost_inputs", "gpu_seconds", "Seconds of scoring times its GPUs."),
    ("reviews_per_second", "throughput", "reviews_per_second", "Rows a second while scoring."),
    ("tokens_per_second", "throughput", "tokens_per_second", "Tokens a second while scoring."),
    ("tokens", "counts", "tokens", "Tokens of all texts, before clipping."),
    ("output_bytes", "output", "bytes", "Size of the partitions that were published."),
)


def to_prometheus(report: Mapping[str, Any]) -> str:
    """Metrics of a run that was published.

    Only ``sentiment_run_info`` names the run, so that the series of all others go on from night to night.

    Parameters
    ----------
    report : mapping
        The run report, complete.
    """
    lines = [
        *_metric("info", "What the run was; always 1.", [(_identity(report), 1)]),
        *_metric(
            "written_timestamp_seconds",
            "When the report was written.",
            [({}, datetime.fromisoformat(report["written_at"]).timestamp())],
        ),
        *_metric("rows", "Rows by score_status.", [({"status": name}, report["counts"][name]) for name in STATUSES]),
        *_metric(
            "ratio",
            "Shares: of rows; positive of those ok or truncated; unknown_words of the tokens of those ok.",
            [({"of": name}, value) for name, value in sorted(report["rates"].items())],
        ),
        *_metric(
            "stage_seconds",
            "Seconds of each stage.",
            [({"stage": name}, value) for name, value in report["seconds"].items()],
        ),
    ]
    for name, part, key, text in _GAUGES:
        lines += _metric(name, text, [({}, report[part][key])])
    lines += _histogram(report["score_histogram"], total=report["counts"]["probability_sum"])
    return "".join(f"{line}\n" for line in lines)


def _identity(report: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run_id": report["run_id"],
        "run_date": report["run_date"],
        "model_sha256": report["model"]["sha256"],
        "engine": ",".join(report["engines"]),
        "device": ",".join(report["devices"]),
        "version": report["versions"]["sentiment-warehouse"] or "",
    }


def _metric(name: str, text: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield from _head(name, text, kind="gauge")
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(counts: Sequence[int], *, total: float) -> Iterator[str]:
    """Steps of equal width; Prometheus counts upwards, and its last bucket has no end."""
    name = "probability"
    yield from _head(name, "positive_probability of the rows that have one.", kind="histogram")
    for index, count in enumerate(accumulate(counts), start=1):
        yield _sample(f"{name}_bucket", {"le": f"{index / len(counts):.6g}"}, count)
    yield _sample(f"{name}_bucket", {"le": "+Inf"}, sum(counts))
    yield _sample(f"{name}_sum", {}, total)
    yield _sample(f"{name}_count", {}, sum(counts))


def _head(name: str, text: str, *, kind: str) -> Iterator[str]:
    yield f"# HELP sentiment_run_{name} {text}"
    yield f"# TYPE sentiment_run_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = repr(value) if math.isfinite(value) else "NaN"
    return f"sentiment_run_{name}{{{shown}}} {number}" if shown else f"sentiment_run_{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
