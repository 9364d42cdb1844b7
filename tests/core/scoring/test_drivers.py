"""What each token adds is what the oracle says, adds up to the logit, and names the terms that a plain loop finds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.engines.onnx import OnnxEngine
from sentiment_core.errors import NonFiniteError
from sentiment_core.scoring.drivers import CARRY, DRIVERS_TYPE, changes, leaning_words, probes, strongest_terms
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.pipeline import SPECIAL_TOKENS, EncodedTexts, Vocabulary, tokenize
from tests.support.models import random_texts, tiny_model
from tests.support.packages import needs_mxnet
from tests.support.reference import reference_contributions, reference_logit

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed; the extra gpu brings it")
ENGINES = [
    ("onnx", "float32"),
    ("onnx", "int8"),
    pytest.param("mxnet", "float32", marks=needs_mxnet),
    pytest.param("torch", "float32", marks=needs_torch),
]
TEXTS = random_texts(80, seed=11)
MODELS: dict[str, dict[str, Any]] = {
    "usual": {},
    "odd sizes": {"embed_size": 7, "hidden_size": 3},
    "three layers": {"num_layers": 3},
    "half precision": {"dtype": np.float16},
    "short": {"max_tokens": 7},
}


@cache
def scorer_of(name: str, engine: str, precision: str) -> Scorer:
    return Scorer(tiny_model(3, **MODELS[name]), engine=engine, precision=precision, threads=1)


# What each token adds.


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_contributions_and_bias_add_up_to_the_engines_own_logit(name: str, engine: str, precision: str) -> None:
    scorer = scorer_of(name, engine, precision)
    explained = scorer.explain_texts(TEXTS)
    scores = scorer.score_texts(TEXTS)
    encoded = scorer.model.text.encode(pa.array(TEXTS))
    logits = []
    for row, found in enumerate(explained):
        expected = reference_contributions(scorer.model, encoded.of(row))
        assert len(found.contributions) == len(found.changes) == len(expected) == encoded.valid_length[row]
        if found.logit is None:
            assert (found.status, found.sentiment, found.positive_probability) == ("empty", None, None)
            continue
        for split in (found.contributions, found.changes):
            assert split.sum() + found.bias == pytest.approx(found.logit, abs=1e-5)
        if precision == "float32":
            np.testing.assert_allclose(found.contributions, expected, atol=1e-5)
            assert found.logit == pytest.approx(reference_logit(scorer.model, encoded.of(row)), abs=1e-5)
        logits.append(found.logit)
        assert (found.sentiment, found.status) == (scores.sentiment[row], scores.status[row])
    assert np.std(logits) > 0.1
    np.testing.assert_allclose(
        [np.nan if found.positive_probability is None else found.positive_probability for found in explained],
        scores.positive_probability,
        rtol=0.0 if engine == "onnx" else 1e-6,
    )


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_bundled_models_contributions_add_up_on_long_texts(precision: str) -> None:
    scorer = Scorer(load_model(bundled_model_path()), engine="onnx", precision=precision, threads=1)
    long = " ".join(f"{text} ." for text in random_texts(60, seed=2) if text)
    for found in scorer.explain_texts([long, "A great film, and not boring at all!"]):
        assert found.logit is not None
        assert found.contributions.sum() + found.bias == pytest.approx(found.logit, abs=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@given(data=st.data())
def test_naming_drivers_moves_no_score_and_neighbours_move_no_driver(precision: str, data: st.DataObject) -> None:
    scorer = scorer_of("odd sizes", "onnx", precision)
    chosen = data.draw(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=len(TEXTS)))
    scorer.max_batch_tokens = data.draw(st.integers(1, 2_000))
    texts = [TEXTS[index] for index in chosen]
    with_drivers, without = scorer.score_texts(texts, drivers=3), scorer.score_texts(texts)
    np.testing.assert_array_equal(with_drivers.positive_probability, without.positive_probability)
    assert without.drivers is None
    assert with_drivers.drivers is not None
    alone = scorer.score_texts([texts[0]], drivers=3).drivers
    assert alone is not None
    assert with_drivers.drivers[0] == alone[0]


def test_tokens_are_those_of_the_text_pipeline() -> None:
    scorer = scorer_of("short", "onnx", "int8")
    texts = ["It's   great:<br />a ZORBLAT film, isn't it? Yes!", "good", None]
    explained = scorer.explain_texts(texts)
    assert [found.tokens for found in explained] == tokenize(pa.array(texts), settings=scorer.model.text.settings)
    assert explained[0].chunks[:3] == [["it", "'s"], ["great", ":"], ["a"]]
    assert explained[0].status == "truncated"
    scored = [token for chunk in explained[0].scored_chunks() for token, _ in chunk]
    assert scored == explained[0].tokens[:7]


# What each token changed.

floats = st.floats(-5, 5, width=32)
split_texts = st.lists(st.lists(floats, max_size=12), max_size=8)


def encoded_of(ids: list[list[int]], *, dtype: Any = np.int32) -> EncodedTexts:
    lengths = np.array([len(text) for text in ids], np.int32)
    return EncodedTexts(
        token_ids=np.array([token for text in ids for token in text], dtype),
        offsets=np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        n_tokens=lengths,
    )


@given(texts=split_texts)
def test_changes_add_up_to_the_contributions_of_their_text(texts: list[list[float]]) -> None:
    flat = np.array([value for text in texts for value in text], np.float32)
    encoded = encoded_of([[0] * len(text) for text in texts])
    found = changes(flat, encoded)
    for index, text in enumerate(texts):
        part = found[encoded.offsets[index] : encoded.offsets[index + 1]]
        assert part.sum() == pytest.approx(sum(text), abs=1e-4)
        state = 0.0
        for position, value in enumerate(text):  # what is new, carried on to the end
            carried = sum((value - CARRY * state) * CARRY**step for step in range(len(text) - position))
            assert part[position] == pytest.approx(carried, abs=1e-4)
            state = value


# The strongest terms.

WORDS = ("good", "bad", "plot", "the", "don't", ",", "...", "10/10")
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *WORDS))
FIRST = len(SPECIAL_TOKENS)
LEANING = np.array([False] * FIRST + [True, True, True, False, False, False, False, True])


def plain_terms(ids: list[int], changed: npt.NDArray[np.float64], n_terms: int) -> list[tuple[str, str, float]]:
    """One text by dictionaries and loops."""
    words: dict[tuple[int, ...], float] = {}
    pairs: dict[tuple[int, ...], float] = {}
    spelled = {
        token: word for token, word in enumerate(VOCABULARY.words) if token >= FIRST and word not in (",", "...")
    }
    for token, change in zip(ids, changed):
        if LEANING[token]:
            words[(token,)] = words.get((token,), 0.0) + change
    for (left, change), (right, other) in zip(zip(ids, changed), list(zip(ids, changed))[1:]):
        if left in spelled and right in spelled and (LEANING[left] or LEANING[right]):
            pairs[left, right] = pairs.get((left, right), 0.0) + (change + other)
    return [
        (kind, " ".join(spelled[token] for token in term), sums[term])
        for kind, sums in (("word", words), ("pair", pairs))
        for term in sorted(sums, key=lambda term, sums=sums: (-abs(sums[term]), term))[:n_terms]
    ]


@given(
    texts=st.lists(
        st.lists(st.tuples(st.integers(0, len(VOCABULARY) - 1), st.sampled_from([1.0, -1.0, 0.5, 0.25]) | floats)),
        max_size=6,
    ),
    n_terms=st.integers(1, 4),
    dtype=st.sampled_from([np.int32, np.uint16]),
)
def test_the_strongest_terms_are_those_of_a_plain_loop(texts: Any, n_terms: int, dtype: Any) -> None:
    ids = [[token for token, _ in text] for text in texts]
    changed = np.array([change for text in texts for _, change in text], np.float64)
    encoded = encoded_of(ids, dtype=dtype)
    options = {"vocabulary": VOCABULARY, "leaning": LEANING, "n_terms": n_terms}
    found = strongest_terms(encoded, changed, **options)
    assert found.type == DRIVERS_TYPE
    assert len(found) == len(texts)
    for index, text in enumerate(ids):
        part = changed[encoded.offsets[index] : encoded.offsets[index + 1]]
        assert [tuple(driver.values()) for driver in found[index].as_py()] == plain_terms(text, part, n_terms)


def test_a_word_leans_if_it_moves_the_state_after_a_full_stop() -> None:
    moves = dict(zip(WORDS, (3.0, -3.0, 0.5, 0.1, np.nan, 9.0, -9.0, 2.0)))
    contributions = np.array([[1.0, 1.0 + moves.get(word, 9.0)] for word in VOCABULARY.words])
    leaning = leaning_words(VOCABULARY, contributions)
    assert [word for word, does in zip(VOCABULARY.words, leaning) if does] == ["good", "bad", "10/10"]
    stop = Vocabulary((*SPECIAL_TOKENS, "good", "."))
    assert probes(stop).token_ids.reshape(-1, 2).tolist() == [[5, token] for token in range(6)]
    assert probes(VOCABULARY).token_ids[0] == 0


def test_in_the_bundled_model_words_of_praise_and_blame_lean_and_function_words_do_not() -> None:
    scorer = Scorer(load_model(bundled_model_path()), threads=1)
    words = scorer.model.text.vocabulary.words
    leaning = {word for word, does in zip(words, scorer.leaning) if does}
    assert {"great", "excellent", "wonderful", "bad", "worst", "awful", "boring", "waste", "poor"} <= leaning
    assert not leaning & {"the", "a", "and", "of", "to", "is", "it", "in", "that", "was", "with", "as", "on", ",", "."}
    drivers = scorer.score_texts(["The plot is a waste of time, but it has a great score."], drivers=2).drivers
    assert drivers is not None
    assert {driver["term"] for driver in drivers[0].as_py() if driver["kind"] == "word"} == {"waste", "great"}


def test_there_are_no_drivers_where_there_is_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(tiny_model(3), engine="onnx", threads=1)
    bad = scorer.model.text.vocabulary.words.index("worst")
    original = OnnxEngine.contributions

    def poisoned(self: OnnxEngine, token_ids: Any, valid_length: Any) -> Any:
        found = original(self, token_ids, valid_length)
        found[(token_ids == bad).any(axis=0)] = np.nan
        return found

    monkeypatch.setattr(OnnxEngine, "contributions", poisoned)
    texts = ["good film", "", "the worst plot", "great"]
    scores = scorer.score_texts(texts, mark_failed=True, drivers=2)
    assert scores.status.tolist() == ["ok", "empty", "failed", "ok"]
    assert scores.drivers is not None
    assert scores.drivers.is_null().to_pylist() == np.isnan(scores.positive_probability).tolist()
    with pytest.raises(NonFiniteError):
        scorer.explain_texts(texts)


def test_a_model_in_which_no_word_leans_has_no_drivers() -> None:
    model = tiny_model(3)
    model = replace(model, weights={name: np.zeros_like(tensor) for name, tensor in model.weights.items()})
    drivers = Scorer(model, engine="onnx", threads=1).score_texts(["good film"], drivers=2).drivers
    assert drivers is not None
    assert all(driver["contribution"] == 0 for driver in drivers[0].as_py())


def test_an_engine_in_a_process_of_its_own_gives_the_same_drivers() -> None:
    model = tiny_model(3)
    texts = TEXTS[:20]
    found, expected = (
        Scorer(model, engine="onnx", threads=1, isolated=isolated).score_texts(texts, drivers=3).drivers
        for isolated in (True, False)
    )
    assert found == expected
