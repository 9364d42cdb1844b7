"""A calibration to own labels: it recovers a known distortion, keeps the order, and is never worse in silence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from jobs.labels.sheet import guarded, guarded_name, sheet_bytes
from sentiment_core.artifact import Decision, Model, load_model, save_model
from sentiment_core.evaluation.metrics import calibration_table, evaluate_probabilities, fit_platt, neutral_band
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.training.calibration import fit_decision
from sentiment_core.training.recalibration import fit_to_labels
from tests.support.models import random_texts, tiny_model

N_TEXTS = 400


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text for text in random_texts(2 * N_TEXTS, seed=4) if text and text.strip()][:N_TEXTS]


@pytest.fixture(scope="module")
def model() -> Model:
    metrics = {"validation": {"n": 5, "accuracy": 0.9}, "history": [{"epoch": 1, "validation_loss": 0.5}]}
    provenance = {"training_reviews": 77, "validation_reviews": 5, "held_out_by": "product_id"}
    return tiny_model(metrics=metrics, provenance=provenance, card="# SentimentNet\n")


@pytest.fixture(scope="module")
def logits(model: Model, texts: list[str]) -> np.ndarray:
    """Of the engine that scores by default."""
    probability = Scorer(replace(model, decision=Decision())).score_texts(texts).positive_probability
    return np.log(probability) - np.log1p(-probability)


@pytest.fixture
def calibrate(sentiment: Any, model: Model, texts: list[str], tmp_path: Path) -> Callable[..., Any]:
    """Run the verb on labels of the texts."""
    save_model(model, tmp_path / "model")

    def run(labels: Any, *options: Any, table: Path | None = None, **columns: Any) -> tuple[int, list[Any], str]:
        if table is None:
            table = tmp_path / "labelled.parquet"
            pq.write_table(pa.table({"text": texts[: len(labels)], "label": labels, **columns}), table)
        return sentiment(
            "calibrate", "--model", tmp_path / "model", "--input", table, "--output", tmp_path / "new", *options
        )

    return run


def drawn(logits: np.ndarray, *, slope: float, intercept: float, seed: int = 0) -> np.ndarray:
    """Labels of which the logits tell a distorted probability."""
    return np.random.default_rng(seed).random(len(logits)) < Decision(slope=slope, intercept=intercept).probability(
        logits
    )


@pytest.mark.parametrize(("slope", "intercept"), [(0.4, 0.0), (2.5, 0.0), (0.6, 1.2), (1.5, -0.8)])
def test_a_known_distortion_is_recovered(slope: float, intercept: float) -> None:
    logits = np.random.default_rng(1).normal(0, 2, 40_000)
    positive = drawn(logits, slope=slope, intercept=intercept)
    found = fit_decision(positive, logits)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=0.06)


def test_labels_that_the_logits_part_without_an_error_do_not_make_the_model_sure_of_everything() -> None:
    logits = np.concatenate([np.linspace(-3, -0.5, 20), np.linspace(0.5, 4, 80)])
    before = Decision(slope=0.9, intercept=0.1)
    fitted = fit_to_labels(before, logits > 0, logits, weights=np.ones(100))
    assert before.slope < fitted.slope < 4
    assert 0.6 < fitted.probability(np.array([0.5]))[0] < 0.97


@pytest.mark.parametrize("weight", [1.0, 7.0])
def test_many_labels_outweigh_the_former_calibration(weight: float) -> None:
    logits = np.random.default_rng(1).normal(0, 2, 40_000)
    positive = drawn(logits, slope=0.6, intercept=1.2)
    weights = np.full(len(logits), weight)
    found = fit_to_labels(Decision(slope=3.0, intercept=-2.0), positive, logits, weights=weights)
    assert (found.slope, found.intercept) == pytest.approx((0.6, 1.2), abs=0.06)


def test_weights_are_counted_as_copies_would_be() -> None:
    """Against rows that stand there several times, and scikit-learn."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, 500)
    positive, copies = drawn(logits, slope=0.7, intercept=0.3), rng.integers(1, 6, 500)
    weights = copies.astype(float)
    probabilities = Decision(slope=0.8).probability(logits)
    rows = np.repeat(np.arange(500), copies)
    weighted = evaluate_probabilities(positive, probabilities, weights=weights).as_dict()
    copied = evaluate_probabilities(positive[rows], probabilities[rows]).as_dict()
    for name in ("accuracy", "auc", "f1", "log_loss", "brier", "ece"):
        assert weighted[name] == pytest.approx(copied[name], rel=1e-9), name
    assert weighted["standard_error"] > copied["standard_error"]
    assert neutral_band(positive, probabilities, weights=weights) == neutral_band(positive[rows], probabilities[rows])
    regression = LogisticRegression(penalty=None, tol=1e-10).fit(logits[:, None], positive, sample_weight=weights)
    wanted = (regression.coef_[0, 0], regression.intercept_[0])
    assert fit_platt(positive, logits, weights) == pytest.approx(wanted, abs=1e-4)
    shares = [row["share"] for row in calibration_table(positive, probabilities, weights=weights)]
    assert sum(shares) == pytest.approx(1)
    assert "share" not in calibration_table(positive, probabilities, weights=np.full(500, 7.0))[0]


