from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment_core.errors import InputError, ModelError, UsageError
from sentiment_core.text.pipeline import (
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    EncodedTexts,
    TextSettings,
    Vocabulary,
    build_vocabulary,
    encode,
    tokenize,
    valid_utf8,
)
from tests.support.hostile_texts import BYTES, TEXTS
from tests.support.models import WORDS, tiny_model
from tests.support.naive_tokenizer import TAGS, naive_tokens

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *WORDS))
PIPELINE = tiny_model().text
MODES = {"lower": TextSettings(), "cased": TextSettings(lower_case=False, skip_addresses=False)}

ROWS = st.lists(st.none() | TEXTS, max_size=8)


def tokens(*texts: str | bytes | None, lower_case: bool = True) -> list[list[str]]:
    kind = pa.large_binary() if any(isinstance(text, bytes) for text in texts) else pa.large_string()
    return tokenize(pa.array(texts, kind), settings=TextSettings(lower_case=lower_case))


def same(left: EncodedTexts, right: EncodedTexts) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("token_ids", "offsets", "n_tokens", "valid_length", "n_unknown")
    )


# The policy, by example.


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", " ", "\t\r\n\v\f", "\u00a0\u2003\u3000\u2028", "\u200b\ufeff\u2060\u200e", "\0\0", "\ufffd"),
        *("<br /><br/>", "&nbsp;", "&zwj;", "\ufe0f\u20e3\U0001f3fd", " " * 1_000_000),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_a_text_without_content_has_no_tokens(text: str | None) -> None:
    assert tokens(text) == [[]]
    encoded = PIPELINE.encode(pa.array([text], pa.string()))
    assert (len(encoded), encoded.n_tokens[0], encoded.valid_length[0], encoded.n_unknown[0]) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # case, contractions, apostrophes
        ("I DIDN'T like it", "i did n't like it"),
        ("don't can't ain't n't", "do n't ca n't ai n't n't"),
        ("It's we're I've she'll I'd I'm", "it 's we 're i 've she 'll i 'd i 'm"),
        ("couldn't've", "could n't 've"),
        ("rock'n'roll o'clock 'tis dogs'", "rock'n'roll o'clock ' tis dogs '"),
        ("don’t don‘t don`t don´t donʼt don＇t", "do n't do n't do n't do n't do n't do n't"),
        # quotes and dashes
        ("“so-called” ‘art’ «bon» „gut‟", "\" so - called \" ' art ' \" bon \" \" gut \""),
        ("''quoted''", '" quoted "'),
        ("good—bad good–bad good−bad good―bad", "good -- bad good - bad good - bad good -- bad"),
        # numbers
        ("10/10 7.5 1,000.50 3. .5 24/7, 2001", "10/10 7.5 1,000.50 3 . . 5 24/7 , 2001"),
        ("½ ² ①", "1/2 2 1"),
        # marks
        ("good!bad?ugly.", "good ! bad ? ugly ."),
        ("wow!!!!! what??? no.... so-- a---b x***y", "wow !! what ?? no ... so -- a -- b x ** y"),
        ("?!?! wait… ‼", "? ! ? ! wait ... !!"),
        ("(good) [bad] {ugly} a/b a&b 5%", "( good ) [ bad ] { ugly } a / b a & b 5 %"),
        (":) :( :-) ;-( =) :))) :D", ":) :( :-) ;-( =) :) ) ) : d"),
        ("snake_case", "snake_case"),
        # HTML
        ("good<br /><br/>bad<BR>ugly</p>", "good bad ugly"),
        ('<a href="http://x.org">here</a> <h1 class=x>now</h1>', "here now"),
        ("I <3 it, 1 < 2 > 0, <bra> <b", "i < 3 it , 1 < 2 > 0 , < bra > < b"),
        ("&quot;good&quot; &amp; cheap &#39;n&#x27; nice&hellip;", "\" good \" & cheap ' n ' nice ..."),
        ("&lt;br&gt; &amp;lt; &amp;amp;", "& lt ; & amp ;"),
        ("AT&T R&B &bogus; &#0;x", "at & t r & b & bogus ; x"),
        # control, format and other invisible characters
        ("a\0b a\x07b a\x85b a\x1fb", "a b a b a b a b"),
        ("gre\u200bat gre\u00adat \ufeffgood", "great great good"),
        ("\u202egood\u202c go\u200dod \u2066good\u2069", "good good good"),
        ("a\u00a0b a\u2028b a\u3000b a\u1680b", "a b a b a b a b"),
        ("葛\U000e0100 葛\ufe00", "葛 葛"),
        # emoji
        ("good👍bad", "good 👍 bad"),
        ("👍🏽👍🏿 👩🏽‍🚀", "👍 👍 👩 🚀"),
        ("👨‍👩‍👧‍👦 🏳️‍🌈 ❤️ ❤", "👨 👩 👧 👦 🏳 🌈 ❤ ❤"),
        ("🇩🇪🇫🇷 🇩🇪🇫", "🇩🇪 🇫🇷 🇩🇪 🇫"),
        ("1️⃣ #️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1 # 🏴"),
        # full width, ligatures, other scripts
        ("ＧＯＯＤ　ｆｉｌｍ！　１０／１０", "good film ! 10/10"),
        ("ﬁlm ℃", "film ° c"),
        ("Ελλάδα Россия שלום 星星", "ελλα\u0301δα россия שלום 星星"),
    ],
)  # fmt: skip
def test_the_policy(text: str, expected: str) -> None:
    assert tokens(text) == [expected.split()]


