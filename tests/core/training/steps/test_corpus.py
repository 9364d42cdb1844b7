from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.text.pipeline import END_ID, SPECIAL_TOKENS, TextPipeline, TextSettings, Vocabulary
from sentiment_core.training.steps import corpus
from sentiment_core.training.steps.corpus import Corpus, WordSampler

PIPELINE = TextPipeline(settings=TextSettings(), vocabulary=Vocabulary((*SPECIAL_TOKENS, "a", "b")))
ROWS = st.lists(st.lists(st.integers(4, 99), max_size=6), min_size=1, max_size=8)


def corpus_of(rows: list[list[int]]) -> Corpus:
    """Texts of the given ids, each with its end."""
    with_ends = [[*row, END_ID] for row in rows]
    return Corpus(
        token_ids=np.array([token for row in with_ends for token in row], np.uint16),
        offsets=np.cumsum([0] + [len(row) for row in with_ends]),
    )


def test_each_text_is_followed_by_its_end() -> None:
    batches = [pa.array(["a b", None, "b"]), pa.array([], pa.string()), pa.array(["", "a x"])]
    corpus = Corpus.encode(batches, PIPELINE)
    assert corpus.token_ids.tolist() == [4, 5, END_ID, END_ID, 5, END_ID, END_ID, 4, 0, END_ID]
    assert corpus.offsets.tolist() == [0, 3, 4, 6, 7, 10]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "a b x", "", None]), max_size=5), max_size=5))
def test_how_texts_come_in_batches_does_not_matter(batches: list[list[str | None]]) -> None:
    corpus = Corpus.encode([pa.array(batch, pa.string()) for batch in batches], PIPELINE)
    whole = Corpus.encode([pa.array([text for batch in batches for text in batch], pa.string())], PIPELINE)
    np.testing.assert_array_equal(corpus.token_ids, whole.token_ids)
    np.testing.assert_array_equal(corpus.offsets, whole.offsets)


@pytest.mark.parametrize(("n_words", "kind"), [(2, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.int32)])
def test_a_token_takes_two_bytes_where_the_vocabulary_allows_it(n_words: int, kind: Any) -> None:
    words = tuple(f"w{number}" for number in range(n_words - len(SPECIAL_TOKENS))) or ("a",)
    pipeline = TextPipeline(settings=TextSettings(), vocabulary=Vocabulary(SPECIAL_TOKENS + words))
    corpus = Corpus.encode([pa.array([f"nothing {words[-1]}"])], pipeline)
    assert corpus.token_ids.dtype == kind
    assert corpus.token_ids.tolist() == [0, len(words) + 3, END_ID]


@given(ROWS, st.integers(1, 4), st.randoms())
def test_lanes_are_the_texts_in_their_order_cut_into_equal_parts(
    rows: list[list[int]], n_lanes: int, random: Any
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    stream = [token for index in order for token in [*rows[index], END_ID]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "TEXTS_AT_ONCE", 3)
        lanes = corpus_of(rows).lanes(n_lanes, order=np.array(order))
    length = len(stream) // n_lanes
    assert lanes.shape == (length, n_lanes)
    assert lanes.T.ravel().tolist() == stream[: length * n_lanes]
    assert lanes.dtype == np.uint16


def test_no_text_fills_no_lane() -> None:
    corpus = Corpus.encode([], PIPELINE)
    assert (len(corpus.token_ids), corpus.offsets.tolist()) == (0, [0])
    assert corpus.lanes(3, order=np.arange(0)).shape == (0, 3)


@given(ROWS, st.integers(1, 50), st.integers(0, 9))
def test_sampled_words_are_of_the_vocabulary_and_follow_from_the_seed(
    rows: list[list[int]], negatives: int, seed: int
) -> None:
    sampler = WordSampler.of(corpus_of(rows), vocab_size=100, negatives=negatives)
    drawn, again = (sampler.draw(np.random.default_rng(seed)) for _ in range(2))
    assert drawn.shape == (negatives,)
    assert drawn.dtype == np.int32
    assert ((drawn >= 0) & (drawn < 100)).all()
    np.testing.assert_array_equal(drawn, again)
    counts = np.bincount(np.array([token for row in rows for token in [*row, END_ID]]), minlength=100) + 1
    np.testing.assert_allclose(np.exp(sampler.log_unigram), counts / counts.sum(), rtol=1e-5)
    expected = negatives * counts**0.75 / (counts**0.75).sum()
    np.testing.assert_allclose(np.exp(sampler.log_draws), expected, rtol=1e-5)


def test_a_draw_at_the_very_end_is_the_last_word() -> None:
    """Rounding may leave the cumulative probability below 1."""
    sampler = WordSampler.of(corpus_of([[4]]), vocab_size=100, negatives=3)
    short = WordSampler(
        negatives=3,
        cumulative=sampler.cumulative * (1 - 1e-9),
        log_draws=sampler.log_draws,
        log_unigram=sampler.log_unigram,
    )

    class Last:
        def random(self, n: int) -> Any:
            return np.full(n, np.nextafter(1.0, 0.0))

    assert short.draw(Last()).tolist() == [99, 99, 99]  # type: ignore[arg-type]