def test_the_new_model_is_better_keeps_the_order_and_names_the_old_one(
    calibrate: Any, model: Model, texts: list[str], logits: np.ndarray, tmp_path: Path
) -> None:
    positive = drawn(logits, slope=2.0, intercept=-5.0)
    code, [report], sentence = calibrate(positive, "--data-name", "My shop")
    assert code == 0, sentence
    before, after = report["held_out"]["before"], report["held_out"]["after"]
    assert before["n"] == after["n"] == report["labels"] == N_TEXTS
    assert after["log_loss"] < before["log_loss"]
    assert abs(after["share_error"]) < abs(before["share_error"])
    probabilities = model.decision.probability(logits)
    assert before["log_loss"] == pytest.approx(evaluate_probabilities(positive, probabilities).log_loss, rel=1e-6)
    assert before["share_error"] == pytest.approx(probabilities.mean() - positive.mean(), abs=1e-6)
    assert f"held-out log loss {before['log_loss']:.4f} before and {after['log_loss']:.4f} after" in sentence
    new = load_model(tmp_path / "new")
    assert (report["sha256"], report["from_sha256"]) == (new.sha256, model.sha256)
    assert new.sha256 != model.sha256
    assert asdict(new.decision) == report["decision"]["after"]
    assert new.provenance["recalibrated_from_sha256"] == model.sha256
    assert new.provenance["training_reviews"] == 77
    assert new.metrics["validation"]["n"] == N_TEXTS
    assert new.metrics["validation"]["log_loss"] == after["log_loss"]
    assert new.metrics["history"] == model.metrics["history"]
    assert all((new.weights[name] == weight).all() for name, weight in model.weights.items())
    for said in (model.sha256[:12], "Calibrated to own labels", "My shop", f"{after['ece']:.4f}", "chosen on 5 others"):
        assert said in new.card
    assert "a little optimistic" not in new.card
    old, now = (Scorer(one).score_texts(texts).positive_probability for one in (model, new))
    assert np.argsort(old, kind="stable").tolist() == np.argsort(now, kind="stable").tolist()


def test_the_same_labels_give_the_same_model(calibrate: Any, logits: np.ndarray) -> None:
    positive = drawn(logits, slope=2.0, intercept=-5.0)
    assert calibrate(positive)[1][0]["sha256"] == calibrate(positive)[1][0]["sha256"]


def test_a_calibration_that_is_no_better_is_not_written(calibrate: Any, logits: np.ndarray, tmp_path: Path) -> None:
    """Labels as the model says: what is fitted to 120 of them can only be worse."""
    code, [report], sentence = calibrate(drawn(logits[:120], slope=1.0, intercept=0.0, seed=7))
    assert code == 5
    assert not (tmp_path / "new").exists()
    assert report["kept"] == "before"
    assert report["sha256"] is None
    assert report["held_out"]["after"]["log_loss"] >= report["held_out"]["before"]["log_loss"]
    assert "no better than before, so the model stays as it is and nothing is written" in sentence