def test_accents_are_marks_inside_their_word_however_they_were_typed() -> None:
    assert tokens("Café", "cafe\u0301") == [["cafe\u0301"], ["cafe\u0301"]]


def test_case_is_kept_if_the_settings_say_so() -> None:
    assert tokens("The BEST, Don't!", lower_case=False) == [["The", "BEST", ",", "Do", "n't", "!"]]


def test_only_unknown_words_are_scored_as_unknown() -> None:
    encoded = PIPELINE.encode(pa.array(["zorblat xqzt brundle"]))
    assert encoded.of(0).tolist() == [UNKNOWN_ID] * 3
    assert (encoded.n_tokens[0], encoded.n_unknown[0]) == (3, 3)


def test_the_text_of_a_special_token_is_not_the_token() -> None:
    encoded = PIPELINE.encode(pa.array(["<pad> <unk> <bos> <eos>"]))
    assert set(encoded.token_ids) == {UNKNOWN_ID}
    assert encoded.n_tokens[0] == 12


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([b"good \xff\xfe bad"], [["good", "bad"]]),
        ([b"\xff", None, b"good\xe2\x82"], [[], [], ["good"]]),
        ([None, b"\xe2", b"\x82\xac good", None], [[], [], ["good"], []]),
        ([b"\xed\xa0\x80good", b"\xc0\x80bad", b"\xf5good"], [["good"], ["bad"], ["good"]]),
        ([b"good\0\xffbad", b""], [["good", "bad"], []]),
        ([None, None, b"\x80"], [[], [], []]),
    ],
)
def test_bytes_that_are_not_utf8_are_spaces_and_stay_in_their_row(
    rows: list[bytes | None], expected: list[list[str]]
) -> None:
    assert tokens(*rows) == expected
    assert tokenize(pa.array([b"x", *rows, b"\xff y"]).slice(1, len(rows)), settings=TextSettings()) == expected


def test_a_string_array_may_hold_invalid_utf8() -> None:
    valid = pa.array([b"good \xffbad", None, b"\xe2\x82"])
    invalid = pa.StringArray.from_buffers(3, valid.buffers()[1], valid.buffers()[2], valid.buffers()[0])
    assert tokenize(invalid, settings=TextSettings()) == [["good", "bad"], [], []]


