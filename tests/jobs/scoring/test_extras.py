"""`score --drivers` and `score --model NAME=DIR`: what they add, and that they change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.scoring import run as scoring_run
from jobs.scoring.audit import is_sound
from jobs.tables.extras import DRIVERS, ExtraColumns
from sentiment_core.artifact import Decision, Model, save_model
from sentiment_core.engines.onnx import OnnxEngine
from sentiment_core.scoring.scorer import Scorer

Score = Callable[..., tuple[int, dict[str, Any], str]]
NAMED = ("positive_probability", "positive_probability_a", "positive_probability_b")
CONTRACT = ["review_id", "positive_probability", "sentiment", "score_status", "n_tokens", "n_unknown", "model_sha256"]


@pytest.fixture(scope="module")
def challenger(model: Model) -> Model:
    """The same vocabulary, other weights and cut-offs."""
    weights = {
        name: np.negative(tensor) if name == "output.weight" else tensor for name, tensor in model.weights.items()
    }
    return replace(model, weights=weights, decision=Decision(negative_below=0.3, positive_from=0.7))


@pytest.fixture(scope="module")
def challenger_path(challenger: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "challenger"
    save_model(challenger, path)
    return path


@pytest.fixture
def score(spark: SparkSession, sentiment: Any, reviews: pa.Table, tmp_path: Path) -> Score:
    """Score 120 reviews into a folder below ``tmp_path``: exit code, report, sentence."""
    pq.write_table(reviews.slice(0, 120), tmp_path / "reviews.parquet")

    def run(output: str, *options: object) -> tuple[int, dict[str, Any], str]:
        given = ["--input", tmp_path / "reviews.parquet", "--output", tmp_path / output, "--run-date", "2026-11-23"]
        code, results, sentence = sentiment("score", *given, *options)
        return code, results[0] if results else {}, sentence

    return run


def scores_of(folder: Path) -> pa.Table:
    return ds.dataset(folder, partitioning="hive").to_table().sort_by("review_id")


@pytest.mark.slow
def test_drivers_are_those_of_the_scorer_and_nothing_else_changes(
    score: Score, model: Model, model_path: Path, reviews: pa.Table, tmp_path: Path, spark: SparkSession
) -> None:
    assert score("plain", "--model", model_path)[0] == 0
    code, report, sentence = score("driven", "--model", model_path, "--drivers", 3)
    assert code == 0, sentence
    plain, driven = scores_of(tmp_path / "plain"), scores_of(tmp_path / "driven")
    assert driven.select(CONTRACT).equals(plain.select(CONTRACT))
    assert driven["drivers"].is_null().equals(driven["positive_probability"].is_null())
    expected = Scorer(model, threads=1).score_texts(reviews.slice(0, 120).sort_by("review_id")["text"], drivers=3)
    assert expected.drivers is not None
    assert driven["drivers"].to_pylist() == expected.drivers.to_pylist()
    assert any(len(drivers or ()) == 6 for drivers in driven["drivers"].to_pylist())
    schema = spark.read.parquet(str(tmp_path / "driven")).schema
    assert schema["drivers"].dataType == DRIVERS.dataType
    assert report["settings"]["drivers"] == 3
    runs = {score(str(k), "--model", model_path, "--drivers", k, "--dry-run")[1]["run_id"] for k in (0, 3, 4)}
    assert len(runs) == 3
    assert plain["run_id"][0].as_py() in runs


GOOD = [{"kind": "word", "term": "great", "contribution": 0.5}]
ROWS = {
    "ok": {},
    "unfamiliar": {"score_status": "unfamiliar"},
    "no driver": {"drivers": []},
    "failed by b": {"positive_probability_b": None},
    "failed by a": {"score_status": "failed", "sentiment": None, **dict.fromkeys(NAMED[:2]), "drivers": None},
    "empty": {"score_status": "empty", "sentiment": None, **dict.fromkeys(NAMED), "drivers": None},
}
DAMAGED = {
    "drivers missing": {"drivers": None},
    "drivers without a probability": ROWS["empty"] | {"drivers": GOOD},
    "empty drivers without a probability": ROWS["failed by a"] | {"drivers": []},
    "NaN": {"drivers": [*GOOD, GOOD[0] | {"contribution": float("nan")}]},
    "infinite": {"drivers": [GOOD[0] | {"contribution": float("-inf")}]},
    "no contribution": {"drivers": [GOOD[0] | {"contribution": None}]},
    "kind": {"drivers": [GOOD[0] | {"kind": "letter"}]},
    "no kind": {"drivers": [GOOD[0] | {"kind": None}]},
    "no term": {"drivers": [GOOD[0] | {"term": None}]},
    "empty term": {"drivers": [GOOD[0] | {"term": ""}]},
    "not the first's": {"positive_probability_a": 0.6},
    "the first's missing": {"positive_probability_a": None},
    "outside": {"positive_probability_b": 1.5},
    "NaN of b": {"positive_probability_b": float("nan")},
    "of no text": ROWS["empty"] | {"positive_probability_b": 0.5},
}


def test_the_audit_finds_damage_of_every_kind_in_the_extra_columns(spark: SparkSession) -> None:
    usual = {"score_status": "ok", "sentiment": "positive", **dict.fromkeys(NAMED, 0.7), "drivers": GOOD}
    usual |= {"n_tokens": 3, "n_unknown": 1}
    extra = ExtraColumns(model_names=("a", "b"), drivers=True)
    columns = ", ".join(f"{name} double" for name in NAMED)
    schema = f"name string, score_status string, sentiment string, {columns}, drivers {DRIVERS.dataType.simpleString()}"
    schema += ", n_tokens int, n_unknown int"
    rows = [{"name": name} | usual | change for name, change in (ROWS | DAMAGED).items()]
    table = spark.createDataFrame(rows, schema)
    sound = {row["name"] for row in table.where(is_sound(extra, {})).select("name").collect()}
    assert sound == set(ROWS)
    # Without being asked for them, it does not look at them.
    assert table.where(is_sound(ExtraColumns(), {})).count() == len(rows)


@pytest.mark.slow
def test_damage_stops_the_run(
    score: Score, model_path: Path, challenger_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = scoring_run.score_table
    named = ("--model", f"a={model_path}", "--model", f"b={challenger_path}", "--drivers", 2)
    for column, kind, said in (
        ("positive_probability_b", "double", "of 120 rows failed, more than --max-failed-ratio"),
        ("drivers", DRIVERS.dataType, "rows have a score that is out of range"),
    ):
        missing = F.lit(None).cast(kind)
        monkeypatch.setattr(
            scoring_run,
            "score_table",
            lambda *a, column=column, missing=missing, **k: complete(*a, **k).withColumn(column, missing),
        )
        code, _, sentence = score("scores", *named)
        assert (code, said in sentence) == (4, True), sentence
    assert not list((tmp_path / "scores").glob("run_date=*"))


@pytest.mark.slow
def test_two_models_score_as_each_would_alone(
    score: Score, model_path: Path, challenger_path: Path, model: Model, challenger: Model, tmp_path: Path
) -> None:
    named = ("--model", f"champion={model_path}", "--model", f"challenger={challenger_path}")
    code, report, sentence = score("both", *named)
    assert code == 0, sentence
    assert score("first", "--model", model_path)[0] == 0
    assert score("second", "--model", challenger_path)[0] == 0
    both = scores_of(tmp_path / "both")
    first, second = (scores_of(tmp_path / name) for name in ("first", "second"))
    assert both.select(CONTRACT).equals(first.select(CONTRACT))
    assert both["positive_probability_champion"].equals(first["positive_probability"])
    assert both["positive_probability_challenger"].equals(second["positive_probability"])
    assert not first["positive_probability"].equals(second["positive_probability"])
    assert report["models"] == [
        {
            "name": "champion",
            "sha256": model.sha256,
            "negative_below": 0.45,
            "positive_from": 0.55,
            "domain_shift": None,
        },
        {
            "name": "challenger",
            "sha256": challenger.sha256,
            "negative_below": 0.3,
            "positive_from": 0.7,
            "domain_shift": None,
        },
    ]
    assert report["failed_by_model"] == {"champion": 0, "challenger": 0}
    other = ("--model", f"challenger={model_path}", "--model", f"champion={challenger_path}")
    runs = {score("none", *options, "--dry-run")[1]["run_id"] for options in (named, other, named[:2])}
    assert len({*runs, first["run_id"][0].as_py()}) == 4


def test_where_one_model_fails_the_other_scores(
    score: Score, model_path: Path, challenger_path: Path, challenger: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    """In the worker function, since Spark's workers do not see the patch."""
    from jobs import executor

    class Shared:
        def __init__(self, model: Model) -> None:
            self.value = model.to_bytes()

    original, own = OnnxEngine.logits, challenger.weights["output.weight"]

    def poisoned(self: OnnxEngine, token_ids: Any, valid_length: Any) -> Any:
        found = original(self, token_ids, valid_length)
        model = self._graph.args[0]
        if np.array_equal(model.weights["output.weight"], own):
            found[valid_length == 2] = np.nan
        return found

    monkeypatch.setattr(OnnxEngine, "logits", poisoned)
    from sentiment_core.artifact import load_model

    models = tuple(
        executor.SharedModel(content=Shared(loaded), sha256=loaded.sha256, name=name)  # type: ignore[arg-type]
        for name, loaded in (("a", load_model(model_path)), ("b", load_model(challenger_path)))
    )
    scorer = executor.GroupScorer(models=models, engine="onnx", precision="float32", device="cpu")
    texts = pa.array(["good", "good film", None])
    kept = pa.StructArray.from_arrays([pa.array([1, 2, 3])], fields=[pa.field("0", pa.int64(), nullable=False)])
    batch = pa.RecordBatch.from_arrays([kept, texts, pa.array([0, 0, 0])], ["kept", "text", "group"])
    (scored,) = scorer(iter([batch]))
    assert scored["kept"].to_pylist() == [{"0": 1}, {"0": 2}, {"0": 3}]
    assert scored.schema.field("kept").type.field(0).nullable  # as the job promises to Spark for every column
    assert scored.schema.names[-2:] == ["positive_probability_a", "positive_probability_b"]
    assert scored["score_status"].to_pylist() == ["ok", "ok", "empty"]
    assert scored["positive_probability_a"].equals(scored["positive_probability"])
    assert scored["positive_probability_b"].is_null().to_pylist() == [False, True, True]


