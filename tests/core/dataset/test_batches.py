from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.dataset.batches import Dataset, shuffled_batches
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError
from sentiment_core.text.pipeline import (
    PADDING_ID,
    SENTENCE_ENDS,
    SPECIAL_TOKENS,
    TextPipeline,
    TextSettings,
    Vocabulary,
    build_vocabulary,
)
from tests.support.models import tiny_model
from tests.support.packages import needs_mxnet
from tests.support.runs import labelled_reviews

DATA = labelled_reviews(300, seed=1)
SETTINGS = TextSettings(max_tokens=60)
PIPELINE = TextPipeline(settings=SETTINGS, vocabulary=build_vocabulary([DATA.texts], settings=SETTINGS)[0])
DATASET = Dataset.of(DATA, PIPELINE, name="training")
ENDS = PIPELINE.vocabulary.ids(SENTENCE_ENDS)


def ids_of(dataset: Dataset, index: int) -> list[int]:
    start = dataset.starts[index]
    return dataset.token_ids[start : start + dataset.lengths[index]].tolist()


def test_a_dataset_holds_the_ids_and_the_label_of_each_review() -> None:
    encoded = PIPELINE.encode(DATA.texts)
    assert len(DATASET) == len(DATA)
    assert [ids_of(DATASET, index) for index in range(300)] == [encoded.of(index).tolist() for index in range(300)]
    assert DATASET.positive.tolist() == DATA.positive.astype(float).tolist()
    assert DATASET.rows.tolist() == list(range(300))
    assert DATASET.lengths.max() == 60, "clipped as in scoring"


def test_texts_without_a_token_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    texts = pa.array([None, "good", "", "\u200b", "bad bad", " "])
    with caplog.at_level(logging.INFO):
        dataset = Dataset.of(
            Labelled(texts=texts, positive=np.array([True, False, True, True, True, False])),
            tiny_model().text,
            name="validation",
        )
    assert dataset.rows.tolist() == [1, 4]
    assert dataset.positive.tolist() == [0, 1]
    assert dataset.lengths.tolist() == [1, 2]
    assert caplog.messages == ["4 validation reviews without a token are left out"]


def test_a_teachers_probabilities_stay_as_they_are() -> None:
    probabilities = np.array([0.0, 0.25, 1.0, 0.5, 0.125])
    dataset = Dataset.of(
        Labelled(texts=pa.array(["good"] * 5), positive=probabilities), tiny_model().text, name="teacher's"
    )
    assert dataset.positive.tolist() == probabilities.tolist()
    assert dataset.positive.dtype == np.float32


@pytest.mark.parametrize(
    ("texts", "positive", "says"),
    [
        (["good", "bad"], [True, True], "2 positive reviews of 2"),
        (["good", "bad"], [False, False], "0 positive reviews of 2"),
        (["good", "bad"], [0.6, 0.7], "2 positive reviews of 2"),
        (["good", None, " "], [True, False, False], "1 positive reviews of 1"),
        ([], [], "0 positive reviews of 0"),
        ([None], [True], "0 positive reviews of 0"),
    ],
)
def test_one_class_only_is_refused(texts: list[str | None], positive: list[float], says: str) -> None:
    labelled = Labelled(texts=pa.array(texts, pa.string()), positive=np.array(positive))
    with pytest.raises(InputError, match=f"the training part has {says}; it needs both classes: check --label-column"):
        Dataset.of(labelled, tiny_model().text, name="training")


@given(st.integers(1, 4000), st.integers(1, 30), st.booleans(), st.integers(0, 3))
@needs_mxnet
def test_an_epoch_sees_every_review_once_whatever_the_batches(
    batch_tokens: int, num_buckets: int, shuffle: bool, seed: int
) -> None:
    dataset = replace(DATASET, lengths=DATASET.lengths[:50], starts=DATASET.starts[:50])
    np.random.seed(seed)
    sampler = dataset.sampler(batch_tokens=batch_tokens, num_buckets=num_buckets, shuffle=shuffle)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    assert len(batches) == len(sampler)
    np.random.seed(seed)
    again = dataset.sampler(batch_tokens=batch_tokens, num_buckets=num_buckets, shuffle=shuffle)
    assert list(again) == batches, "NumPy's seed decides"


@needs_mxnet
def test_batches_hold_reviews_of_similar_length_under_the_budget() -> None:
    batches = list(DATASET.sampler(batch_tokens=600, num_buckets=6, shuffle=True))
    padded = [len(batch) * DATASET.lengths[batch].max() for batch in batches]
    assert max(padded) <= 1.1 * 600
    assert sum(padded) < 1.2 * DATASET.lengths.sum(), "little padding"
    assert max(len(batch) for batch in batches) > 3 * min(len(batch) for batch in batches if len(batch) > 1)


@needs_mxnet
def test_a_batch_is_padded_below_its_reviews() -> None:
    batch = [7, 3, 200]
    token_ids, lengths = DATASET.batch(batch)
    assert lengths.tolist() == DATASET.lengths[batch].tolist()
    assert lengths.dtype == np.float32
    assert token_ids.shape == (max(lengths), 3)
    for column, index in enumerate(batch):
        own = ids_of(DATASET, index)
        assert token_ids[:, column].tolist() == own + [PADDING_ID] * (len(token_ids) - len(own))


