from __future__ import annotations

import importlib
import math
import re
import sys
from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from sentiment_core.artifact import Model
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import EnvironmentFault
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.training import distillation
from sentiment_core.training.distillation import Ensemble, WordSequenceModel, member_of_models
from tests.support.models import tiny_model
from tests.support.reference import reference_probability, sigmoid
from tests.support.runs import labelled_reviews, rows_of

Floats = npt.NDArray[np.float64]

REVIEWS = labelled_reviews(500, seed=1)
DATA, HELD_OUT = rows_of(REVIEWS, slice(350)), rows_of(REVIEWS, slice(350, 500))
NOTHING = pa.array([None, "", " \n", "\u200b"])

CORPUS = Labelled(
    texts=pa.array([
        "good film", "Good, good film!", "not bad", "a very good film", "not a good film", "bad", "very bad film",
        "bad, bad, bad", None, "a film",
    ]),
    positive=np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 1], bool),
)  # fmt: skip
# By hand, of the corpus above; marks are words too.
TOKENS = [re.findall(r"\w+|[,!]", (text or "").lower()) for text in CORPUS.texts.to_pylist()]


# Word sequences.


def sequences_of(tokens: list[str], n_words: int) -> set[str]:
    return {
        " ".join(tokens[start : start + length])
        for length in range(1, n_words + 1)
        for start in range(len(tokens) - length + 1)
    }


def naive_ratios(n_words: int, min_count: int) -> dict[str, float]:
    """Wang and Manning 2012, on presence, smoothed by one, of sequences in enough reviews."""
    present = [sequences_of(tokens, n_words) for tokens in TOKENS]
    in_reviews = Counter(sequence for review in present for sequence in review)
    features = [sequence for sequence, count in in_reviews.items() if count >= min_count]
    counts = {
        label: {
            feature: 1 + sum(feature in review for review, its in zip(present, CORPUS.positive) if its == label)
            for feature in features
        }
        for label in (True, False)
    }
    totals = {label: sum(counts[label].values()) for label in counts}
    return {
        feature: math.log((counts[True][feature] / totals[True]) / (counts[False][feature] / totals[False]))
        for feature in features
    }


def naive_logits(n_words: int, min_count: int, strength: float, texts: list[list[str]]) -> Floats:
    """Logistic regression on the ratios by Newton's method; the intercept is penalised, as liblinear has it."""
    ratios = naive_ratios(n_words, min_count)

    def features(reviews: list[list[str]]) -> Floats:
        rows = [sequences_of(tokens, n_words) for tokens in reviews]
        return np.array([[*(ratio * (name in row) for name, ratio in ratios.items()), 1.0] for row in rows])

    inputs = features(TOKENS)
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        found = sigmoid(inputs @ weights)
        gradient = weights + strength * inputs.T @ (found - CORPUS.positive)
        curvature = np.eye(len(weights)) + strength * (inputs * (found * (1 - found))[:, None]).T @ inputs
        weights -= np.linalg.solve(curvature, gradient)
    return features(texts) @ weights


@pytest.mark.parametrize("n_words", [1, 2, 3])
@pytest.mark.parametrize("min_count", [1, 2])
def test_sequences_are_weighted_as_a_naive_count_says(n_words: int, min_count: int) -> None:
    model = WordSequenceModel(n_words=n_words, min_count=min_count).fit(CORPUS)
    expected = naive_ratios(n_words, min_count)
    found = dict(zip(model._vectorizer.get_feature_names_out(), model._ratios))
    assert found == {name: pytest.approx(ratio) for name, ratio in expected.items()}
    assert expected["good"] > 0 > expected["bad"]


@pytest.mark.parametrize("strength", [0.3, 4.0])
def test_logits_are_those_of_a_naive_logistic_regression(strength: float) -> None:
    texts = ["a good film", "not bad", "unheard of", "", "very bad , very bad"]
    model = WordSequenceModel(n_words=2, min_count=2, strength=strength).fit(CORPUS)
    expected = naive_logits(2, 2, strength, [text.split() for text in texts])
    np.testing.assert_allclose(model.logits(pa.array(texts)), expected, atol=2e-3)
    assert expected[0] > expected[2] == expected[3] > expected[4]


@pytest.fixture(scope="module")
def linear() -> WordSequenceModel:
    return WordSequenceModel().fit(DATA)


def test_word_sequences_learn_from_reviews(linear: WordSequenceModel) -> None:
    logits = linear.logits(HELD_OUT.texts)
    metrics = evaluate_probabilities(HELD_OUT.positive, sigmoid(logits))
    assert metrics.auc > 0.85
    assert metrics.accuracy > max(HELD_OUT.positive.mean(), 1 - HELD_OUT.positive.mean()) + 0.15
    assert logits.shape == (150,)


def test_word_sequences_learn_the_same_each_time(linear: WordSequenceModel) -> None:
    again = WordSequenceModel().fit(DATA).logits(HELD_OUT.texts)
    np.testing.assert_array_equal(again, linear.logits(HELD_OUT.texts))


