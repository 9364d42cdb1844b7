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
from models import random_texts, tiny_model
from reference import reference_probability

from sentiment_core.artifact import Decision, Model, load_model
from sentiment_core.errors import EnvironmentFault, NonFiniteError, UsageError
from sentiment_core.scoring import Scorer, Scores
from sentiment_core.text import PADDING_ID, TextSettings

GOLDEN = Path(__file__).parent / "golden"
MODEL = tiny_model(11)
TEXTS = random_texts(120, seed=5)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(MODEL, threads=1)


class StubEngine:
    """Notes the batches it gets; the logit of a text is a sum over its tokens, each times its place."""

    device = "cpu"

    def __init__(self, spoil: Callable[[npt.NDArray[np.int32], npt.NDArray[np.float32]], None] | None = None) -> None:
        self.batches: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
        self.spoil = spoil

    @property
    def shapes(self) -> set[tuple[int, int]]:
        return {(token_ids.shape[0], token_ids.shape[1]) for token_ids, _ in self.batches}

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        self.batches.append((token_ids, valid_length))
        places = np.arange(len(token_ids))[:, None]
        logits = np.where(places < valid_length, token_ids * (1 + places), 0).sum(axis=0).astype(np.float32) / 1000
        if self.spoil:
            self.spoil(token_ids, logits)
        return logits


def stub_scorer(stub: StubEngine, *, model: Model = MODEL, **options: Any) -> Scorer:
    scorer = Scorer(model, threads=1, **options)
    scorer.engine = stub
    return scorer


def lengths_scorer(lengths: list[int], stub: StubEngine, *, max_tokens: int, max_batch_tokens: int) -> Scores:
    text = replace(MODEL.text, settings=TextSettings(max_tokens=max_tokens))
    scorer = stub_scorer(stub, model=replace(MODEL, text=text), max_batch_tokens=max_batch_tokens)
    return scorer.score_texts(["good " * length for length in lengths])


# Numbers.


