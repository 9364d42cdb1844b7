"""The metrics as the official parser reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from jobs.scoring.metrics import to_prometheus


def report_of(histogram: list[int], *, version: str = "0.1.0", failed: int = 0) -> dict[str, Any]:
    scored = sum(histogram)
    return {
        "run_id": "2026-11-23-0123456789ab",
        "run_date": "2026-11-23",
        "written_at": "2026-11-23T03:10:00+00:00",
        "model": {"sha256": "ab" * 32},
        "versions": {"sentiment-warehouse": version},
        "engines": ["onnx int8"],
        "devices": ["cpu"],
        "counts": {
            "ok": scored,
            "truncated": 0,
            "unfamiliar": 3,
            "empty": 2,
            "failed": failed,
            "tokens": 9,
            "probability_sum": 0.5 * scored,
        },
        "rates": {"positive": 0.25, "failed": 0.0},
        "seconds": {"score": 12.5, "audit": 0.25},
        "throughput": {"reviews_per_second": 100.5, "tokens_per_second": 1e6},
        "cost_inputs": {"cores": 2, "core_seconds": 25.5, "gpus": 0, "gpu_seconds": 0.0},
        "output": {"bytes": 4096},
        "score_histogram": histogram,
    }


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    samples = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(samples) == len(found)
    return samples


def test_the_metrics_are_those_of_the_report() -> None:
    samples = samples_of(to_prometheus(report_of([1] * 15, failed=1)))
    assert samples["sentiment_run_rows", (("status", "failed"),)] == 1
    assert samples["sentiment_run_rows", (("status", "ok"),)] == 15
    assert samples["sentiment_run_ratio", (("of", "positive"),)] == 0.25
    assert samples["sentiment_run_stage_seconds", (("stage", "score"),)] == 12.5
    assert samples["sentiment_run_core_seconds", ()] == 25.5
    assert samples["sentiment_run_reviews_per_second", ()] == 100.5
    assert samples["sentiment_run_written_timestamp_seconds", ()] == 1795403400
    (identity,) = [dict(labels) for name, labels in samples if name == "sentiment_run_info"]
    assert identity["run_id"] == "2026-11-23-0123456789ab"
    assert not any("run_id" in dict(labels) for name, labels in samples if name != "sentiment_run_info")


@given(histogram=st.lists(st.integers(0, 10**12), min_size=15, max_size=15))
def test_the_histogram_comes_back_from_its_buckets(histogram: list[int]) -> None:
    families = {family.name: family for family in text_string_to_metric_families(to_prometheus(report_of(histogram)))}
    family = families["sentiment_run_probability"]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    ends = sorted(buckets, key=float)
    assert np.diff([0, *(buckets[end] for end in ends[:-1])]).tolist() == histogram
    assert buckets["+Inf"] == buckets[ends[-2]] == sum(histogram)
    assert np.allclose([float(end) for end in ends[:-1]], np.arange(1, 16) / 15, atol=1e-6)
    assert family.type == "histogram"
    assert {sample.value for sample in family.samples if sample.name.endswith("_count")} == {sum(histogram)}


@given(version=st.text())
def test_any_label_comes_back_as_it_was(version: str) -> None:
    samples = samples_of(to_prometheus(report_of([0] * 15, version=version)))
    (identity,) = [dict(labels) for name, labels in samples if name == "sentiment_run_info"]
    assert identity["version"] == version


def test_what_is_no_number_is_valid_too() -> None:
    report = report_of([0] * 15)
    report["rates"]["positive"] = float("nan")
    assert samples_of(to_prometheus(report))["sentiment_run_ratio", (("of", "positive"),)] != pytest.approx(0)