def test_a_text_without_a_token_says_nothing(linear: WordSequenceModel) -> None:
    logits = linear.logits(NOTHING)
    assert len(set(logits.tolist())) == 1
    assert logits[0] == pytest.approx(linear.logits(pa.array(["zorblat xqzt"]))[0]), "like one without a known word"


def test_a_teachers_probabilities_are_labels_to_learn_from(linear: WordSequenceModel) -> None:
    soft = Labelled(texts=DATA.texts, positive=np.where(DATA.positive, 0.7, 0.3))
    again = WordSequenceModel().fit(soft).logits(HELD_OUT.texts)
    np.testing.assert_array_equal(again, linear.logits(HELD_OUT.texts))


# Ensembles.


def opinionated(seed: int) -> Model:
    """A model of random weights that knows some words of the reviews and errs much."""
    words = "the a it and i was is . , ! not never great bad worst best love good but leaks superb"
    return tiny_model(seed, words=words.split(), max_tokens=60)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return [opinionated(1), opinionated(2)]


@pytest.fixture(scope="module")
def ensemble(models: list[Model], linear: WordSequenceModel) -> Ensemble:
    return Ensemble.fit({"models": member_of_models(models), "linear": linear.logits}, held_out=HELD_OUT)


def test_an_ensemble_weighs_the_mean_logit_of_models_and_that_of_word_sequences(
    ensemble: Ensemble, models: list[Model], linear: WordSequenceModel
) -> None:
    texts = pa.concat_arrays([HELD_OUT.texts[:20], pa.array(["The kettle leaks."])])
    probabilities = [reference_probability(model, texts.to_pylist()) for model in models]
    expected = np.mean([np.log(part / (1 - part)) for part in probabilities], axis=0)
    members = ensemble.member_logits(texts)
    np.testing.assert_allclose(members[:, 0], expected, atol=1e-4)
    np.testing.assert_array_equal(members[:, 1], linear.logits(texts))
    of_models, of_linear, intercept = ensemble.weights
    expected = sigmoid(of_models * members[:, 0] + of_linear * members[:, 1] + intercept)
    np.testing.assert_allclose(ensemble.probabilities(texts), expected, atol=1e-12)


def test_the_whole_is_no_worse_than_a_member(ensemble: Ensemble) -> None:
    report = ensemble.report(HELD_OUT)
    assert report.keys() == {"models", "linear", "ensemble"}
    losses = {name: quality["log_loss"] for name, quality in report.items()}
    assert losses["ensemble"] <= min(losses["models"], losses["linear"]) + 1e-6
    assert report["ensemble"]["auc"] > 0.85
    members = ensemble.member_logits(HELD_OUT.texts)
    for name, found in (
        ("models", sigmoid(members[:, 0])),
        ("linear", sigmoid(members[:, 1])),
        ("ensemble", ensemble.probabilities(HELD_OUT.texts)),
    ):
        assert report[name] == pytest.approx(evaluate_probabilities(HELD_OUT.positive, found).as_dict())


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("change", [-0.05, 0.05])
def test_no_other_weights_fit_the_held_out_reviews_better(ensemble: Ensemble, position: int, change: float) -> None:
    def loss(weights: Floats) -> float:
        found = sigmoid(ensemble.member_logits(HELD_OUT.texts) @ weights[:2] + weights[2])
        return evaluate_probabilities(HELD_OUT.positive, found).log_loss

    assert loss(ensemble.weights) < loss(ensemble.weights + change * np.eye(3)[position])


def test_a_member_that_contradicts_the_labels_is_turned_round(linear: WordSequenceModel, models: list[Model]) -> None:
    """Then its weight is negative: the held-out reviews decide."""
    part = rows_of(HELD_OUT, slice(60))
    contrary = Labelled(texts=part.texts, positive=~part.positive)
    ensemble = Ensemble.fit({"models": member_of_models(models[:1]), "linear": linear.logits}, held_out=contrary)
    assert ensemble.weights[1] < 0
    assert ensemble.report(contrary)["ensemble"]["auc"] > 0.8


def test_any_text_has_a_probability(ensemble: Ensemble) -> None:
    texts = pa.concat_arrays([NOTHING, pa.array(["the " * 5000, "!" * 300, "worst " * 60, "best great love " * 30])])
    found = ensemble.probabilities(texts)
    assert ((found > 0) & (found < 1)).all()
    assert len(set(found[:4].tolist())) == 1, "of nothing, always the same"
    assert not ensemble.member_logits(NOTHING)[:, 0].any(), "on which models have no opinion"
    assert found[-1] > found[0] > found[-2]


@pytest.mark.parametrize("missing", ["sklearn", "scipy"])
def test_without_scikit_learn_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, distillation.__name__)
    with pytest.raises(EnvironmentFault, match=rf"needs {missing}.*, .* pip install 'sentiment-warehouse\[training\]'"):
        importlib.import_module(distillation.__name__)