@pytest.mark.parametrize(
    ("text", "n_tokens"),
    [
        ("a" * 1_000_000, 1),
        ("é" * 500_000, 1),
        ("It's a good film. " * 600_000, 6 * 600_000),
        ("<" * 1_000_000, 1_000_000),
        ("&amp" * 250_000 + "&amp;", 250_001),
        ("<b " * 100_000, 200_000),
        ("👍🏽" * 200_000, 200_000),
        ("'" * 999_999, 500_000),
        ("\u0301" * 300_000, 1),
    ],
    ids=["1 MB word", "accents", "10 MB review", "angles", "ampersands", "open tags", "emoji", "quotes", "marks"],
)
def test_huge_texts_pass(text: str, n_tokens: int) -> None:
    encoded = PIPELINE.encode(pa.array(["good", text, "bad"]))
    assert encoded.n_tokens.tolist() == [1, n_tokens, 1]
    assert encoded.valid_length.tolist() == [1, min(n_tokens, PIPELINE.settings.max_tokens), 1]


# Arrow's ways to hold the same texts.

HELD = ["x", "It's good", None, "", "zorblat!", "x"]


@pytest.mark.parametrize(
    "held",
    [
        pa.array(HELD),
        pa.array(HELD, pa.large_string()),
        pa.array(HELD, pa.string_view()),
        pa.array([row if row is None else row.encode() for row in HELD], pa.binary()),
        pa.array([row if row is None else row.encode() for row in HELD], pa.large_binary()),
        pa.array(HELD).dictionary_encode(),
        pa.array(HELD, pa.large_string()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, 4, None], pa.int8()), pa.array([*HELD[:5]])),
        pa.chunked_array([HELD[:2], [], HELD[2:]], pa.string()),
        pa.chunked_array([pa.array(HELD[:3]).dictionary_encode(), pa.array(HELD[3:]).dictionary_encode()]),
        pa.chunked_array([pa.array(HELD[:3], pa.string_view()), pa.array(HELD[3:], pa.string_view())]),
    ],
    ids=lambda held: f"{type(held).__name__} {held.type}",
)
def test_every_arrow_string_type_gives_the_same_ids_sliced_or_not(held: pa.Array | pa.ChunkedArray) -> None:
    expected = [naive_tokens(row) for row in HELD]
    for start, stop in ((1, 5), (2, 3), (1, 1), (0, 5)):
        part = held.slice(start, stop - start)
        assert tokenize(part, settings=TextSettings()) == expected[start:stop]
        assert same(PIPELINE.encode(part), PIPELINE.encode(pa.array(HELD[start:stop], pa.string())))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()])
def test_chunks_become_one_array_of_a_kind_that_does_not_end_at_2_gib(kind: pa.DataType) -> None:
    last = b"b\xffd" if "binary" in str(kind) else "bad"
    chunks = pa.chunked_array([pa.array(["good", None], kind), pa.array([last], kind)])
    expected = ["good", None, "b\ufffdd" if isinstance(last, bytes) else last]
    assert valid_utf8(chunks) == pa.array(expected, pa.large_string())


