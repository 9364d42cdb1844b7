from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.artifact import Decision, Model, load_model
from sentiment_core.errors import NonFiniteError, UsageError
from sentiment_core.scoring.scorer import Scorer, score_by_each
from sentiment_core.text.pipeline import PADDING_ID
from tests.support.models import random_texts, tiny_model
from tests.support.packages import needs_mxnet
from tests.support.reference import reference_probability

GOLDEN = Path(__file__).parents[2] / "golden"
MODEL = tiny_model(11)
TEXTS = random_texts(120, seed=5)


# What is the scorer's own is the same with each engine; tests/core/engines/test_engines.py compares the engines.
FLOAT32 = {"engine": "onnx", "precision": "float32", "threads": 1}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(MODEL, **FLOAT32)


class StubEngine:
    """Notes the batches it gets; the logit of a text is a sum over its tokens, each times its place."""

    name, device = "stub", "cpu"
    batch_tokens = 16_384
    concurrency = 1

    def __init__(
        self,
        spoil: Callable[[npt.NDArray[np.int32], npt.NDArray[np.float32]], None] | None = None,
        *,
        length_step: int = 1,
    ) -> None:
        self.batches: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
        self.spoil = spoil
        self.length_step = length_step

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        self.batches.append((token_ids, valid_length))
        places = np.arange(len(token_ids))[:, None]
        logits = np.where(places < valid_length, token_ids * (1 + places), 0).sum(axis=0).astype(np.float32) / 1000
        if self.spoil:
            self.spoil(token_ids, logits)
        return logits


def stub_scorer(stub: StubEngine, *, model: Model = MODEL, **options: Any) -> Scorer:
    scorer = Scorer(model, **FLOAT32, **options)
    scorer.engine = stub
    return scorer


# Numbers.


@pytest.mark.parametrize(
    ("engine", "precision", "most"),
    [
        pytest.param("mxnet", "float32", 1e-5, marks=needs_mxnet),
        ("onnx", "float32", 1e-5),
        # The six units of this model average little away.
        ("onnx", "int8", 0.015),
    ],
)
def test_the_golden_scores_do_not_move(engine: str, precision: str, most: float) -> None:
    rows = json.loads((GOLDEN / "reviews.json").read_text())
    model = load_model(GOLDEN / "model")
    texts = [row["text"] for row in rows]
    expected = np.array([row["positive_probability"] for row in rows], dtype=np.float64)
    assert len(rows) == 40
    np.testing.assert_allclose(reference_probability(model, texts), expected, atol=1e-8)
    scores = Scorer(model, engine=engine, precision=precision, threads=1).score_texts(texts)
    np.testing.assert_allclose(scores.positive_probability, expected, atol=most)
    assert scores.n_tokens.tolist() == [row["n_tokens"] for row in rows]
    assert scores.n_unknown.tolist() == [row["n_unknown"] for row in rows]
    assert set(scores.status) == {"ok", "truncated", "empty"}
    assert set(scores.sentiment) == {"negative", "neutral", "positive", None}


@pytest.mark.parametrize(
    "decision", [Decision(), Decision(method="platt", slope=0.3, intercept=1.5)], ids=lambda decision: decision.method
)
def test_the_calibration_of_the_model_is_applied(decision: Decision) -> None:
    model = replace(MODEL, decision=decision)
    found = Scorer(model, **FLOAT32).score_texts(TEXTS).positive_probability
    np.testing.assert_allclose(found, reference_probability(model, TEXTS), atol=1e-5)


@pytest.mark.parametrize("max_batch_tokens", [1, 50, 333, 16_384])
def test_the_size_of_the_batches_does_not_move_a_score(scorer: Scorer, max_batch_tokens: int) -> None:
    found = Scorer(MODEL, **FLOAT32, max_batch_tokens=max_batch_tokens).score_texts(TEXTS)
    np.testing.assert_allclose(
        found.positive_probability, scorer.score_texts(TEXTS).positive_probability, atol=1e-6, rtol=0
    )


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(TEXTS) - 1), max_size=len(TEXTS)))
def test_neighbours_and_order_do_not_move_a_score(scorer: Scorer, chosen: list[int]) -> None:
    alone = scorer.score_texts(TEXTS)
    found = scorer.score_texts([TEXTS[index] for index in chosen])
    np.testing.assert_allclose(found.positive_probability, alone.positive_probability[chosen], atol=1e-6, rtol=0)
    for name in ("sentiment", "status", "n_tokens", "n_unknown", "truncated"):
        assert getattr(found, name).tolist() == getattr(alone, name)[chosen].tolist()


