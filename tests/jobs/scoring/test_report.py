"""What a run says of itself, held against the table that it published."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyspark.sql import SparkSession

from jobs.scoring.report import cost_inputs
from sentiment_core.scoring.status import STATUSES

ROOT = Path(__file__).parents[3]


@pytest.fixture
def published(
    sentiment: Any, spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path: Path
) -> tuple[dict[str, Any], Path]:
    """The report on standard output, and the table."""
    pq.write_table(reviews, tmp_path / "in.parquet")
    options = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path]
    code, rows, sentence = sentiment("score", *options, "--run-date", "2026-11-23")
    assert code == 0, sentence
    return rows[0], tmp_path / "scores"


def test_the_reports_figures_are_those_of_the_table(published: tuple[dict[str, Any], Path], reviews: pa.Table) -> None:
    report, scores = published
    table = ds.dataset(scores, partitioning="hive").to_table().to_pandas()
    probability = table["positive_probability"].dropna()
    assert report["score_histogram"] == np.histogram(probability, bins=15, range=(0, 1))[0].tolist()
    assert report["counts"]["probability_sum"] == pytest.approx(probability.sum())
    shares = table["score_status"].value_counts(normalize=True)
    uncut = table[table["score_status"] == "ok"]
    assert report["rates"] == pytest.approx(
        {
            "positive": (table["sentiment"] == "positive").sum() / len(probability),
            "unknown_words": uncut["n_unknown"].sum() / uncut["n_tokens"].sum(),
            "failed": 0,
            "unfamiliar": 0,
            **{name: shares[name] for name in ("truncated", "empty")},
        }
    )
    assert 0 < report["rates"]["unknown_words"] < 1
    cost = report["cost_inputs"]
    before_publish = sum(seconds for stage, seconds in report["seconds"].items() if stage != "publish")
    assert cost["core_seconds"] == pytest.approx(cost["cores"] * before_publish, abs=0.1)


def test_the_metrics_beside_the_report_say_the_same(published: tuple[dict[str, Any], Path]) -> None:
    report, scores = published
    assert {path.name for path in (scores / "_runs").iterdir()} == {
        f"{report['run_id']}.{kind}" for kind in ("json", "prom")
    }
    text = (scores / "_runs" / f"{report['run_id']}.prom").read_text()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for status in STATUSES:
        assert samples["sentiment_run_rows", status] == report["counts"][status]
    assert samples["sentiment_run_probability_count",] == sum(report["score_histogram"])
    assert samples["sentiment_run_ratio", "unknown_words"] == report["rates"]["unknown_words"]
    assert samples["sentiment_run_stage_seconds", "score"] == report["seconds"]["score"]


def test_a_gpu_counts_once_however_many_workers_share_it() -> None:
    def worker(*addresses: str) -> dict[str, Any]:
        return {"gpu_addresses": list(addresses), "peak_memory_bytes": 100 + len(addresses)}

    workers = {"a/1": worker("0"), "a/2": worker("0", "1"), "b/1": worker("0"), "c/1": worker()}
    found = cost_inputs(workers, {"score": 10.0, "audit": 2.0}, cores=8)
    assert found == {
        "cores": 8, "core_seconds": 96.0, "gpus": 3, "gpu_seconds": 30.0, "largest_worker_bytes": 102,
    }  # fmt: skip


@pytest.mark.slow
def test_a_schedulers_log_is_objects_that_end_with_a_plain_verdict(
    reviews: pa.Table, model_path: Path, tmp_path: Path
) -> None:
    """Spark's own lines too; only what Java says before it reads its settings is no object."""
    pq.write_table(reviews, tmp_path / "in.parquet")
    done = subprocess.run(
        [
            ROOT / "spark-submit.sh", "--master", "local[1]", "--conf", "spark.log.level=INFO", "score",
            "--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path,
            "--run-date", "2026-11-23",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, verdict = done.stderr.splitlines()
    report = json.loads(done.stdout)
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == [
        "WARNING: Using incubator modules: jdk.incubator.vector"
    ]
    assert all({"time", "level", "run_id", "stage", "message"} <= line.keys() for line in found)
    spark = [line for line in found if line["stage"] == "spark"]
    ours = [line for line in found if line["stage"] != "spark"]
    assert verdict == f"sentiment score: done: {ours[-1]['message']}"
    assert len(spark) > 100
    assert any(line["run_id"] == report["run_id"] for line in spark)
    stages = [line["stage"] for line in found if "seconds" in line]
    assert stages == list(report["seconds"])
    assert {line["run_id"] for line in found if line["stage"] in ("score", "audit", "publish")} == {report["run_id"]}
