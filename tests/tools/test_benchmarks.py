"""The benchmarks' arithmetic by synthetic measurements, and each contestant on a handful of reviews."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.artifact import Model, save_model
from sentiment_core.errors import InputError, SentimentError
from tests.support.models import WORDS, tiny_model
from tests.support.reference import reference_probability
from tools.benchmarks import gpu, int8_forms, report, runs, scale, suite
from tools.benchmarks import limits as limits_module
from tools.benchmarks.cases import CASES, CONTESTANTS
from tools.benchmarks.event_log import read_event_log
from tools.benchmarks.figures import Spread, markdown_table, paired_ratio, price_per_million
from tools.benchmarks.limits import measure_limits, operations_per_token
from tools.benchmarks.reviews import labelled_reviews, prepare_reviews, training_reviews, write_reviews
from tools.benchmarks.runs import Runs
from tools.benchmarks.scale_model import ScaleModel

ROOT = Path(__file__).parents[2]
REVIEWS = 40
# Without Spark, which costs ten seconds a start; one case with it follows.
BARE = [name for name, case in CASES.items() if not case.spark and name != "matrix limits"]
SPARK = ["score job, onnx int8", "predict_batch_udf, PyTorch LSTM", "pandas UDF, TF-IDF of word pairs"]
SLOW = {*SPARK, *(name for name in BARE if name.startswith("mxnet"))}
# Largest change of a probability from the oracle, for those with the same weights and, on these texts, the same tokens.
CHANGES = {name: 0.05 if name.endswith("int8") else 1e-4 for name, case in CONTESTANTS.items() if case.same_weights}


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words that every tokeniser cuts alike."""
    rng = np.random.default_rng(5)
    plain = [word for word in WORDS if word.isalpha() and word.isascii()]
    texts = [" ".join(rng.choice(plain, rng.integers(1, 60))) for _ in range(REVIEWS)]
    columns = {"text": texts, "positive": rng.random(REVIEWS) < 0.5, "held_out": np.arange(REVIEWS) % 2 == 0}
    table = pa.table({"review_id": np.arange(REVIEWS)} | columns)
    path = tmp_path_factory.mktemp("benchmark") / "reviews.parquet"
    write_reviews(table, path, n_reviews=REVIEWS)
    return path


@pytest.fixture(scope="session")
def measurements(model: Model, reviews: Path) -> Runs:
    save_model(model, reviews.parent / "model")
    linear = reviews.parent / "linear"
    if find_spec("sklearn"):
        from tools.benchmarks.peer_linear import fit_linear

        fit_linear(pq.read_table(reviews), linear)
    return Runs(directory=reviews.parent / "runs", model=reviews.parent / "model", linear=linear)


@given(st.lists(st.floats(0.1, 1e6), min_size=1))
def test_a_median_lies_in_its_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert {spread.low, spread.high} <= set(values)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1), st.floats(0.5, 2))
def test_what_slows_a_whole_round_is_not_in_a_paired_ratio(rounds: list[tuple[float, float]], ratio: float) -> None:
    reference = [speed * slowdown for speed, slowdown in rounds]
    found = paired_ratio([ratio * speed for speed in reference], reference)
    assert (found.low, found.high) == (pytest.approx(ratio), pytest.approx(ratio))


def test_a_table_says_medians_with_their_spread() -> None:
    cells = [f"{Spread.of([3, 1, 2]):.1f}", f"{Spread.of([5]):,.0f}"]
    assert markdown_table(["a", "b"], [cells]) == "| a | b |\n| --- | --- |\n| 2.0 (1.0 to 3.0) | 5 |"


def test_a_million_reviews_at_a_thousand_a_second_take_1000_seconds() -> None:
    assert price_per_million(1_000, hourly_price=3.6) == pytest.approx(1.0)


def test_operations_are_those_of_the_lstm_s_weights(model: Model) -> None:
    weights = sum(model.weights[name].size for name in model.weights if name.endswith(("i2h_weight", "h2h_weight")))
    assert operations_per_token(model.architecture.layer_sizes) == 2 * weights


