from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.artifact import Decision, Model, load_model
from sentiment_core.errors import UsageError
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.pipeline import UNKNOWN_ID
from sentiment_core.training.robustness import EMBEDDING, average_weights, blind_to
from sentiment_core.training.run import TrainSettings, train
from tests.support.models import tiny_model
from tests.support.packages import needs_mxnet
from tests.support.runs import labelled_reviews, rows_of

SETTINGS = TrainSettings(vocab_size=500, max_tokens=40, hidden_size=8, batch_tokens=1_200, num_buckets=2, epochs=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(seed=4)


@given(st.floats(0, 1))
def test_the_average_lies_between_both_at_the_share_of_the_start(share: float) -> None:
    trained, start = ({"w": np.array([value, 2 * value], np.float16)} for value in (1.0, 3.0))
    found = average_weights(trained, start, start_share=share)["w"]
    assert found.dtype == np.float16
    assert found == pytest.approx(np.array([1, 2]) * (1 + 2 * share), abs=2e-3)


def test_a_blind_word_scores_as_every_other_and_as_an_unknown_one(model: Model) -> None:
    known = model.text.vocabulary.words[4:]
    words, other = known[:3], known[3]
    weights, n_known = blind_to(model.weights, model.text.vocabulary, [*words, "not-in-the-vocabulary", *words])
    assert n_known == 3
    assert {name for name in weights if not np.array_equal(weights[name], model.weights[name])} == {EMBEDDING}
    scorer = Scorer(replace(model, weights=weights), precision="float32")
    scores = scorer.score_texts([f"{other} {word} {other}" for word in (*words, "zorblat")])
    assert len(set(scores.positive_probability)) == 1
    assert scores.n_unknown.tolist() == [0, 0, 0, 1]
    before = Scorer(model, precision="float32").score_texts([f"{other} {word}" for word in words])
    assert len(set(before.positive_probability)) == 3


def test_the_weights_of_before_are_left_as_they_are(model: Model) -> None:
    before = model.weights[EMBEDDING].copy()
    blind_to(model.weights, model.text.vocabulary, model.text.vocabulary.words[4:9])
    assert np.array_equal(model.weights[EMBEDDING], before)


@needs_mxnet
def test_training_averages_and_blinds_and_measures_what_it_stores(tmp_path: Path) -> None:
    reviews = labelled_reviews(200, seed=3)
    data, validation = rows_of(reviews, slice(150)), rows_of(reviews, slice(150, 200))
    first = train(data, validation=validation, checkpoint_path=tmp_path / "first", settings=SETTINGS)
    word = first.text.vocabulary.words[20]
    plain = train(
        data, validation=validation, checkpoint_path=tmp_path / "plain", settings=SETTINGS, language_model=first
    )
    found = train(
        data,
        validation=validation,
        checkpoint_path=tmp_path / "second",
        settings=replace(SETTINGS, start_share=0.5),
        language_model=first,
        blind_words=[word],
    )
    expected, _ = blind_to(
        average_weights(plain.weights, first.weights, start_share=0.5), first.text.vocabulary, [word]
    )
    assert all(np.array_equal(found.weights[name], expected[name]) for name in expected)
    assert np.array_equal(found.weights[EMBEDDING][20], found.weights[EMBEDDING][UNKNOWN_ID])
    assert found.decision != Decision()
    scores = Scorer(found, precision="float32").score_texts(validation.texts).positive_probability
    right = np.mean((scores >= 0.5) == (validation.positive >= 0.5))
    assert found.metrics["validation"]["accuracy"] == pytest.approx(right)
    assert found.provenance["blind_words"] == 1
    assert "1 words for groups of people" in found.card


def test_only_a_model_that_is_trained_further_can_be_averaged_with(tmp_path: Path) -> None:
    reviews = labelled_reviews(60, seed=3)
    with pytest.raises(UsageError, match="start_share needs a sentiment model"):
        train(
            rows_of(reviews, slice(40)),
            validation=rows_of(reviews, slice(40, 60)),
            checkpoint_path=tmp_path / "checkpoint",
            settings=replace(SETTINGS, start_share=0.5),
        )


@needs_mxnet
def test_the_verb_reads_words_and_remarks(sentiment: object, tmp_path: Path) -> None:
    reviews = labelled_reviews(200, seed=3)
    table = pa.table({"text": reviews.texts, "label": reviews.positive})
    pq.write_table(table, tmp_path / "in.parquet")
    words = tmp_path / "words.txt"
    options = ["--input", tmp_path / "in.parquet", "--language-model", "none", "--epochs", "1", "--hidden-size", "8"]
    options += ["--max-tokens", "40", "--output", tmp_path / "model", "--blind-words", words]
    code, _, sentence = sentiment("train", *options)  # type: ignore[operator]
    assert (code, f"--blind-words {words}: cannot be read" in sentence) == (3, True), sentence
    words.write_text("# remarks\nThe a # the film\n\nzorblat")
    code, _, sentence = sentiment("train", *options)  # type: ignore[operator]
    assert code == 0, sentence
    model = load_model(tmp_path / "model")
    ids = model.text.vocabulary.ids(["the", "a"])
    assert model.provenance["blind_words"] == len(ids) == 2