@pytest.mark.parametrize("n_rows", [0, 1, 3])
@pytest.mark.parametrize(
    "kind",
    [pa.null(), pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_arrays_of_nothing(kind: pa.DataType, n_rows: int) -> None:
    for nothing in (pa.nulls(n_rows, kind), pa.chunked_array([pa.nulls(n_rows, kind)]), pa.nulls(n_rows + 2, kind)[2:]):
        encoded = PIPELINE.encode(nothing)
        assert encoded.n_tokens.tolist() == encoded.valid_length.tolist() == encoded.n_unknown.tolist() == [0] * n_rows
        assert encoded.offsets.tolist() == [0] * (n_rows + 1)
        assert (encoded.token_ids.dtype, encoded.n_tokens.dtype) == (np.uint16, np.int32)
    assert len(PIPELINE.encode(pa.chunked_array([], kind))) == 0


@pytest.mark.parametrize("wrong", [pa.array([1]), pa.array([["a"]]), pa.array([b"a"], pa.binary(1)), pa.array([1.5])])
def test_what_is_no_text_is_refused_by_its_type(wrong: pa.Array) -> None:
    with pytest.raises(InputError, match=r"texts must be strings, not .*; cast the text column"):
        PIPELINE.encode(wrong)


# Properties.


@settings(max_examples=6 * settings.default.max_examples)
@given(TEXTS)
def test_the_tokens_are_those_of_the_naive_tokenizer(text: str) -> None:
    for mode in MODES.values():
        (found,) = tokenize(pa.array([text], pa.large_string()), settings=mode)
        assert found == naive_tokens(text, lower_case=mode.lower_case, skip_addresses=bool(mode.skip_addresses))


PIECES_OF_ADDRESSES = (
    *(
        "http://",
        "HTTPS://x.org/a?b=c",
        "www.",
        "www.a.b",
        "ftp://f",
        "@",
        "@name_1",
        "@1",
        "me@mail.example.org",
        "a@b",
    ),
    *(
        " ",
        "\u00a0",
        "\u3000",
        "\t",
        "\x0b",
        "(",
        '"',
        "'",
        ".",
        ",",
        "-",
        "good",
        "Éa",
        "ﬁ",
        "1",
        "_",
        "<br>",
        "&amp;",
    ),
)
ADDRESSES = st.lists(st.sampled_from(PIECES_OF_ADDRESSES), max_size=12).map("".join)


@settings(max_examples=5 * settings.default.max_examples)
@given(ADDRESSES)
def test_addresses_are_those_of_the_naive_tokenizer(text: str) -> None:
    for mode in MODES.values():
        (found,) = tokenize(pa.array([text], pa.large_string()), settings=mode)
        assert found == naive_tokens(text, lower_case=mode.lower_case, skip_addresses=bool(mode.skip_addresses))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://shop.example/x?y=1 now", "see now"),
        ("WWW.Shop.example is good", "is good"),
        ("@shop_1 good (@shop) '@me'", "good ( ) ' '"),
        ("write to me.you+1@mail.example.org today", "write to today"),
        ("half @ price, 2 @5, a@b", "half @ price , 2 @ 5 , a @ b"),
        ("https://shop.example\u00a0is bad", "is bad"),
    ],
)
def test_addresses_are_no_words(text: str, expected: str) -> None:
    assert tokens(text) == [expected.split()]
    kept = tokenize(pa.array([text]), settings=TextSettings(skip_addresses=False))
    assert kept == [naive_tokens(text, skip_addresses=False)]


@settings(max_examples=100)
@given(st.lists(st.none() | BYTES, max_size=6))
def test_any_bytes_give_the_tokens_of_the_naive_tokenizer(rows: list[bytes | None]) -> None:
    assert tokenize(pa.array(rows, pa.binary()), settings=TextSettings()) == [naive_tokens(row) for row in rows]


@settings(max_examples=80)
@given(ROWS)
@example(["a &x", "y&amp; b", "&am", "p;", "&lt", "br&gt;"])
def test_a_text_has_the_same_ids_alone_and_in_company(rows: list[str | None]) -> None:
    together = PIPELINE.encode(pa.array(rows, pa.string()))
    alone = [PIPELINE.encode(pa.array([row], pa.string())) for row in rows]
    assert len(together) == len(rows)
    for index, single in enumerate(alone):
        assert together.of(index).tolist() == single.token_ids.tolist()
        assert together.n_tokens[index] == single.n_tokens[0]
        assert together.n_unknown[index] == single.n_unknown[0]


@given(ROWS)
def test_ids_counts_and_offsets_fit_together(rows: list[str | None]) -> None:
    # Slips have an oracle of their own.
    pipeline = replace(PIPELINE, settings=replace(PIPELINE.settings, undo_slips=False))
    encoded = pipeline.encode(pa.array(rows, pa.string()))
    assert ((encoded.token_ids >= 0) & (encoded.token_ids < len(PIPELINE.vocabulary))).all()
    assert encoded.offsets[0] == 0
    assert encoded.offsets[-1] == len(encoded.token_ids)
    assert encoded.valid_length.tolist() == [len(encoded.of(index)) for index in range(len(rows))]
    for index, row in enumerate(rows):
        words = naive_tokens(row)
        known = [VOCABULARY.words.index(word) if word in WORDS else UNKNOWN_ID for word in words]
        assert encoded.of(index).tolist() == known[: PIPELINE.settings.max_tokens]
        assert encoded.n_tokens[index] == len(words)
        assert encoded.n_unknown[index] == known[: PIPELINE.settings.max_tokens].count(UNKNOWN_ID)


