from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.scoring.batching import TokenBatch, token_batches
from sentiment_core.text.pipeline import PADDING_ID, EncodedTexts
from tests.support.models import random_texts, tiny_model

VOCAB_SIZE = 1000

lengths_of_texts = st.lists(st.integers(0, 70), max_size=60)


def encoded_texts(lengths: list[int] | npt.NDArray[np.int64]) -> EncodedTexts:
    """Texts of these lengths; no two tokens in a row are equal, and none is padding."""
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    token_ids = 4 + (np.arange(offsets[-1]) * 7 % (VOCAB_SIZE - 4)).astype(np.int32)
    return EncodedTexts(token_ids=token_ids, offsets=offsets, n_tokens=np.array(lengths, np.int32))


def batches_of(encoded: EncodedTexts, *, max_batch_tokens: int = 16_384, length_step: int = 1) -> list[TokenBatch]:
    return list(token_batches(encoded, max_batch_tokens=max_batch_tokens, length_step=length_step))


def padding_of(batches: list[TokenBatch]) -> int:
    return sum(batch.token_ids.size - int(batch.valid_length.sum()) for batch in batches)


def review_lengths(n_texts: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Lengths spread as those of film reviews are: half between 150 and 350 tokens, a tail that is clipped at 500."""
    return np.random.default_rng(seed).lognormal(5.4, 0.65, n_texts).clip(1, 500).astype(np.int64)


@given(lengths_of_texts, st.integers(1, 600), st.integers(1, 9))
def test_each_text_with_a_token_is_in_one_batch_and_none_without(
    lengths: list[int], max_batch_tokens: int, length_step: int
) -> None:
    encoded = encoded_texts(lengths)
    batches = batches_of(encoded, max_batch_tokens=max_batch_tokens, length_step=length_step)
    rows = [int(row) for batch in batches for row in batch.rows]
    assert sorted(rows) == np.flatnonzero(lengths).tolist()
    found = [int(length) for batch in batches for length in batch.valid_length[: len(batch.rows)]]
    assert found == [lengths[row] for row in rows] == sorted(found, reverse=True)


@given(lengths_of_texts, st.integers(1, 600), st.integers(1, 9))
def test_a_batch_is_what_an_engine_reads(lengths: list[int], max_batch_tokens: int, length_step: int) -> None:
    encoded = encoded_texts(lengths)
    for batch in batches_of(encoded, max_batch_tokens=max_batch_tokens, length_step=length_step):
        padded, size = batch.token_ids.shape
        assert (batch.token_ids.dtype, batch.valid_length.dtype) == (np.int32, np.int32)
        assert batch.valid_length.shape == (size,)
        assert 1 <= len(batch.rows) <= size
        assert not batch.valid_length[len(batch.rows) :].any()
        assert padded % length_step == 0
        assert 0 <= padded - batch.valid_length[0] < length_step
        assert padded * size <= max_batch_tokens or size == 1
        for column, length in enumerate(batch.valid_length):
            ids = encoded.of(batch.rows[column]) if length else []
            np.testing.assert_array_equal(batch.token_ids[:length, column], ids)
            assert (batch.token_ids[length:, column] == PADDING_ID).all()


@given(lengths_of_texts, st.integers(1, 600))
def test_without_a_length_step_nothing_is_filled_up(lengths: list[int], max_batch_tokens: int) -> None:
    for batch in batches_of(encoded_texts(lengths), max_batch_tokens=max_batch_tokens):
        assert batch.token_ids.shape == (batch.valid_length[0], len(batch.rows))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 5000))
def test_padding_has_a_bound(lengths: list[int], max_batch_tokens: int) -> None:
    """A batch of n texts pads at most n (L - L'), where L is its longest and L' that of the next; n <= budget / L."""
    batches = batches_of(encoded_texts(lengths), max_batch_tokens=max_batch_tokens)
    assert padding_of(batches) <= max_batch_tokens * np.log(max(lengths) / min(lengths)) + 1e-6


@pytest.mark.parametrize("n_texts", [3_000, 10_000])
def test_padding_is_a_small_share_of_reviews(n_texts: int) -> None:
    batches = batches_of(encoded_texts(review_lengths(n_texts, seed=n_texts)))
    share = padding_of(batches) / sum(batch.token_ids.size for batch in batches)
    assert share < 0.03


def test_shapes_are_few_whatever_the_lengths() -> None:
    """Each shape is compiled and stays in memory: 20 padded lengths, each with its full batch, and a last one."""
    shapes: set[tuple[int, ...]] = set()
    for n_texts in (5_000, 5_000, 3_000):
        encoded = encoded_texts(review_lengths(n_texts, seed=len(shapes)))
        shapes |= {batch.token_ids.shape for batch in batches_of(encoded, length_step=25)}
    full = {(padded, 16_384 // padded) for padded in range(25, 501, 25)}
    assert len(shapes) <= 20 + 3
    assert len(shapes & full) >= 10
    assert all(padded % 25 == 0 and size & (size - 1) == 0 for padded, size in shapes - full)


def test_a_small_group_is_one_batch_of_a_power_of_two() -> None:
    (batch,) = batches_of(encoded_texts([3, 0, 9, 1, 2, 5]), length_step=25)
    assert (batch.token_ids.shape, batch.valid_length.tolist()) == ((25, 8), [9, 5, 3, 2, 1, 0, 0, 0])
    assert batch.rows.tolist() == [2, 5, 0, 4, 3]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_without_tokens_there_is_no_batch(lengths: list[int]) -> None:
    assert not batches_of(encoded_texts(lengths))


@pytest.mark.parametrize("length_step", [1, 25])
def test_a_text_above_the_budget_is_a_batch_of_its_own(length_step: int) -> None:
    batches = batches_of(encoded_texts([5, 700, 6, 800]), max_batch_tokens=50, length_step=length_step)
    assert [batch.token_ids.shape[1] for batch in batches[:2]] == [1, 1]
    assert [batch.rows.tolist() for batch in batches[:2]] == [[3], [1]]


def test_equal_lengths_keep_their_order() -> None:
    rows = np.concatenate([batch.rows for batch in batches_of(encoded_texts([4] * 30), max_batch_tokens=20)])
    assert rows.tolist() == list(range(30))


def test_ids_are_rows_of_the_embedding() -> None:
    pipeline = tiny_model().text
    texts = [*random_texts(40), "zorblat \ud7ff \U0010ffff <br /> &#8; \0", "the " * 99]
    batches = batches_of(pipeline.encode(pa.array(texts, pa.large_string())), length_step=7)
    ids = np.concatenate([batch.token_ids.ravel() for batch in batches])
    assert 0 <= ids.min() <= ids.max() < len(pipeline.vocabulary)
