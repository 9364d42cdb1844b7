"""Texts at which tokenisers go wrong, as strategies and by hand."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from tests.support.models import WORDS

# At which tokenisers go wrong.
_PIECES = [
    *WORDS, *" \t\n\r\f\v.,!?-*'\"()/:;=_&<>#`´’‘“”«»–—…‼½¨ªŉǆİıſKßΣςﬁＡ１！＇", "  ",
    "don't", "DON'T", "can't've", "it's", "I'M", "o'clock", "rock'n'roll", "'tis", "''", "'s", "n't", "n'té",
    "1,000.50", "10/10", "3.", ".5", "1/2/3", "...", "!!!", "?!", "----", "***", ":-)", ";(", "=)", ":)",
    "&amp;", "&lt;br&gt;", "&amp;lt;", "&#39;", "&#0;", "&#128077;", "&#xD800;", "&nbsp;", "&amp", "&notit;",
    "&bogus;", "&a", "<br />", "<BR>", "</p>", "<i", "< b>", "<b <i>", "<3", "<bra>", '<a href="x">',
    "\0", "\x01", "\x1c", "\x85", "\xa0", "\xad", "\u200b", "\u200d", "\u200f", "\u2028", "\u2029", "\u1680",
    "\u180e", "\u180b", "\u202e", "\ufeff", "\ufffd", "\u0301", "\u20e3", "\ufe0f", "\U000e0100", "e\u0301", "é",
    "❤️", "👍🏽", "👨‍👩‍👧", "🇩🇪", "🇩", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "星", "がで", "한국", "हिन्दी", "עברית", "الله",
]  # fmt: skip
PIECES = st.sampled_from(_PIECES)
# Any assigned one.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"])
TEXTS = st.lists(st.one_of(PIECES, PIECES, CHARACTERS), max_size=24).map("".join)
BYTES = st.one_of(
    st.binary(max_size=12), TEXTS.map(str.encode), TEXTS.map(lambda text: text.encode()[:-1] + b"\xe2\x82")
)
# Unassigned characters, lone surrogates and pairs of them as well.
ANY_TEXT = st.one_of(
    TEXTS, st.text(st.characters(), max_size=20), st.lists(PIECES, min_size=30, max_size=60).map("".join)
)

NASTY: dict[str, str | bytes | None] = {
    "no text": None,
    "nothing": "",
    "a lone high surrogate": "good \ud83d film",
    "a lone low surrogate": "\udc4d",
    "surrogates in the wrong order": "good \udc4d\ud83d",
    "a pair of surrogates as WTF-8": b"\xed\xa0\xbd\xed\xb1\x8d good",
    "a NUL in a word": "go\0od",
    "nothing but NUL": "\0" * 10_000,
    "no UTF-8 at all": bytes(range(128, 256)) * 50,
    "UTF-8 cut in a character": "good 👍".encode()[:-1],
    "an overlong slash": b"good\xc0\xaffilm",
    "UTF-16": "good film".encode("utf-16"),
    "a byte order mark": "\ufeffgood film",
    "right to left": "\u202eגוב\u202c good \u2067film\u2069",
    "embeddings without an end": "\u202a\u202b\u202d" * 5_000 + "good",
    "300,000 marks on one letter": "e" + "\u0301" * 300_000,
    "marks on nothing": "\u0301\u0327\u20dd" * 1_000,
    "a family of emoji": "👨‍👩‍👧‍👦" * 5_000,
    "joiners without emoji": "\u200d" * 50_000,
    "flags, an odd number": "🇩🇪" * 4_999 + "🇫",
    "a tag sequence without an end": "🏴" + "\U000e0067" * 1_000,
    "skin tones alone": "🏽" * 10_000,
    "one word of 10 MB": "a" * 10_000_000,
    "one word of 10 MB, not ASCII": "é" * 5_000_000,
    "a million spaces": " " * 1_000_000,
    "a million spaces of another kind": "\u3000" * 1_000_000,
    "a million lines": "\r\n" * 500_000 + "good",
    "a million angles": "<" * 1_000_000,
    "tags in tags": "<b " * 100_000,
    "entities of entities": "&amp;" * 200_000,
    "half a million quotes": "'" * 500_000,
    "a ligature that becomes 18 letters": "\ufdfa" * 50_000,
    "the replacement character": "\ufffd" * 1_000,
    "special tokens": "<unk> <pad> <bos> <eos>",
    "private and unassigned characters": "\ue000\U000f0000\u0378\uffff\U0010ffff",
    "Zalgo": "g\u0336\u0322o\u0337\u0321o\u0334\u0329d\u0338" * 2_000,
    "a word of every character": "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x11000)])),
}


def hostile_text(rng: random.Random) -> str | bytes:
    """Pieces and any characters, lone surrogates among them; some as bytes with a fault, some nothing but bytes."""
    parts = [
        rng.choice(_PIECES) if rng.random() < 0.7 else chr(rng.randrange(0x110000))
        for _ in range(round(rng.expovariate(1 / 15)))
    ]
    text = "".join(parts)
    kind = rng.random()
    if kind < 0.7:
        return text
    if kind < 0.9:
        content = text.encode(errors="surrogatepass")
        place = rng.randrange(len(content) + 1)
        return content[:place] + rng.randbytes(rng.randint(0, 3)) + content[place + rng.randint(0, 2) :]
    return rng.randbytes(rng.randint(1, 40))