@pytest.mark.parametrize("share", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("dataset", [DATASET, DATASET.with_others(DATASET)], ids=["reviews", "and others"])
def test_excerpts_are_sentences_of_reviews_with_their_label(dataset: Dataset, share: float) -> None:
    n_reviews = len(dataset)
    more = dataset.with_excerpts(share, sentence_ends=ENDS, seed=3)
    assert len(more) == n_reviews + round(share * n_reviews)
    assert [ids_of(more, index) for index in range(n_reviews)] == [ids_of(dataset, index) for index in range(n_reviews)]
    owners = np.searchsorted(dataset.starts, more.starts, side="right") - 1  # reviews lie one after the other
    for index in range(n_reviews, len(more)):
        owner = owners[index]
        begin, stop = dataset.starts[owner], dataset.starts[owner] + dataset.lengths[owner]
        start, end = more.starts[index], more.starts[index] + more.lengths[index]
        assert begin <= start < end <= stop
        assert (more.rows[index], more.positive[index]) == (dataset.rows[owner], dataset.positive[owner])
        assert end - start <= 40
        assert end == stop or more.token_ids[end - 1] in ENDS or end - start == 40
        assert start == begin or more.token_ids[start - 1] in ENDS or end - start == 5, "else drawn out to 5 tokens"
        assert end - start >= 5 or start == begin


def test_any_sentence_of_a_review_may_be_an_excerpt() -> None:
    settings = TextSettings(max_tokens=100)
    words = "one two three four five six"
    pipeline = TextPipeline(settings=settings, vocabulary=Vocabulary((*SPECIAL_TOKENS, *words.split(), ".", "!", "?")))
    texts = [f"{words}. {words}! {words}? {words}", "one two"]
    dataset = Dataset.of(Labelled(texts=pa.array(texts), positive=np.array([1, 0])), pipeline, name="training")
    more = dataset.with_excerpts(100, sentence_ends=pipeline.vocabulary.ids(SENTENCE_ENDS), seed=1)
    found = {(more.rows[index], more.starts[index], more.lengths[index]) for index in range(2, len(more))}
    # Up to 20 tokens are asked for, and a sentence is never cut.
    assert found == {
        *((0, 0, 7), (0, 0, 14), (0, 0, 21), (0, 7, 7), (0, 7, 14), (0, 7, 20), (0, 14, 7), (0, 14, 13), (0, 21, 6)),
        (1, 27, 2),
    }


def test_a_seed_decides_the_excerpts() -> None:
    one, same, other = (DATASET.with_excerpts(0.5, sentence_ends=ENDS, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(left, right) for left, right in zip(one.arrays(), same.arrays()))
    assert not np.array_equal(one.starts, other.starts)


def test_without_ends_of_sentences_excerpts_are_heads() -> None:
    more = DATASET.with_excerpts(0.5, sentence_ends=np.empty(0, np.int32), seed=1)
    assert more.starts[300:].tolist() == DATASET.starts[more.rows[300:]].tolist()
    assert more.lengths[300:].tolist() == np.minimum(DATASET.lengths[more.rows[300:]], 40).tolist()


def test_others_are_appended() -> None:
    others = Dataset.of(
        Labelled(texts=pa.array(["", "a superb kettle", "bad"]), positive=np.array([0.0, 0.75, 0.25])),
        PIPELINE,
        name="teacher's",
    )
    both = DATASET.with_others(others)
    assert len(both) == 302
    alone = [ids_of(DATASET, index) for index in range(300)]
    assert [ids_of(both, index) for index in range(302)] == [*alone, ids_of(others, 0), ids_of(others, 1)]
    assert both.positive[300:].tolist() == [0.75, 0.25]
    assert both.rows[300:].tolist() == [1, 2]


def test_what_tells_datasets_apart() -> None:
    labels = Labelled(texts=DATA.texts, positive=np.where(DATA.positive, 0.9, 0.2))
    datasets = [DATASET, Dataset.of(labels, PIPELINE, name="a"), DATASET.with_excerpts(0.1, sentence_ends=ENDS, seed=1)]
    contents = {b"".join(array.tobytes() for array in dataset.arrays()) for dataset in datasets}
    assert len(contents) == 3


# Batches of similar length.

LENGTHS = st.lists(st.integers(1, 120), max_size=400)


@given(LENGTHS, st.integers(1, 900), st.integers(0, 5))
def test_each_row_is_in_one_batch_and_no_batch_is_over_its_budget(
    lengths: list[int], batch_tokens: int, seed: int
) -> None:
    array = np.array(lengths, np.int32)
    batches = shuffled_batches(array, batch_tokens=batch_tokens, rng=np.random.default_rng(seed))
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= batch_tokens
    again = shuffled_batches(array, batch_tokens=batch_tokens, rng=np.random.default_rng(seed))
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


def test_batches_are_full_their_texts_alike_and_their_order_random() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, size=20_000)
    first, second = (shuffled_batches(lengths, batch_tokens=4_000, rng=np.random.default_rng(seed)) for seed in (1, 2))
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in first)
    assert lengths.sum() / padded > 0.9, "little padding"
    assert padded / len(first) > 0.9 * 4_000, "few half-empty batches"
    longest = np.array([lengths[batch].max() for batch in first])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.1, "short texts do not come first"
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