def test_too_few_labels_and_labels_of_one_class_are_refused(
    calibrate: Any, texts: list[str], logits: np.ndarray, tmp_path: Path
) -> None:
    positive = drawn(logits, slope=1.0, intercept=0.0)
    for labels, said in (
        (positive[:99], "99 labels are too few to calibrate with, 100 are needed; label more reviews"),
        (np.arange(150) < 9, "9 of 150 labels are positive, 10 are needed"),
        (np.arange(150) >= 4, "4 of 150 labels are negative, 10 are needed"),
        (logits < np.median(logits), "the labels are the opposite of what the model says; check --label-column"),
    ):
        code, results, sentence = calibrate(labels)
        assert (code, results) == (3, []), sentence
        assert said in sentence
    code, _, sentence = calibrate(positive, "--output", tmp_path / "model")
    assert code == 3
    assert "is the model itself" in sentence
    assert not (tmp_path / "new").exists()


def test_reviews_without_a_label_or_a_token_are_counted(
    calibrate: Any, logits: np.ndarray, texts: list[str], tmp_path: Path
) -> None:
    labels = [float(one) for one in drawn(logits, slope=2.0, intercept=-5.0)]
    table = pa.table({"text": [*texts, "", " "], "label": [None] * 30 + [*labels[30:], 1.0, 0.0]})
    pq.write_table(table, tmp_path / "some.parquet")
    code, [report], sentence = calibrate((), table=tmp_path / "some.parquet")
    assert code == 0, sentence
    assert (report["labels"], report["unlabelled"], report["empty"]) == (N_TEXTS - 30, 30, 2)


def test_a_sheet_is_taken_with_its_weights_words_and_guards(
    calibrate: Any, logits: np.ndarray, texts: list[str], tmp_path: Path
) -> None:
    """As `sentiment sample` writes it and a person fills it in: the same result as from a plain table."""
    texts = ["-- " + text if number % 3 == 0 else text for number, text in enumerate(texts)]
    positive = drawn(logits, slope=2.0, intercept=-5.0)
    weights = np.random.default_rng(3).uniform(1, 9, len(texts))
    sheet = tmp_path / "sheet.csv"
    columns = {
        "review_id": [guarded_name(f"r{number}") for number in range(len(texts))],
        "text": list(map(guarded, texts)),
        "label": [("Positive" if one else "negative") if place else "" for place, one in enumerate(positive)],
        "weight": [f"{weight!r}".replace(".", ",") for weight in weights.tolist()],
        "probability_bin": ["0.1 to 0.2"] * len(texts),
    }
    sheet.write_bytes(sheet_bytes(columns))
    assert "'-- " in next(row["text"] for row in csv.DictReader(sheet.open(encoding="utf-8-sig")))
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"text": texts[1:], "label": positive[1:], "w": weights[1:]}), plain)
    code, [of_sheet], sentence = calibrate((), table=sheet)
    assert code == 0, sentence
    assert (of_sheet["labels"], of_sheet["unlabelled"], of_sheet["weighted"]) == (len(texts) - 1, 1, True)
    _, [of_table], _ = calibrate((), "--weight-column", "w", table=plain)
    # Which half a review is of follows from its cell, so only what all labels give is the same.
    assert of_sheet["held_out"]["before"] == of_table["held_out"]["before"]
    assert of_sheet["decision"]["after"] == of_table["decision"]["after"]
    _, [unweighted], _ = calibrate((), table=plain)
    assert unweighted["decision"]["after"] != of_table["decision"]["after"]


def test_weights_that_are_no_numbers_are_refused(calibrate: Any, logits: np.ndarray) -> None:
    positive = drawn(logits, slope=2.0, intercept=-5.0)
    code, results, sentence = calibrate(positive, "--weight-column", "w", w=np.where(positive, 1.0, -1.0))
    assert (code, results) == (3, [])
    assert "w is no number above 0 in" in sentence