def test_a_long_neighbour_does_not_move_a_score(scorer: Scorer) -> None:
    alone = scorer.score_texts(["good film"]).positive_probability[0]
    together = scorer.score_texts(["bad " * 40, "good film", "so " * 39]).positive_probability[1]
    assert together == pytest.approx(alone, abs=1e-6)


def test_the_same_texts_get_the_same_bits_again(scorer: Scorer) -> None:
    first, second = (scorer.score_texts(TEXTS).positive_probability for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("length_step", [1, 9])
def test_an_engine_sees_equal_texts_once(length_step: int) -> None:
    stub = StubEngine(length_step=length_step)
    texts = ["good film", "bad", None, "good film", "", "good film", "bad", "Bad"]
    scores = stub_scorer(stub).score_texts(texts * 3)
    seen = [int(length) for _, valid_length in stub.batches for length in valid_length if length]
    assert seen == [2, 1, 1], "but texts that only their tokens make equal are seen as they come"
    alone = stub_scorer(StubEngine())
    expected = np.array([alone.score_texts([text]).positive_probability[0] for text in texts] * 3)
    np.testing.assert_array_equal(scores.positive_probability, expected)
    assert scores.n_tokens.tolist() == [2, 1, 0, 2, 0, 2, 1, 1] * 3


# Rows.


@pytest.mark.parametrize("n_texts", [0, 1, 2, 119])
def test_rows_out_are_rows_in(scorer: Scorer, n_texts: int) -> None:
    scores = scorer.score_texts(TEXTS[:n_texts])
    columns = [scores.positive_probability, scores.sentiment, scores.status]
    columns += [scores.n_tokens, scores.n_unknown, scores.truncated]
    assert {len(column) for column in columns} == {len(scores)} == {n_texts}
    assert scores.positive_probability.dtype == np.float64


@pytest.mark.parametrize("texts", [[None], ["", " \n"], [None, "\u200b", "<br />", "\0"]])
def test_a_text_without_a_token_has_no_score(scorer: Scorer, texts: list[str | None]) -> None:
    stub = StubEngine()
    for scores in (scorer.score_texts(texts), stub_scorer(stub).score_texts(texts)):
        assert np.isnan(scores.positive_probability).all()
        assert set(scores.sentiment) == {None}
        assert set(scores.status) == {"empty"}
        assert not scores.n_tokens.any()
        assert not scores.truncated.any()
    assert not stub.batches


def test_a_text_past_max_tokens_is_scored_on_its_head(scorer: Scorer) -> None:
    head = " ".join(["good", "bad", "zorblat", "film"] * 10)
    scores = scorer.score_texts([f"{head} worst worst zorblat", head])
    assert scores.status.tolist() == ["truncated", "ok"]
    assert scores.n_tokens.tolist() == [43, 40]
    assert scores.n_unknown.tolist() == [10, 10]
    assert scores.positive_probability[0] == pytest.approx(scores.positive_probability[1], abs=1e-6)


def test_labels_follow_the_cut_offs_of_the_model() -> None:
    logits = np.array([-9.0, -0.41, -0.4, 0.0, 0.39, 0.4, 9.0], np.float32)
    decision = Decision()
    cuts = decision.probability(logits[[2, 5]])
    model = replace(MODEL, decision=replace(decision, negative_below=cuts[0], positive_from=cuts[1]))

    class Fixed(StubEngine):
        def logits(self, token_ids: Any, valid_length: Any) -> Any:
            return logits

    scores = stub_scorer(Fixed(), model=model).score_texts(["good", "bad", "film", "the", "a", "to", "it"])
    assert scores.sentiment.tolist() == ["negative"] * 2 + ["neutral"] * 3 + ["positive"] * 2
    np.testing.assert_array_equal(scores.positive_probability, decision.probability(logits))


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["good", None, "bad film"]),
        pa.array(["good", None, "bad film"], pa.large_string()),
        pa.chunked_array([["good", None], ["bad film"]]),
        pa.array(["x", "good", None, "bad film"]).slice(1),
        pa.array([b"good\xff", None, b"bad\0film"]),
        ("good", None, "bad film"),
        ["good\ud800", None, "bad \udcff film"],
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_texts_come_as_arrow_or_as_python_strings(scorer: Scorer, texts: Any) -> None:
    np.testing.assert_allclose(
        scorer.score_texts(texts).positive_probability,
        reference_probability(MODEL, ["good", None, "bad film"]),
        atol=1e-5,
    )


# Batches.


def test_batches_are_as_large_as_the_engine_likes_unless_told() -> None:
    scorer = Scorer(MODEL, **FLOAT32)
    assert scorer.max_batch_tokens == scorer.engine.batch_tokens > 1_000
    assert Scorer(MODEL, **FLOAT32, max_batch_tokens=7).max_batch_tokens == 7


