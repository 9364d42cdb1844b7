from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.text.sentences import cut_sentences

# Words and ends, glued in all ways; long words make sentences that are too long.
PIECES = [
    "good film",
    "not what I expected",
    "ok",
    "a" * 290,
    ".",
    "!?",
    "…",
    '." ',
    ". ",
    " ",
    "\n",
    "<br />",
    "é",
    "B",
]
TEXTS = st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=8)


def cut(*texts: str | None, per_text: int = 100, seed: int = 1) -> list[str]:
    return cut_sentences(pa.array(texts, pa.string()), per_text=per_text, seed=seed).to_pylist()


@given(TEXTS, st.integers(0, 4), st.integers(0, 3))
def test_sentences_are_parts_of_the_texts(texts: list[str | None], per_text: int, seed: int) -> None:
    found = cut(*texts, per_text=per_text, seed=seed)
    assert cut(*texts, per_text=per_text, seed=seed) == found, "the seed decides"
    assert len(set(found)) == len(found) <= per_text * len(texts)
    for sentence in found:
        assert 12 <= len(sentence) <= 300
        assert sentence.strip() == sentence
        assert not set(sentence) & {"\n", "\r"}
        assert any(text is not None and sentence in text and sentence != text.strip() for text in texts)
    assert set(found) <= set(cut(*texts)), "fewer of each text are some of all"


@settings(max_examples=25)
@given(TEXTS)
def test_a_text_alone_gives_what_it_gives_among_others(texts: list[str | None]) -> None:
    assert set(cut(*texts)) == {sentence for text in texts for sentence in cut(text)}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("I loved the film. But the end was weak!", ["I loved the film.", "But the end was weak!"]),
        ("I loved the film.But the end was weak!", ["I loved the film.", "But the end was weak!"]),
        ("I loved the film<br /><br />But the end was weak", ["I loved the film", "But the end was weak"]),
        ('He said "never again!" Then he left it.', ['He said "never again!"', "Then he left it."]),
        ("A first line of it\r\na second line of it", ["A first line of it", "a second line of it"]),
        ("It has 3.5 stars at v1.2 of the app", []),
        ("This is one sentence and no more. ", []),
        ("This is one sentence and no more.\n\n<br>", []),
        ("Good. This is long enough.", ["This is long enough."]),
        (f"This is long enough. {'x' * 301}", ["This is long enough."]),
        (None, []),
        ("", []),
    ],
)
def test_where_texts_are_cut(text: str | None, sentences: list[str]) -> None:
    assert sorted(cut(text)) == sorted(sentences)


def test_the_seed_chooses() -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(40))
    first, second = cut(text, per_text=5, seed=1), cut(text, per_text=5, seed=2)
    assert len(first) == len(second) == 5
    assert first != second


def test_no_text_gives_no_sentence() -> None:
    found = cut_sentences(pa.chunked_array([], pa.string()), per_text=2, seed=1)
    assert len(found) == 0
    assert found.type == pa.large_string()