@given(TEXTS, TEXTS)
def test_tokens_of_two_texts_joined_by_a_space_are_those_of_both(left: str, right: str) -> None:
    # An entity with its semicolon has the others of its text decoded, and a tag may span the space.
    left, right = (text.replace("&", "").replace("<", "") for text in (left, right))
    both, first, second = tokens(f"{left} {right}", left, right)
    assert both == first + second


@given(ROWS, st.integers(1, 12))
def test_clipping_keeps_the_head(rows: list[str | None], max_tokens: int) -> None:
    texts = pa.array(rows, pa.string())
    whole = encode(texts, vocabulary=VOCABULARY, settings=TextSettings(max_tokens=100_000))
    clipped = encode(texts, vocabulary=VOCABULARY, settings=TextSettings(max_tokens=max_tokens))
    assert clipped.n_tokens.tolist() == whole.n_tokens.tolist()
    for index in range(len(rows)):
        assert clipped.of(index).tolist() == whole.of(index)[:max_tokens].tolist()
    assert clipped.valid_length.tolist() == np.minimum(whole.n_tokens, max_tokens).tolist()


@pytest.mark.parametrize("tag", TAGS.split("|"))
def test_every_usual_tag_is_removed(tag: str) -> None:
    for markup in (f"<{tag}>", f"</{tag}>", f"<{tag.upper()}/>", f"<{tag} x='1'\n>"):
        assert tokens(f"good{markup}bad") == [["good", "bad"]]


def test_the_last_token_of_a_batch_does_not_depend_on_the_memory_behind_it() -> None:
    """Arrow 25 reads past a string that ends in white space and fills its 64-byte buffer."""
    text = "\U000f57d6thethethethe...love¶offilm&bogus;\U000275ff"
    rng = np.random.default_rng(0)
    for _ in range(60):
        tokens("".join(map(chr, rng.integers(0x20, 0xD000, size=rng.integers(0, 60)))))
        assert tokens(text) == [naive_tokens(text)]


# The vocabulary.


@given(ROWS, st.integers(1, 3), st.integers(5, 20))
def test_the_vocabulary_counts_like_a_counter(rows: list[str | None], min_count: int, max_size: int) -> None:
    counted = Counter(token for row in rows for token in naive_tokens(row))
    usual = sorted(
        (item for item in counted.items() if item[1] >= min_count), key=lambda item: (-item[1], item[0].encode())
    )
    usual = usual[: max_size - len(SPECIAL_TOKENS)]
    batches = [pa.array(rows[:3], pa.string()), pa.array(rows[3:], pa.string())]
    vocabulary, counts = build_vocabulary(batches, settings=TextSettings(), max_size=max_size, min_count=min_count)
    assert vocabulary.words == (*SPECIAL_TOKENS, *(word for word, _ in usual))
    left_out = counted.total() - sum(count for _, count in usual)
    assert counts.tolist() == [left_out, 0, 0, 0, *(count for _, count in usual)]
    assert counts.dtype == np.int64


def test_the_order_of_the_batches_does_not_move_the_vocabulary() -> None:
    batches = [pa.array(["b a", "c"]), pa.array(["é b"]), pa.array(["Z c 👍 👍"])]
    built = [build_vocabulary(order, settings=TextSettings(), min_count=1) for order in (batches, batches[::-1])]
    assert built[0][0].words[4:] == ("b", "c", "👍", "a", "e\u0301", "z")
    assert built[0][0] == built[1][0]
    assert built[0][1].tolist() == built[1][1].tolist()


