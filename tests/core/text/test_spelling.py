from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.text.pipeline import SPECIAL_TOKENS, UNKNOWN_ID, TextPipeline, TextSettings, Vocabulary
from sentiment_core.text.spelling import Spelling
from tests.support.models import tiny_model

KNOWN = (
    *("good", "great", "the", "bad", "food", "terrible", "really", "form", "from", "love", "so", "women", "gender"),
    "loose",
)
WORDS = (*SPECIAL_TOKENS, *KNOWN)
SPELLING = Spelling(WORDS, unknown_id=UNKNOWN_ID)


def found(word: str) -> str:
    (index,) = SPELLING.ids([word])
    return WORDS[index]


@pytest.mark.parametrize(
    ("slip", "word"),
    [
        *(("graet", "great"), ("terribel", "terrible"), ("ogod", "good"), ("foodd", "food"), ("grreat", "great")),
        *(("goood", "good"), ("goooooooood", "good"), ("loveeee", "love"), ("sooooo", "so"), ("reallllyyy", "really")),
        *(("terrirble", "terrible"), ("baddd", "bad")),
    ],
)
def test_a_slip_is_its_word(slip: str, word: str) -> None:
    assert found(slip) == word


@pytest.mark.parametrize(
    "word",
    [
        *("agender", "xgood", "gxod", "bda", "tehh5", "grëat", "<unk>", "", "do", "goo-d", "lo'ove", "x" * 21, "zzzz"),
        *("loves", "geart", "aaabbbcccddd"),
    ],
)
def test_no_letter_is_guessed(word: str) -> None:
    assert found(word) == "<unk>"


def test_the_more_frequent_of_two_words_is_taken() -> None:
    assert found("fomr") == "form"


@given(st.sampled_from([word for word in KNOWN if len(word) >= 4]), st.data())
def test_a_swap_gives_a_word_that_differs_by_a_swap(word: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(word) - 2))
    slip = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    swaps = [slip[:i] + slip[i + 1] + slip[i] + slip[i + 2 :] for i in range(len(slip) - 1)]
    assert found(slip) == min((known for known in KNOWN if known in swaps), key=KNOWN.index)


@given(st.lists(st.text(string.ascii_lowercase, max_size=9)))
def test_words_are_looked_up_one_by_one(words: list[str]) -> None:
    together = SPELLING.ids(words)
    assert together.dtype == np.int32
    assert together.tolist() == [int(Spelling(WORDS, unknown_id=UNKNOWN_ID).ids([word])[0]) for word in words]


def test_a_pipeline_undoes_slips_where_its_setting_says_so() -> None:
    texts = pa.array(["The fodo was graet", "qwertz"])
    expected = {True: ["the", "food", "<unk>", "great"], False: ["the", "<unk>", "<unk>", "<unk>"]}
    for setting, undone in ((True, True), (False, False), (None, False)):
        pipeline = TextPipeline(settings=TextSettings(undo_slips=setting), vocabulary=Vocabulary(WORDS))
        encoded = pipeline.encode(texts)
        assert [WORDS[index] for index in encoded.of(0)] == expected[undone]
        assert encoded.of(1).tolist() == [UNKNOWN_ID]


def test_a_model_that_was_written_before_the_settings_reads_texts_as_before() -> None:
    model = tiny_model()
    old = replace(model, text=replace(model.text, settings=TextSettings(skip_addresses=None, undo_slips=None)))
    new = replace(model, text=replace(model.text, settings=TextSettings()))
    texts = pa.array(["@shop good"])
    assert old.text.encode(texts).n_tokens.tolist() == [3]
    assert new.text.encode(texts).n_tokens.tolist() == [1]
