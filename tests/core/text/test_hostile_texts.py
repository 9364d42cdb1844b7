"""Whatever a text holds: ids of the vocabulary, a probability or none, and no exception."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.executor import score_columns
from jobs.tables.scores import WORKER_FIELDS
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.text.familiarity import word_rarity
from tests.support.campaign import Campaign
from tests.support.hostile_texts import ANY_TEXT, BYTES, NASTY, hostile_text
from tests.support.models import tiny_model

SCORER = Scorer(tiny_model(), engine="onnx", precision="float32", threads=1)


def as_bytes(text: str | bytes | None) -> bytes | None:
    return text.encode(errors="surrogatepass") if isinstance(text, str) else text


def as_spark_sends(raw: pa.BinaryArray) -> pa.StringArray:
    """The same bytes called strings, unchecked."""
    validity, offsets, content = raw.buffers()
    return pa.StringArray.from_buffers(len(raw), offsets, content, validity)


def assert_scored(scorer: Scorer, rows: list[str | bytes | None]) -> None:
    """From the text to the columns of the output, in each form in which texts arrive."""
    raw = pa.array(map(as_bytes, rows), pa.binary())
    encoded = scorer.model.text.encode(raw)
    vocabulary = scorer.model.text.vocabulary
    assert len(encoded) == len(rows)
    assert not len(encoded.token_ids) or 0 <= encoded.token_ids.min() <= encoded.token_ids.max() < len(vocabulary)
    assert (encoded.n_tokens >= encoded.valid_length).all()
    assert ((encoded.n_unknown >= 0) & (encoded.n_unknown <= encoded.valid_length)).all()
    assert (encoded.valid_length == np.minimum(encoded.n_tokens, scorer.model.text.settings.max_tokens)).all()

    columns = score_columns(scorer.score_texts(as_spark_sends(raw), mark_failed=True))
    assert list(columns) == WORKER_FIELDS.names
    probability = columns["positive_probability"].to_numpy(zero_copy_only=False)  # NaN for NULL
    empty = encoded.n_tokens == 0
    assert (np.isnan(probability) == empty).all()
    assert ((probability[~empty] >= 0) & (probability[~empty] <= 1)).all()
    status = np.where(empty, "empty", np.where(encoded.n_tokens > encoded.valid_length, "truncated", "ok"))
    if scorer.model.familiarity is not None:
        strange = scorer.model.familiarity.unfamiliar(encoded, word_rarity(vocabulary))
        status = np.where(strange, "unfamiliar", status)
    assert columns["score_status"].to_pylist() == status.tolist()
    assert [label is None for label in columns["sentiment"].to_pylist()] == empty.tolist()
    assert columns["n_tokens"].to_numpy().tolist() == encoded.n_tokens.tolist()

    strings = [row for row in rows if not isinstance(row, bytes)]
    scores = scorer.score_texts(strings)
    places = [index for index, row in enumerate(rows) if not isinstance(row, bytes)]
    np.testing.assert_array_equal(scores.positive_probability, probability[places])


@given(st.lists(st.none() | ANY_TEXT | BYTES, max_size=8))
def test_any_texts_are_scored_or_empty(rows: list[str | bytes | None]) -> None:
    assert_scored(SCORER, rows)


@pytest.mark.integrity
def test_texts_of_faults_are_scored_or_empty(campaign: Campaign) -> None:
    seen: set[str | bytes] = set()
    rng = random.Random(0)
    n_texts = campaign.size(2_000, 100_000)
    while len(seen) < n_texts:
        rows = [hostile_text(rng) for _ in range(250)]
        assert_scored(SCORER, [*rows, None])
        seen.update(rows)
    campaign.record("texts", generated=len(seen), by_type=dict(Counter(type(row).__name__ for row in seen)))


@pytest.mark.integrity
@pytest.mark.parametrize("name", NASTY)
def test_a_text_made_to_break_things_is_scored_or_empty(name: str) -> None:
    text = NASTY[name]
    assert_scored(SCORER, ["good", text, None, b"\xff"])


@pytest.mark.integrity
def test_the_bundled_model_takes_them_all_at_once(campaign: Campaign) -> None:
    longest = campaign.size(20_000, 10**9)
    texts = [text for text in NASTY.values() if text is None or len(text) <= longest]
    assert_scored(Scorer(load_model(bundled_model_path()), threads=1), texts)
