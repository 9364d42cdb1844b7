"""The run report as metrics in Prometheus' text format, for a node exporter's textfile collector or a push gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentiment_core.scoring.status import STATUSES

__all__ = ["to_prometheus"]

_PREFIX = "sentiment_run"
_PLAIN: tuple[tuple[str, str, str, str], ...] = (
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
    registry = CollectorRegistry()
    registry.register(_Metrics(report))
    return generate_latest(registry).decode()


class _Metrics(Collector):
    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        report = self._report
        identity = _identity(report)
        info = GaugeMetricFamily(f"{_PREFIX}_info", "What the run was; always 1.", labels=[*identity])
        info.add_metric([*identity.values()], 1)
        yield info
        written = datetime.fromisoformat(report["written_at"]).timestamp()
        yield GaugeMetricFamily(f"{_PREFIX}_written_timestamp_seconds", "When the report was written.", value=written)
        counts = {name: report["counts"][name] for name in STATUSES}
        yield _by_label("rows", "Rows by score_status.", "status", counts)
        shares = "Shares: of rows; positive of those ok or truncated; unknown_words of the tokens of those ok."
        yield _by_label("ratio", shares, "of", report["rates"])
        yield _by_label("stage_seconds", "Seconds of each stage.", "stage", report["seconds"])
        for name, part, key, text in _PLAIN:
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=report[part][key])
        yield _histogram(report["score_histogram"], total=report["counts"]["probability_sum"])


def _identity(report: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run_id": report["run_id"],
        "run_date": report["run_date"],
        "model_sha256": report["model"]["sha256"],
        "engine": ",".join(report["engines"]),
        "device": ",".join(report["devices"]),
        "version": report["versions"]["sentiment-warehouse"] or "",
    }


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histogram(counts: Sequence[int], *, total: float) -> Metric:
    """Steps of equal width. A bucket counts all that is at or below its end; the last one has no end."""
    ends = [f"{index / len(counts):.6g}" for index in range(1, len(counts) + 1)]
    buckets = [*zip(ends, accumulate(counts)), ("+Inf", sum(counts))]
    text = "positive_probability of the rows that have one."
    return HistogramMetricFamily(f"{_PREFIX}_probability", text, buckets=buckets, sum_value=total)