def test_limits_are_measured_in_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "SHAPES", {"small": (8, 16, 8), "smaller": (4, 8, 4)})
    limits = measure_limits(1, seconds=0.001)
    best = limits["giga_operations_per_second"]
    assert {name: max(found.values()) for name, found in limits["products"].items()} == best
    assert min(best.values()) > 0


def test_reviews_repeat_without_a_text_twice(tmp_path: Path) -> None:
    table = labelled_reviews(None, 30)
    write_reviews(table, tmp_path / "reviews.parquet", n_reviews=75)
    written = pq.read_table(tmp_path / "reviews.parquet")
    assert len(set(written["text"].to_pylist())) == len(set(written["review_id"].to_pylist())) == len(written) == 75
    assert written["positive"].to_pylist()[30:60] == table["positive"].to_pylist()


def test_real_reviews_are_the_held_out_ones_first(tmp_path: Path) -> None:
    films = pa.array([f"film {index % 20}" for index in range(200)])
    stars = pa.array([1 + index % 10 for index in range(200)], pa.int8())
    texts = pa.array([f"text {index}" for index in range(200)])
    pq.write_table(pa.table({"product_id": films, "stars": stars, "text": texts}), tmp_path / "imdb_train.parquet")
    pq.write_table(pa.table({"text": ["one", "two", "three"]}), tmp_path / "imdb_unsup.parquet")
    everything = labelled_reviews(tmp_path, 300).to_pandas()
    held_out = everything["held_out"] == True  # noqa: E712, unlabelled reviews have a null
    assert (len(everything), everything["positive"].isna().sum()) == (203, 3)
    assert 0 < held_out.sum() < 200
    assert labelled_reviews(tmp_path, 10)["held_out"].to_pylist() == [True] * 10
    # What the linear peer learns is what accuracy is not measured on.
    assert set(training_reviews(tmp_path)["text"].to_pylist()) == {
        text for text, out in zip(everything["text"], held_out) if not out and text.startswith("text")
    }


def test_a_directory_without_the_reviews_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no imdb_train"):
        labelled_reviews(tmp_path, 10)


def test_the_event_log_is_summed_up_by_stage(tmp_path: Path) -> None:
    def task(stage: int, start: int, end: int, *, shuffle: int, output: int) -> str:
        metrics = {
            "Shuffle Write Metrics": {"Shuffle Bytes Written": shuffle},
            "Output Metrics": {"Bytes Written": output},
        }
        info = {"Launch Time": start, "Finish Time": end}
        event = {"Event": "SparkListenerTaskEnd", "Stage ID": stage, "Task Info": info, "Task Metrics": metrics}
        return json.dumps(event)

    lines = [
        '{"Event": "SparkListenerApplicationStart"}',
        task(1, 2000, 5000, shuffle=0, output=7),
        task(0, 0, 1000, shuffle=10, output=0),
        task(1, 2000, 3000, shuffle=5, output=1),
    ]
    (tmp_path / "local-1").write_text("\n".join(lines))
    events = read_event_log(tmp_path)
    assert events["shuffle_bytes"] == 15
    first, second = events["stages"]
    assert first == {
        "tasks": 1,
        "task_seconds": 1.0,
        "longest_task_seconds": 1.0,
        "seconds": 1.0,
        "shuffle_bytes": 10,
        "output_bytes": 0,
    }
    assert (second["tasks"], second["task_seconds"], second["seconds"], second["output_bytes"]) == (2, 4.0, 3.0, 8)


TRUE = ScaleModel(
    start_seconds=4.0,
    job_seconds=6.0,
    core_seconds_a_row=2e-4,
    reviews_per_second_a_core=20_000.0,
    core_seconds_a_group=0.02,
    driver_seconds_a_group=0.003,
    shuffle_bytes_a_row=900.0,
    output_bytes_a_row=20.0,
    driver_bytes=8e7,
    driver_bytes_a_group=5_000.0,
    worker_bytes=3e8,
)