def test_the_golden_scores_do_not_move() -> None:
    rows = json.loads((GOLDEN / "reviews.json").read_text())
    model = load_model(GOLDEN / "model")
    texts = [row["text"] for row in rows]
    expected = np.array([row["positive_probability"] for row in rows], dtype=np.float64)
    assert len(rows) == 40
    np.testing.assert_allclose(reference_probability(model, texts), expected, atol=1e-8)
    scores = Scorer(model, threads=1).score_texts(texts)
    np.testing.assert_allclose(scores.positive_probability, expected, atol=1e-5)
    assert scores.n_tokens.tolist() == [row["n_tokens"] for row in rows]
    assert scores.n_unknown.tolist() == [row["n_unknown"] for row in rows]
    assert set(scores.status) == {"ok", "truncated", "empty"}
    assert set(scores.sentiment) == {"negative", "neutral", "positive", None}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 1},
        {"num_layers": 3, "embed_size": 4, "hidden_size": 9},
        {"dtype": np.float16},
        {"max_tokens": 7},
        {"decision": Decision(method="platt", slope=0.3, intercept=1.5)},
    ],
    ids=str,
)
def test_the_scorer_agrees_with_the_oracle(options: dict[str, Any]) -> None:
    model = tiny_model(7, **options)
    found = Scorer(model, threads=1, max_batch_tokens=400).score_texts(TEXTS).positive_probability
    expected = reference_probability(model, TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.nanstd(expected) > 0.005


@pytest.mark.parametrize("max_batch_tokens", [1, 50, 333, 16_384])
def test_the_size_of_the_batches_does_not_move_a_score(scorer: Scorer, max_batch_tokens: int) -> None:
    found = Scorer(MODEL, threads=1, max_batch_tokens=max_batch_tokens).score_texts(TEXTS)
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


def test_the_same_texts_give_the_same_scores_again(scorer: Scorer) -> None:
    """Not the same bits: MXNet's kernels round by how their memory is aligned."""
    first, second = (scorer.score_texts(TEXTS).positive_probability for _ in range(2))
    np.testing.assert_allclose(first, second, atol=1e-7, rtol=0)


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

    scores = stub_scorer(Fixed(), model=model).score_texts(["good"] * 7)
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


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 70), max_size=60),
    st.integers(1, 60),
    st.integers(1, 600),
)
def test_batches_hold_every_text_once_and_keep_the_budget(
    lengths: list[int], max_tokens: int, max_batch_tokens: int
) -> None:
    stub = StubEngine()
    scores = lengths_scorer(lengths, stub, max_tokens=max_tokens, max_batch_tokens=max_batch_tokens)
    clipped = [min(length, max_tokens) for length in lengths]
    scored = [int(length) for _, valid_length in stub.batches for length in valid_length if length]
    assert sorted(scored) == sorted(length for length in clipped if length)
    assert scored == sorted(scored, reverse=True)
    step = -(-max_tokens // 20)
    for token_ids, valid_length in stub.batches:
        padded, size = token_ids.shape
        assert (token_ids.dtype, valid_length.dtype, len(valid_length)) == (np.int32, np.int32, size)
        assert padded * size <= max_batch_tokens or size == 1
        assert padded % step == 0
        assert 0 <= padded - max(valid_length) < step
        outside = np.arange(padded)[:, None] >= valid_length
        assert (token_ids[outside] == PADDING_ID).all()
        assert (token_ids[~outside] == MODEL.text.vocabulary.words.index("good")).all()
    # Each logit came back to its own text.
    good = MODEL.text.vocabulary.words.index("good")
    expected = [good * length * (length + 1) / 2000 if length else np.nan for length in clipped]
    np.testing.assert_allclose(scores.positive_probability, 1 / (1 + np.exp(-np.array(expected, float))), rtol=1e-5)


def test_shapes_are_few_whatever_the_lengths() -> None:
    """Each shape is compiled and stays in memory: 20 padded lengths, each with its full batch, and a last one."""
    rng = np.random.default_rng(0)
    stub = StubEngine()
    for n_texts in (5_000, 5_000, 3_000):
        lengths = rng.integers(1, 600, n_texts).tolist()
        lengths_scorer(lengths, stub, max_tokens=500, max_batch_tokens=16_384)
    assert {padded for padded, _ in stub.shapes} <= set(range(25, 501, 25))
    assert len(stub.shapes) <= 20 + 3
    full = {(padded, 16_384 // padded) for padded in range(25, 501, 25)}
    assert all(size & (size - 1) == 0 for _, size in stub.shapes - full)


def test_a_small_group_is_one_batch_of_a_power_of_two() -> None:
    stub = StubEngine()
    lengths_scorer([3, 0, 9, 1, 2, 5], stub, max_tokens=500, max_batch_tokens=16_384)
    assert [(token_ids.shape, valid_length.tolist()) for token_ids, valid_length in stub.batches] == [
        ((25, 8), [9, 5, 3, 2, 1, 0, 0, 0])
    ]


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

    assert np.isfinite(stub_scorer(StubEngine(spoil)).score_texts(["good"] * 5).positive_probability).all()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"engine": "torch"}, "engine must be one of auto, .*, not 'torch'"),
        ({"engine": ""}, "engine must be one of"),
        ({"precision": "int4"}, "precision must be one of float32.*, not 'int4'"),
        ({"device": "gpu"}, "device must be cpu or gpu:N, not 'gpu'"),
        ({"device": "gpu:x"}, "device must be cpu or gpu:N"),
        ({"device": "gpu:-1"}, "device must be cpu or gpu:N"),
        ({"device": "cuda:0"}, "device must be cpu or gpu:N"),
        ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 1, not 0"),
    ],
)
def test_a_wrong_option_is_refused_with_its_value(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Scorer(MODEL, **options)


def test_a_gpu_that_is_not_there_is_a_fault_of_the_environment() -> None:
    with pytest.raises(EnvironmentFault, match="cannot use GPU 63"):
        Scorer(MODEL, engine="mxnet", device="gpu:63")


def test_a_language_model_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot score"):
        Scorer(tiny_model(kind="language_model"))


def test_the_same_texts_get_the_same_bits_whatever_was_scored_between() -> None:
    scorer = Scorer(tiny_model(3, embed_size=6, hidden_size=6))
    texts = random_texts(150, seed=1)
    first = scorer.score_texts(texts).positive_probability
    for seed in range(12):
        scorer.score_texts(random_texts(20 + 13 * seed, seed=seed))
        np.testing.assert_array_equal(scorer.score_texts(texts).positive_probability, first)