@settings(max_examples=20)
@given(st.lists(st.integers(0, 70), max_size=60), st.integers(1, 600), st.integers(1, 9))
def test_each_logit_comes_back_to_its_own_text(lengths: list[int], max_batch_tokens: int, length_step: int) -> None:
    stub = StubEngine(length_step=length_step)
    texts = ["good " * length for length in lengths]
    found = stub_scorer(stub, max_batch_tokens=max_batch_tokens).score_texts(texts).positive_probability
    good = MODEL.text.vocabulary.words.index("good")
    clipped = [min(length, 40) for length in lengths]
    expected = [good * length * (length + 1) / 2000 if length else np.nan for length in clipped]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(expected, float))), rtol=1e-5)
    for token_ids, _ in stub.batches:
        assert token_ids.size <= max_batch_tokens or token_ids.shape[1] == 1
        assert len(token_ids) % length_step == 0


# Failures.


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("max_batch_tokens", [1, 100, 16_384])
def test_a_non_finite_logit_names_the_positions_of_its_texts(broken: float, max_batch_tokens: int) -> None:
    worst = MODEL.text.vocabulary.words.index("worst")

    def spoil(token_ids: npt.NDArray[np.int32], logits: npt.NDArray[np.float32]) -> None:
        logits[(token_ids == worst).any(axis=0)] = broken

    scorer = stub_scorer(StubEngine(spoil), max_batch_tokens=max_batch_tokens)
    texts = ["good", "the worst", None, "bad film " * 9, "", "so " * 30 + "worst", "worst"]
    with pytest.raises(NonFiniteError, match="3 texts \\(positions 1, 5, 6\\)") as caught:
        scorer.score_texts(texts)
    assert caught.value.positions == (1, 5, 6)
    assert pickle.loads(pickle.dumps(caught.value)).positions == (1, 5, 6)
    assert "worst" not in str(caught.value), "review text stays out of messages"
    assert np.isfinite(scorer.score_texts(texts[:1] + texts[3:4]).positive_probability).all()


def test_logits_of_filled_up_places_do_not_matter() -> None:
    def spoil(token_ids: npt.NDArray[np.int32], logits: npt.NDArray[np.float32]) -> None:
        logits[token_ids[0] == PADDING_ID] = np.nan

    scorer = stub_scorer(StubEngine(spoil, length_step=9))
    assert np.isfinite(scorer.score_texts(["good", "bad", "so", "the", "a"]).positive_probability).all()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"engine": "steam"}, "engine must be one of auto, .*, not 'steam'"),
        ({"precision": "int4"}, "precision must be one of auto, .*, not 'int4'"),
        ({"engine": "mxnet", "precision": "int8"}, "the mxnet engine computes in float32 on a CPU, not in int8"),
        ({"device": "gpu"}, "device must be cpu or gpu:N, not 'gpu'"),
        ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 1, not 0"),
    ],
)
def test_a_wrong_option_is_refused_with_its_value(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Scorer(MODEL, **options)


def test_a_language_model_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot score"):
        Scorer(tiny_model(kind="language_model"))


@pytest.mark.parametrize(
    ("engine", "precision"),
    [pytest.param("mxnet", "float32", marks=needs_mxnet), ("onnx", "float32"), ("onnx", "int8")],
)
def test_the_same_texts_get_the_same_bits_whatever_was_scored_between(engine: str, precision: str) -> None:
    scorer = Scorer(tiny_model(3, embed_size=6, hidden_size=6), engine=engine, precision=precision)
    texts = random_texts(150, seed=1)
    first = scorer.score_texts(texts).positive_probability
    for seed in range(12):
        scorer.score_texts(random_texts(20 + 13 * seed, seed=seed))
        np.testing.assert_array_equal(scorer.score_texts(texts).positive_probability, first)


def test_models_with_the_same_text_pipeline_share_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    first, same, other = (Scorer(tiny_model(seed, max_tokens=size)) for seed, size in ((1, 40), (2, 40), (3, 7)))
    texts = pa.array(["good film", None, "the worst plot " * 9, "good film"])
    alone = [scorer.score_texts(texts) for scorer in (first, same, other)]
    encoded: list[int] = []
    for number, scorer in enumerate((first, same, other)):
        encode = scorer.encode_texts
        monkeypatch.setattr(
            scorer, "encode_texts", lambda texts, number=number, encode=encode: encoded.append(number) or encode(texts)
        )
    together = score_by_each([first, same, other], texts)
    assert encoded == [0, 2]
    for found, expected in zip(together, alone):
        np.testing.assert_array_equal(found.positive_probability, expected.positive_probability)
        assert found.status.tolist() == expected.status.tolist()