@pytest.mark.slow
def test_only_new_asks_for_the_columns_that_the_table_has(
    score: Score, model_path: Path, challenger_path: Path, tmp_path: Path
) -> None:
    plain = ("--model", model_path)
    assert score("scores", *plain)[0] == 0
    code, _, sentence = score("scores", *plain, "--only-new", "--drivers", 2)
    assert code == 3
    assert "has no column drivers, which this run adds; score without --only-new" in sentence
    code, report, sentence = score("scores", *plain, "--drivers", 2)
    assert code == 0, sentence
    code, _, sentence = score("scores", *plain, "--only-new")
    assert code == 3
    assert "has the column drivers, which this run does not make" in sentence
    code, report, sentence = score("scores", *plain, "--only-new", "--drivers", 2)
    assert (code, report["status"]) == (0, "unchanged"), sentence
    named = ("--model", f"a={model_path}", "--model", f"b={challenger_path}")
    code, _, sentence = score("scores", *named, "--only-new", "--drivers", 2)
    assert code == 3
    assert "has no column positive_probability_a, positive_probability_b" in sentence
    assert score("named", *named)[0] == 0
    assert score("named", *named, "--only-new")[1]["status"] == "unchanged"
    # Another challenger has scored none of them.
    again = ("--model", f"a={model_path}", "--model", f"b={model_path}")
    assert score("named", *again, "--only-new", "--dry-run")[1]["input"]["new_rows"] == 120


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--drivers", "-1"], 2, "--drivers must be a whole number from 0 to 100"),
        (["--drivers", "many"], 2, "--drivers must be a whole number from 0 to 100"),
        (["--model", "a={}", "--model", "{}"], 2, "several models need a name each"),
        (["--model", "{}", "--model", "{}"], 2, "several models need a name each"),
        (["--model", "a={}", "--model", "A={}"], 2, "--model names 'a' twice"),
        (["--model", "a={}", "--model", "b=/nowhere"], 3, "/nowhere"),
        (["--model", "a={}", "--keep-columns", "positive_probability_a"], 3, "'positive_probability_a'"),
        (["--model", "{}", "--drivers", "2", "--keep-columns", "drivers"], 3, "'drivers' twice"),
    ],
)
def test_wrong_options_get_a_sentence(
    score: Score, model_path: Path, reviews: pa.Table, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    own = reviews.slice(0, 9).append_column("drivers", pa.array(["mine"] * 9))
    pq.write_table(own, tmp_path / "reviews.parquet")
    found, _, sentence = score("scores", *(option.format(model_path) for option in options))
    assert (found, said in sentence) == (code, True), sentence
    assert not list((tmp_path / "scores").glob("run_date=*"))


def test_a_directory_whose_name_looks_like_a_name_is_a_directory(
    score: Score, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(model, tmp_path / "version=3")
    assert score("scores", "--model", "version=3", "--dry-run")[1]["model"]["sha256"] == model.sha256