class MeasuredByModel:
    """Runs of a machine that is just as the model says."""

    def measure(
        self, name: str, reviews: Path, *, cores: int, attempt: int = 0, groups: int | None = None
    ) -> dict[str, Any]:
        rows = pq.read_metadata(reviews).num_rows
        if not name.startswith("score job"):
            return {"seconds": rows / TRUE.reviews_per_second_a_core / cores}
        run = TRUE.predict(rows, executors=1, executor_cores=cores, groups=groups)
        scoring = rows * 1e-4 + run.groups * TRUE.core_seconds_a_group
        return {
            "seconds": run.seconds - TRUE.start_seconds,
            "start_seconds": TRUE.start_seconds,
            "groups": run.groups,
            "driver_heap_bytes": run.driver_bytes,
            "output_bytes": run.output_bytes,
            "peak_memory_bytes": TRUE.worker_bytes,
            "events": {
                "shuffle_bytes": run.shuffle_bytes,
                "stages": [
                    {"output_bytes": 0, "task_seconds": 99.0},
                    {"output_bytes": run.output_bytes, "task_seconds": scoring},
                ],
            },
        }


def test_calibration_finds_the_constants_again(tmp_path: Path) -> None:
    options = argparse.Namespace(quick=True, data=None, directory=tmp_path, cores=2, rounds=2)
    found = scale.calibrate(MeasuredByModel(), options)  # type: ignore[arg-type]
    for name, value in vars(TRUE).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name
    checks = scale.check(found, MeasuredByModel(), options)  # type: ignore[arg-type]
    assert [row["error"] for row in checks] == pytest.approx([0.0] * len(checks), abs=1e-9)


def test_scaling_sets_the_job_beside_the_bare_scorer(tmp_path: Path) -> None:
    options = argparse.Namespace(quick=True, data=None, directory=tmp_path, cores=2, rounds=2, hourly_price=1.0)
    rows = suite.scale_up(MeasuredByModel(), options)  # type: ignore[arg-type]
    assert [(row["rows"], row["cores"]) for row in rows] == [(100, 1), (100, 2), (300, 1), (300, 2)]
    for row in rows:
        bare, job = row["bare_seconds"]["median"], row["job_seconds"]["median"]
        assert row["job_share_of_bare"]["median"] == pytest.approx(bare / job) and bare < job
        # One of two cores costs half of the machine's hour.
        assert row["price_per_million"] == pytest.approx(row["cores"] / 2 * job / row["rows"] * 1e6 / 3600)
    assert len(report.scaling_table(rows).splitlines()) == 2 + len(rows)
    pytest.importorskip("matplotlib")
    report.plot({"machine": {"cores": 2}, "scaling": rows}, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


@given(st.integers(10**6, 10**10), st.integers(1, 200))
def test_in_the_same_groups_more_executors_take_less_time_and_more_rows_more(rows: int, executors: int) -> None:
    cluster = {"executor_cores": 4, "hourly_price": 1.0, "groups": 1_000}
    alone = TRUE.predict(rows, executors=executors, **cluster)
    doubled = TRUE.predict(rows, executors=2 * executors, **cluster)
    longer = TRUE.predict(2 * rows, executors=executors, **cluster)
    assert doubled.seconds < alone.seconds < longer.seconds
    assert longer.shuffle_bytes == 2 * alone.shuffle_bytes
    assert alone.price == pytest.approx(executors * alone.seconds / 3600)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in [*BARE, *SPARK]]
)
def test_a_case_runs_and_agrees_with_the_oracle(name: str, measurements: Runs, model: Model, reviews: Path) -> None:
    if CASES[name].missing:
        pytest.skip(f"needs {', '.join(CASES[name].missing)}")
    result = measurements.measure(name, reviews, cores=1)
    assert result is not None
    assert result["seconds"] > 0
    probabilities = measurements.probabilities(name, reviews, cores=1)
    assert (probabilities is not None) == (name in CONTESTANTS)
    if probabilities is None:
        return
    assert result["peak_memory_bytes"] > 1e7
    table = pq.read_table(reviews).to_pandas()
    right = (probabilities >= 0.5) == table["positive"]
    assert result["accuracy_labelled"] == pytest.approx(right.mean())
    assert result["accuracy"] == pytest.approx(right[table["held_out"]].mean())
    if name in CHANGES:
        exact = reference_probability(model, table["text"].tolist())
        np.testing.assert_allclose(probabilities, exact, atol=CHANGES[name])
    else:
        assert ((probabilities > 0) & (probabilities < 1)).all()


