"""The submit script against a real standalone cluster: a master and a worker process, with announced GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import load_model
from tests.support.daemons import QUICK_JAVA, daemon, executors_logs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpu_discovery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("gpus") / "gpus.sh"
    script.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["0", "1"]}\'\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the executors write their logs."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def master(work: Path, gpu_discovery: Path) -> Iterator[str]:
    """URL of a cluster of one worker with two cores and two announced GPUs."""
    with ExitStack() as stack:
        port = stack.enter_context(
            daemon(
                "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
                until=r"Starting Spark master at (spark://\S+)",
            )
        )  # fmt: skip
        stack.enter_context(
            daemon(
                "worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "-c", "2", "-m", "3g",
                "-d", str(work), port,
                until=r"(Successfully registered with master)",
                environment={
                    **os.environ,
                    "SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.amount=2 "
                    f"-Dspark.worker.resource.gpu.discoveryScript={gpu_discovery}",
                },
            )
        )  # fmt: skip
        yield port


Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def submit(master: str, gpu_discovery: Path, model_path: Path, tmp_path: Path) -> Submit:
    """Score ``in.parquet`` into ``scores`` on the cluster."""

    def submit(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                ROOT / "spark-submit.sh", "--master", master, "--executor-memory", "1g",
                "--driver-java-options", QUICK_JAVA, "--conf", f"spark.executor.extraJavaOptions={QUICK_JAVA}",
                "--conf", "spark.task.maxFailures=1", "score",
                "--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path,
                "--run-date", "2026-11-23", *options,
            ],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYSPARK_DRIVER_PYTHON": sys.executable,
                "SENTIMENT_ENVIRONMENT": "",  # the worker runs on this machine
                "SENTIMENT_GPUS": "2",
                "SENTIMENT_GPU_DISCOVERY": str(gpu_discovery),
            },
        )  # fmt: skip

    return submit


def test_a_standalone_cluster_scores_and_each_task_reports_its_own_gpu(
    master: str, submit: Submit, model_path: Path, work: Path, tmp_path: Path
) -> None:
    reviews = generate_reviews(200)
    pq.write_table(reviews, tmp_path / "in.parquet")
    done = submit("--groups", "2")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["spark"]["master"] == master
    assert sorted(tuple(worker["gpu_addresses"]) for worker in report["workers"].values()) == [("0",), ("1",)]
    table = ds.dataset(tmp_path / "scores", partitioning="hive").to_table()
    assert sorted(table["review_id"].to_pylist()) == sorted(reviews["review_id"].to_pylist())
    assert set(table["model_sha256"].to_pylist()) == {load_model(model_path).sha256}
    # By the job's log settings: neither files' names nor else what nobody needs.
    assert " INFO " not in executors_logs(work)


@pytest.mark.slow
def test_an_announced_gpu_that_no_engine_finds_ends_the_run_and_leaves_the_output(
    submit: Submit, sentiment: Any, spark: SparkSession, model_path: Path, tmp_path: Path
) -> None:
    pq.write_table(generate_reviews(200), tmp_path / "in.parquet")
    given = ("--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path)
    assert sentiment("score", *given, "--run-date", "2026-11-23")[0] == 0
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("scores/**/*.parquet"))}
    assert before
    refused = submit("--device", "gpu", "--run-date", "2026-11-24")
    assert refused.returncode == 6
    assert "cannot use GPU" in refused.stderr.splitlines()[-1]
    assert {path: path.read_bytes() for path in sorted(tmp_path.glob("scores/**/*.parquet"))} == before