@pytest.mark.parametrize("rows", [[], [None, ""], ["once"]])
def test_a_corpus_without_usual_words_gives_the_special_tokens_alone(rows: list[str | None]) -> None:
    vocabulary, counts = build_vocabulary([pa.array(rows, pa.string())], settings=TextSettings())
    assert vocabulary.words == SPECIAL_TOKENS
    assert counts.tolist() == [len([row for row in rows if row]), 0, 0, 0]
    assert build_vocabulary([], settings=TextSettings())[0].words == SPECIAL_TOKENS


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "must begin with"),
        (("the", *SPECIAL_TOKENS), "must begin with"),
        ((*SPECIAL_TOKENS[::-1], "the"), "must begin with"),
        ((*SPECIAL_TOKENS, "the", "a", "the"), "'the' more than once"),
        ((*SPECIAL_TOKENS, "<pad>"), "'<pad>' more than once"),
        ((*SPECIAL_TOKENS, ""), "''"),
        ((*SPECIAL_TOKENS, "a b"), "'a b'"),
        ((*SPECIAL_TOKENS, "a\n"), r"'a\\n'"),
        ((*SPECIAL_TOKENS, "\r"), r"'\\r'"),
        ((*SPECIAL_TOKENS, "a\u2028b"), r"'a\\u2028b'"),
    ],
)
def test_an_unusable_vocabulary_is_refused(words: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ModelError, match=rf"^vocabulary\.txt: .*{fault}"):
        Vocabulary(words)


def test_a_vocabulary_needs_room_for_a_word() -> None:
    with pytest.raises(UsageError, match="more than 4 words, not 4"):
        build_vocabulary([pa.array(["a a"])], settings=TextSettings(), max_size=4)


@pytest.mark.parametrize("wrong", [0, -1, 100_001, 1.5, True, "500", None])
def test_max_tokens_is_a_whole_number_in_bounds(wrong: object) -> None:
    with pytest.raises(UsageError, match="max_tokens must be a whole number from 1 to 100,000, not"):
        TextSettings(max_tokens=wrong)  # type: ignore[arg-type]


def test_lower_case_is_a_boolean() -> None:
    with pytest.raises(UsageError, match="lower_case must be true or false, not 'no'"):
        TextSettings(lower_case="no")  # type: ignore[arg-type]


def test_a_vocabulary_gives_the_ids_of_the_words_that_it_holds() -> None:
    words = [VOCABULARY.words[9], "zorblat", VOCABULARY.words[4]]
    assert VOCABULARY.ids(words).tolist() == [9, 4]
    assert VOCABULARY.ids([]).tolist() == VOCABULARY.ids(["zorblat"]).tolist() == []
    assert VOCABULARY.ids(words).dtype == np.int32


@pytest.mark.parametrize(
    "text",
    ["nan", "NaN", " None ", "NULL", "N/A", "n/a", "#N/A", "<NA>", "NA", "NaT", "\\N", "undefined", "\tnil\n", "#REF!"],
)
def test_a_text_that_is_a_word_for_a_missing_value_has_no_token(text: str) -> None:
    assert tokenize(pa.array([text, "x " + text, None]), settings=TextSettings())[0] == []
    kept = tokenize(pa.array([text]), settings=TextSettings(missing_words=False))
    assert kept != [[]]
    assert tokenize(pa.array(["x " + text]), settings=TextSettings())[0][0] == "x"


def test_words_for_missing_values_change_no_other_text() -> None:
    texts = pa.array(["nano", "Nan is great", "none of it works", "no", "", None, "n a", "Null points!"])
    without = TextSettings(missing_words=False)
    assert tokenize(texts, settings=TextSettings()) == tokenize(texts, settings=without)
    with pytest.raises(UsageError, match="missing_words"):
        TextSettings(missing_words="yes")  # type: ignore[arg-type]


def test_a_model_of_other_rules_is_refused_with_both_versions() -> None:
    with pytest.raises(ModelError, match="by rules of version 2, and this release has version 1; use a release"):
        TextSettings(rules=2)