def test_what_was_measured_is_not_run_again(measurements: Runs, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measurements.measure("text pipeline", reviews, cores=1)
    monkeypatch.setattr(runs.subprocess, "run", lambda *_, **__: pytest.fail("was run again"))
    assert measurements.measure("text pipeline", reviews, cores=1) == first


def test_a_case_that_fails_says_so_and_leaves_nothing(measurements: Runs, tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    empty.touch()
    before = set(measurements.directory.glob("*"))
    with pytest.raises(SentimentError, match=r"text pipeline failed: .*run it alone"):
        measurements.measure("text pipeline", empty, cores=1)
    assert set(measurements.directory.glob("*")) == before


@pytest.mark.slow
def test_the_forms_of_the_job_are_measured(measurements: Runs, tmp_path: Path) -> None:
    prepare_reviews(tmp_path, data=None, n_reviews=REVIEWS)
    command = [
        sys.executable,
        "-m",
        "tools.benchmarks.spark_forms",
        "--quick",
        "--reviews",
        str(REVIEWS),
        "--cores",
        "1",
    ]
    command += ["--groups", "2", "--model", str(measurements.model), "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    results = json.loads((tmp_path / "spark_forms.json").read_text())
    assert set(results["against_grouped"]) < set(results["seconds"])
    assert results["groups"] == 2
    assert 1 <= results["largest_group_over_mean"] <= 2
    assert 0 < results["scoring_share"]["median"] < 1


def test_forms_of_the_int8_engine_are_measured_beside_it(
    model: Model, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(model, tmp_path / "model")
    assert int8_forms.main([str(reviews), "--model", str(tmp_path / "model"), "--reviews", "40", "--rounds", "1"]) == 0
    rows = {row[1].strip(): row for row in (line.split("|") for line in capsys.readouterr().out.splitlines())}
    assert rows["as it is"][2].strip() == "1.00"
    assert float(rows["as it is"][4].split(",")[0]) == 0
    assert float(rows["batches of 1,024 tokens"][4].split(",")[0]) == 0
    assert 0 < float(rows["float32"][4].split(",")[0]) < CHANGES["onnx int8"]


def test_without_a_gpu_its_benchmark_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    assert gpu.main([]) == 6
    assert capfd.readouterr().err.splitlines()[-1].startswith("benchmark: failed: the")


def test_the_gpu_benchmark_measures_asks_the_oracle_and_goes_on_after_a_failure(
    model: Model, reviews: Path, tmp_path: Path
) -> None:
    """On the CPU, with a few reviews; the transformer is not there."""
    pytest.importorskip("torch", reason="needs torch")
    texts = pq.read_table(reviews)["text"]
    table = pa.table({"text": texts, "oracle": reference_probability(model, texts.to_pylist())})
    pq.write_table(table.replace_schema_metadata({"model_sha256": model.sha256}), tmp_path / "texts.parquet")
    save_model(model, tmp_path / "model")
    options = {"model": tmp_path / "model", "seconds": 500, "device": "cpu", "scale": 0.002}
    results: dict[str, Any] = {}
    parts = list(gpu.measured(results, tmp_path / "texts.parquet", tmp_path, **options))
    assert parts == list(results) == ["engine", "workers", "peers"]
    assert list(gpu.failures(results)) == []
    oracle = results["engine"]["oracle, float32"]
    assert oracle["agrees"] and oracle["largest_change"]["real"] < 1e-5
    assert results["engine"]["out of memory"]["failures"] == {}
    assert results["engine"]["worker, 1 threads"]["reviews_per_second"] > 0
    assert results["workers"]["2 workers"]["reviews"] == 2 * results["workers"]["1 workers"]["reviews"] > 0
    text = gpu.tables(results)
    for table_of in ("engine alone", "one worker", "processes on the card", "peer"):
        assert f"| {table_of}" in text


def test_what_fails_on_the_gpu_is_named() -> None:
    results = {
        "engine": {"oracle, float16": {"agrees": False}, "forms": {"failed": "RuntimeError: no"}},
        "peers": {"part": {"failed": "ended after 60 s"}},
    }
    assert list(gpu.failures(results)) == [
        "oracle, float16 differs from the oracle by too much",
        "engine, forms: RuntimeError: no",
        "peers, part: ended after 60 s",
    ]
