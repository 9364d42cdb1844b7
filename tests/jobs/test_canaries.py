"""Nothing that a run writes holds a review's text or a secret, whether it succeeds or fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.support.daemons import QUICK_JAVA

ROOT = Path(__file__).parents[2]
TEXT, SECRET = "canarytext", "canarysecret"
# In each Spark worker, what appends the scores fails and quotes what it was given.
INJECTION = """
import sys
if "pyspark.daemon" in sys.orig_argv or "pyspark.worker" in sys.orig_argv:
    import jobs.executor
    def append(batch, columns):
        raise ValueError(f"[{batch['text'][0].as_py().upper()}] cannot be used: {batch['text'][0]}")
    jobs.executor.append_columns = append
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Texts that all hold the canary; words outside the vocabulary, odd bytes and long ones among them."""
    texts = [f"A {TEXT} that works.", TEXT, f"{TEXT}{TEXT} " * 400, f"\udcff<b>{TEXT}</b>"]
    raw = pa.array([text.encode(errors="surrogateescape") for text in texts * 10], pa.binary())
    columns = {"review_id": range(40), "stars": [5] * 40, "text": raw.cast(pa.string(), safe=False)}
    folder = tmp_path / "input"
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "in.parquet")
    return folder


@pytest.fixture
def submit(table: Path, model_path: Path, tmp_path: Path) -> Any:
    """Run the job as a scheduler would, with Spark's event log on and a secret in its settings."""
    (tmp_path / "events").mkdir()

    def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [
                ROOT / "spark-submit.sh", "--master", "local[1]", "--driver-java-options", QUICK_JAVA,
                "--conf", "spark.eventLog.enabled=true", "--conf", "spark.eventLog.compress=false",
                "--conf", f"spark.eventLog.dir={(tmp_path / 'events').as_uri()}", "--conf", "spark.log.level=INFO",
                "--conf", f"spark.hadoop.fs.s3a.secret.key={SECRET}", "--conf", f"spark.my.password={SECRET}",
                "--conf", f"spark.hadoop.fs.azure.account.key.x={SECRET}",
                "--conf", f"spark.my.location=s3a://key:{SECRET}@bucket/x", "--conf", "spark.task.maxFailures=1",
                "score", "--input", table, "--output", tmp_path / "scores", "--model", model_path,
                "--run-date", "2026-11-23", "--keep-columns", "stars",
                "--status-file", tmp_path / "status.json", *options,
            ],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment},
        )  # fmt: skip
        (tmp_path / "stdout").write_text(done.stdout)
        (tmp_path / "stderr").write_text(done.stderr)
        return done

    return run


def places_of(folder: Path, table: Path, *canaries: str) -> Iterator[str]:
    """Every file below the folder that holds a canary, the input left out."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or table in path.parents:
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            columns = ds.dataset(path).to_table().combine_chunks().to_batches()
            content += "".join(str(batch.to_pydict()) for batch in columns).encode()
        for canary in canaries:
            if canary.encode() in content.lower():
                line = next(line for line in content.splitlines() if canary.encode() in line.lower())
                yield f"{path}: {line[:300]!r}"


def test_a_run_that_succeeds_writes_neither_texts_nor_secrets(submit: Any, table: Path, tmp_path: Path) -> None:
    done = submit()
    assert done.returncode == 0, done.stderr[-2000:]
    (events,) = (tmp_path / "events").glob("**/events_*")
    assert events.stat().st_size > 10_000
    assert "redacted" in events.read_text()  # it does hold these settings
    assert list(places_of(tmp_path, table, TEXT, SECRET)) == []


@pytest.mark.slow
def test_a_worker_that_fails_quotes_no_text(submit: Any, table: Path, tmp_path: Path) -> None:
    (tmp_path / "injection").mkdir()
    (tmp_path / "injection" / "sitecustomize.py").write_text(INJECTION)
    done = submit(PYTHONPATH=str(tmp_path / "injection"))
    assert (done.returncode, list((tmp_path / "scores").rglob("*.parquet"))) == (1, [])
    assert "internal error: ValueError in line" in done.stderr.splitlines()[-1]
    assert list(places_of(tmp_path, table, TEXT, SECRET)) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--input", f"nowhere://user:{SECRET}@host/x"],
        ["--input", f"s3a://key:{SECRET}@bucket/x"],
        ["--output", f"nowhere://user:{SECRET}@host/x"],
        ["--input", f"https://host/x?sig={SECRET}"],
    ],
)
def test_no_message_shows_the_password_of_a_location(
    sentiment: Any, spark: SparkSession, table: Path, model_path: Path, tmp_path: Path, options: list[str]
) -> None:
    given = ["--input", table, "--output", tmp_path / "scores", "--model", model_path]
    code, rows, sentence = sentiment("score", *given, "--status-file", tmp_path / "status", *options)
    assert code == 3, sentence
    assert SECRET not in f"{rows} {sentence} {(tmp_path / 'status').read_text()}"
    assert "***" in sentence


@pytest.mark.slow
def test_a_file_without_a_header_is_not_shown(submit: Any, table: Path, tmp_path: Path) -> None:
    """A review stands where the header is looked for."""
    (table / "in.parquet").unlink()
    (table / "a.csv").write_text("review_id,text\n1,good\n")
    (table / "b.csv").write_text(f"2,{TEXT} is here\n3,{TEXT} again\n")
    done = submit("--input-format", "csv", "--keep-columns", "")
    assert done.returncode == 3, done.stderr
    assert "b.csv: line 1 looks like" in done.stderr.splitlines()[-1]
    assert list(places_of(tmp_path, table, TEXT, SECRET)) == []


def test_sparks_plans_show_no_password_of_a_location(spark: SparkSession) -> None:
    location = F.lit(f"s3a://key:{SECRET}@bucket:80/x@y")
    plan = spark.range(1).select(location.alias("location"))._jdf.queryExecution().toString()
    assert "s3a://key:" in plan
    assert SECRET not in plan


def test_the_search_finds_a_text(table: Path, tmp_path: Path) -> None:
    texts = pq.read_table(table / "in.parquet")["text"].cast(pa.binary())
    assert pc.all(pc.match_substring(texts, TEXT)).as_py()
    pq.write_table(pa.table({"kept": texts}), tmp_path / "leak.parquet", compression="zstd")
    (tmp_path / "log").write_text(f"x\n{SECRET}\n")
    assert len(list(places_of(tmp_path, table, TEXT, SECRET))) == 2
