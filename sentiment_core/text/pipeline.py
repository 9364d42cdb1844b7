"""Text -> token ids, the same in training and scoring.

White space splits a review into chunks; reviews share most of their chunks, so the costly rules (Unicode
normalisation, contractions, punctuation, vocabulary look-up) run once for each *distinct* chunk of a batch
and the ids are gathered from there. Everything is Arrow kernels and NumPy, no Python loop over reviews.

Policy, in the order in which it is applied:

- NULL, empty and white-space-only texts have no tokens, nor have texts that are a word for a missing value (a setting).
- Bytes that are not UTF-8 and NUL become replacement characters and spaces; nothing raises.
- HTML entities are decoded once, HTML tags become spaces.
- Web addresses, mail addresses and ``@names`` are left out (a setting): they hold no opinion.
- NFKD (an accent is a mark of its own, inside its word); format characters (zero-width, bidi marks, soft
  hyphens), variation selectors, skin tones and the keycap mark are dropped; other control characters are
  spaces; typographic quotes and dashes become ASCII.
- Lower case (a setting). ``don't`` is ``do n't``, ``it's`` is ``it 's``. ``10/10`` and ``7.5`` are one token.
- Each other mark is a token of its own, runs of ``! ? . - *`` at most two (dots: ``...``); ``:)`` and ``:(``
  stay whole; an emoji is one token, a sequence of joined emoji one token per person or thing, a flag one.
- A word outside the vocabulary that is a known one but for a slip of the keyboard gets that one's id (a setting).
- Tokens past ``max_tokens`` are clipped: the head of a review is kept.

Axes: N texts, T tokens of all texts together, V words of the vocabulary.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.errors import InputError, ModelError, UsageError, shown
from sentiment_core.text.spelling import Spelling

__all__ = [
    "MISSING_WORDS",
    "MOST_TOKENS",
    "SENTENCE_ENDS",
    "SPECIAL_TOKENS",
    "TEXT_RULES",
    "EncodedTexts",
    "TextPipeline",
    "TextSettings",
    "Vocabulary",
    "build_vocabulary",
    "encode",
    "split",
    "tokenize",
    "valid_utf8",
]

# Version of the policy above. Whatever gives a text other tokens is a new version, or a setting.
TEXT_RULES = 1
SPECIAL_TOKENS = ("<unk>", "<pad>", "<bos>", "<eos>")
MOST_TOKENS = 100_000
# What programs write where there is no value (pandas, databases, spreadsheets, JavaScript), in lower case.
MISSING_WORDS = (
    *("nan", "-nan", "null", "(null)", "none", "nil", "na", "n/a", "<na>", "nat", "undefined", "\\n"),
    *("#n/a", "#n/a n/a", "#na", "#null!", "#ref!", "#value!", "#div/0!", "#name?", "#num!"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
)
SENTENCE_ENDS = (".", "!", "?", "...", "!!", "??")
UNKNOWN_ID, PADDING_ID, BEGIN_ID, END_ID = range(4)

_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});"
_TAG = (
    r"(?i)</?(?:a|abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|h[1-6]|head|hr|html|i"
    r"|img|ins|li|ol|p|pre|q|s|script|small|span|strike|strong|style|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul)"
    r"(?:[\s/][^<>]*)?>"
)
# An address is not looked for where these are not.
_MAY_BE_ADDRESS = r"(?i)://|www\.|@"
_ADDRESSES = (
    (r"(?i)\b(?:https?|ftp)://[^\s\pZ]+|\bwww\.[^\s\pZ]+", " "),
    (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", " "),
    (r"(^|[\s\pZ(\"'])@[A-Za-z_]\w*", r"\1 "),
)
# Rewrites of a chunk, in order, each list only for the chunks that its first pattern finds. RE2 has no
# look-around: whatever needs context is put between spaces first.
_UNUSUAL = r"[^\x21-\x5f\x61-\x7e]|''"
_UNUSUAL_REWRITES = (
    (r"[\p{Cf}\x{180B}-\x{180F}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}\x{20E3}\x{1F3FB}-\x{1F3FF}]+", ""),
    (r"[\p{Cc}\x{FFFD}]+", " "),
    (r"[’‘‛ʼ`′]", "'"),
    (r"[“”„‟«»″]|''", '"'),
    (r"—|―", "--"),
    (r"[‐‑‒–−]", "-"),
    (r"⁄", "/"),
)
_CLITIC_OR_RUN = r"'|[.!?*-]{2}"
_CLITIC_AND_RUN_REWRITES = (
    (r"(?i)n't\b|'(?:s|re|ve|ll|d|m)\b", r" \0 "),
    (r"\.{2,}", " ... "),
    (r"!{2,}", " !! "),
    (r"\?{2,}", " ?? "),
    (r"-{2,}", " -- "),
    (r"\*{2,}", " ** "),
)
_NOT_ONE_WORD = r"[^a-z]"
_TOKEN_RULE = (
    r"(?i:\bn't\b|'(?:s|re|ve|ll|d|m)\b)"
    r"|[0-9]+(?:[.,/][0-9]+)+"
    r"|[\pL\pM\pN_]+(?:'\pL+)*"
    r"|\.\.\.|!!|\?\?|--|\*\*"
    r"|[:;=]-?[()]"
    r"|[\x{1F1E6}-\x{1F1FF}]{2}"
    r"|[^\s]"
)


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Settings of the pipeline; they are stored in the model and never taken from anywhere else.

    Parameters
    ----------
    lower_case : bool
        Fold case before the vocabulary is asked.
    max_tokens : int
        Tokens kept of a text, 1 to 100,000, which is more than any review has.
    missing_words : bool or None
        Take a text that is one of `MISSING_WORDS`, and nothing else, for no text. None, which models have that were
        written before there was the setting, is the same as True.
    skip_addresses : bool or None
        Leave out web addresses, mail addresses and ``@names``. None, which models have that were written before there
        was the setting, is the same as False.
    undo_slips : bool or None
        Take a word outside the vocabulary for the known word that it is but for a slip; see `Spelling`. None as above.
    rules : int or None
        Version of the rules that split the texts that the model learnt from. None, which models have that were written
        before versions were, is the same as 1.

    Raises
    ------
    UsageError
        If a value is out of its range.
    ModelError
        If the rules are of another version than `TEXT_RULES`.
    """

    lower_case: bool = True
    max_tokens: int = 500
    missing_words: bool | None = True
    skip_addresses: bool | None = True
    undo_slips: bool | None = True
    rules: int | None = TEXT_RULES

    def __post_init__(self) -> None:
        if type(self.max_tokens) is not int or not 1 <= self.max_tokens <= MOST_TOKENS:
            raise UsageError(f"max_tokens must be a whole number from 1 to 100,000, not {shown(self.max_tokens)}")
        if not isinstance(self.lower_case, bool):
            raise UsageError(f"lower_case must be true or false, not {shown(self.lower_case)}")
        for name in ("missing_words", "skip_addresses", "undo_slips"):
            if not isinstance(getattr(self, name), bool | None):
                raise UsageError(f"{name} must be true or false, not {shown(getattr(self, name))}")
        if self.rules is not None and (type(self.rules) is not int or self.rules != TEXT_RULES):
            raise ModelError(
                f"the model's texts were split by rules of version {shown(self.rules)}, and this release has version "
                f"{TEXT_RULES}; use a release that has them, or train the model again"
            )


@dataclass(frozen=True)
class Vocabulary:
    """Words by id; ids 0 to 3 are ``SPECIAL_TOKENS``.

    Raises
    ------
    ModelError
        If the special tokens are not in front, or a word is empty, repeated or holds white space.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL_TOKENS)] != SPECIAL_TOKENS:
            raise ModelError(
                f"vocabulary.txt: must begin with {', '.join(SPECIAL_TOKENS)}, not {shown(self.words[:4])}"
            )
        if len(set(self.words)) != len(self.words):
            repeated = Counter(self.words).most_common(1)[0][0]
            raise ModelError(f"vocabulary.txt: holds the word {shown(repeated)} more than once")
        for word in self.words:
            if not word or word.split() != [word]:
                raise ModelError(f"vocabulary.txt: holds {shown(word)}; a word is not empty and has no white space")

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """Ids of the words that it holds, without the others."""
        found = pc.index_in(pa.array(words, pa.large_string()), value_set=self.arrow)
        ids: npt.NDArray[np.int32] = found.drop_null().to_numpy()
        return ids

    @property
    def id_type(self) -> npt.DTypeLike:
        """The narrowest type of its ids, uint16 or int32: a billion tokens of 65,536 words take 2 GB."""
        return np.uint16 if len(self) <= 1 << 16 else np.int32

    @cached_property
    def arrow(self) -> pa.LargeStringArray:
        """The words as a look-up set for Arrow, shape (V,)."""
        return pa.array(self.words, pa.large_string())

    @cached_property
    def spelling(self) -> Spelling:
        """Finds its words behind slips of the keyboard."""
        return Spelling(self.words, unknown_id=UNKNOWN_ID)


@dataclass(frozen=True, kw_only=True)
class EncodedTexts:
    """Token ids of N texts, one after the other.

    Attributes
    ----------
    token_ids : array of `Vocabulary.id_type`, shape (T,), 0 <= id < V
        Clipped ids of all texts, in order.
    offsets : array of int64, shape (N + 1,)
        Text ``i`` owns ``token_ids[offsets[i]:offsets[i + 1]]``.
    n_tokens : array of int32, shape (N,)
        Tokens before clipping.
    """

    token_ids: npt.NDArray[np.integer[Any]]
    offsets: npt.NDArray[np.int64]
    n_tokens: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.n_tokens)

    @cached_property
    def valid_length(self) -> npt.NDArray[np.int32]:
        """Tokens after clipping, int32, shape (N,)."""
        return np.diff(self.offsets).astype(np.int32)

    @cached_property
    def n_unknown(self) -> npt.NDArray[np.int32]:
        """Tokens outside the vocabulary among the clipped ones, int32, shape (N,)."""
        unknown = np.concatenate(([0], np.cumsum(self.token_ids == UNKNOWN_ID)))
        return np.diff(unknown[self.offsets]).astype(np.int32)

    def of(self, index: int) -> npt.NDArray[np.integer[Any]]:
        """Ids of one text, shape (valid_length[index],)."""
        return self.token_ids[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, kw_only=True)
class TextPipeline:
    """A vocabulary and the settings it was built with: everything between a text and its token ids."""

    settings: TextSettings
    vocabulary: Vocabulary

    def encode(self, texts: pa.Array | pa.ChunkedArray) -> EncodedTexts:
        """Encode texts; see `encode`."""
        return encode(texts, vocabulary=self.vocabulary, settings=self.settings)


def encode(texts: pa.Array | pa.ChunkedArray, *, vocabulary: Vocabulary, settings: TextSettings) -> EncodedTexts:
    """Turn texts into token ids.

    Parameters
    ----------
    texts : Arrow array of string or binary, shape (N,)
        Any content, nulls included.
    vocabulary : Vocabulary
        Words outside it get the id of ``<unk>``.
    settings : TextSettings
        Case and clipping.

    Raises
    ------
    InputError
        If the array holds neither strings nor bytes.
    """
    chunks = _Chunks.of(texts, settings=settings)
    chunk_ids = _ids(chunks.tokens.flatten(), vocabulary=vocabulary, undo_slips=settings.undo_slips is True)
    by_chunk = pa.ListArray.from_arrays(chunks.tokens.offsets, chunk_ids)
    token_ids = by_chunk.take(chunks.codes).flatten().to_numpy()
    n_tokens = chunks.sum_by_text(pc.list_value_length(by_chunk).to_numpy())
    kept = np.minimum(n_tokens, settings.max_tokens)
    if kept.sum() < len(token_ids):
        keep_or_drop = np.tile([True, False], len(kept))
        token_ids = token_ids[np.repeat(keep_or_drop, np.stack([kept, n_tokens - kept], axis=1).ravel())]
    return EncodedTexts(
        token_ids=token_ids,
        offsets=np.concatenate(([0], np.cumsum(kept))),
        n_tokens=n_tokens.astype(np.int32),
    )


def _ids(words: pa.LargeStringArray, *, vocabulary: Vocabulary, undo_slips: bool) -> pa.Array:
    found = pc.index_in(words, value_set=vocabulary.arrow)
    if undo_slips and found.null_count:
        unknown = found.is_null()
        meant = vocabulary.spelling.ids(words.filter(unknown).to_pylist())
        found = pc.replace_with_mask(found, unknown, pa.array(meant))
    return found.fill_null(UNKNOWN_ID).cast(pa.from_numpy_dtype(vocabulary.id_type))


def tokenize(texts: pa.Array | pa.ChunkedArray, *, settings: TextSettings) -> list[list[str]]:
    """Tokens of each text before the vocabulary and the clipping: what a person sees of the pipeline."""
    return [[token for chunk in chunks for token in chunk] for chunks in split(texts, settings=settings)]


def split(texts: pa.Array | pa.ChunkedArray, *, settings: TextSettings) -> list[list[list[str]]]:
    """Tokens as in `tokenize`, those that no white space separates together."""
    chunks = _Chunks.of(texts, settings=settings)
    by_chunk = chunks.tokens.to_pylist()
    return [
        [by_chunk[code] for code in codes or () if by_chunk[code]]
        for codes in pa.LargeListArray.from_arrays(chunks.offsets, chunks.codes).to_pylist()
    ]


def build_vocabulary(
    batches: Iterable[pa.Array | pa.ChunkedArray],
    *,
    settings: TextSettings,
    max_size: int = 30_000,
    min_count: int = 2,
) -> tuple[Vocabulary, npt.NDArray[np.int64]]:
    """The most frequent words of a corpus, most frequent first, ties in the order of their bytes.

    Parameters
    ----------
    batches : iterable of Arrow arrays of string
        The corpus, read once.
    settings : TextSettings
        How the texts are split.
    max_size : int
        Words at most, special tokens included.
    min_count : int
        A word seen less often is left to ``<unk>``.

    Returns
    -------
    vocabulary : Vocabulary
    counts : array of int64, shape (V,)
        Occurrences of each word in the corpus; those of ``<unk>`` are the occurrences of all words left
        out, those of the other special tokens are 0.
    """
    if max_size <= len(SPECIAL_TOKENS):
        raise UsageError(f"a vocabulary needs more than {len(SPECIAL_TOKENS)} words, not {max_size}")
    counted = pa.table({"word": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())})
    for texts in batches:
        chunks = _Chunks.of(texts, settings=settings)
        occurrences = np.bincount(chunks.codes.to_numpy(), minlength=len(chunks.tokens))
        counts = np.repeat(occurrences, pc.list_value_length(chunks.tokens).to_numpy())
        seen = pa.table({"word": chunks.tokens.flatten(), "count": pa.array(counts, pa.int64())})
        counted = pa.concat_tables([counted, seen]).group_by("word").aggregate([("count", "sum")])
        counted = counted.rename_columns(["word", "count"])
    total = pc.sum(counted["count"]).as_py() or 0
    usual = pc.and_(
        pc.greater_equal(counted["count"], min_count),
        pc.invert(pc.is_in(counted["word"], value_set=pa.array(SPECIAL_TOKENS, pa.large_string()))),
    )
    counted = counted.filter(usual).sort_by([("count", "descending"), ("word", "ascending")])
    counted = counted.slice(0, max_size - len(SPECIAL_TOKENS))
    counts = np.concatenate(([0] * len(SPECIAL_TOKENS), counted["count"].to_numpy())).astype(np.int64)
    counts[UNKNOWN_ID] = total - counts.sum()
    return Vocabulary(SPECIAL_TOKENS + tuple(counted["word"].to_pylist())), counts


@dataclass(frozen=True, kw_only=True)
class _Chunks:
    """Texts as references to distinct chunks.

    codes : int32 array, the chunk of each occurrence in all texts; offsets : int64 array, shape (N + 1,),
    text i owns codes[offsets[i]:offsets[i + 1]]; tokens : list of strings for each distinct chunk.
    """

    codes: pa.Int32Array
    offsets: npt.NDArray[np.int64]
    tokens: pa.ListArray

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray, *, settings: TextSettings) -> _Chunks:
        valid = valid_utf8(texts)
        if settings.missing_words is not False:
            valid = _without_missing_words(valid)
        plain = _without_markup(valid)
        if settings.skip_addresses:
            plain = _where(plain, _MAY_BE_ADDRESS, lambda some: _rewrite(some, _ADDRESSES))
        split = pc.ascii_split_whitespace(plain)
        encoded = split.flatten().dictionary_encode()
        lengths = pc.list_value_length(split).fill_null(0).to_numpy()
        return cls(
            codes=encoded.indices,
            offsets=np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
            tokens=_tokenize_chunks(encoded.dictionary, lower_case=settings.lower_case),
        )

    def sum_by_text(self, value_by_chunk: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Sum over the chunks of each text, shape (N,)."""
        values = value_by_chunk[self.codes.to_numpy()]
        return np.diff(np.concatenate(([0], np.cumsum(values, dtype=np.int64)))[self.offsets])


def _tokenize_chunks(chunks: pa.LargeStringArray, *, lower_case: bool) -> pa.ListArray:
    if not pc.all(pc.string_is_ascii(chunks)).as_py():
        chunks = _where(chunks, r"[^\x00-\x7f]", _normalize)
    chunks = _where(chunks, _UNUSUAL, lambda some: _rewrite(some, _UNUSUAL_REWRITES))
    if lower_case:
        chunks = pc.utf8_lower(chunks)
    chunks = _where(chunks, _CLITIC_OR_RUN, lambda some: _rewrite(some, _CLITIC_AND_RUN_REWRITES))
    chunks = _where(chunks, _NOT_ONE_WORD, lambda some: _rewrite(some, [(f"(?:{_TOKEN_RULE})", r" \0 ")]))
    # Trimmed, because Arrow's split reads past a string that ends in white space, and depends on what it finds there.
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(chunks))
    # A split of nothing leaves an empty string; it is no token.
    filled = pc.greater(pc.binary_length(split.flatten()), 0)
    kept = np.concatenate(([0], np.cumsum(filled.to_numpy(zero_copy_only=False), dtype=np.int32)))
    offsets = np.concatenate(([0], np.cumsum(pc.list_value_length(split).to_numpy())))
    return pa.ListArray.from_arrays(kept[offsets].astype(np.int32), split.flatten().filter(filled))


def _where(
    texts: pa.LargeStringArray, pattern: str, change: Callable[[pa.LargeStringArray], pa.LargeStringArray]
) -> pa.LargeStringArray:
    """The texts with those that match the pattern changed; most rules concern a few texts only."""
    matching = pc.match_substring_regex(texts, pattern=pattern).fill_null(False)
    if not pc.any(matching).as_py():
        return texts
    return pc.replace_with_mask(texts, matching, change(texts.filter(matching)))


def _normalize(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    # The acute accent that people type for an apostrophe, before it is decomposed into a space and a mark.
    texts = pc.replace_substring(texts, pattern="´", replacement="'")
    # Not NFKC: up to Arrow 25 it comes back decomposed (apache/arrow#51225), later ones would give other words.
    return pc.utf8_normalize(texts, form="NFKD")


def _rewrite(texts: pa.LargeStringArray, rules: Iterable[tuple[str, str]]) -> pa.LargeStringArray:
    for pattern, replacement in rules:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
    return texts


def _unescape(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    # One call for all of them: they hold no NUL, so it can stand between them.
    return pa.array(html.unescape("\0".join(texts.to_pylist())).split("\0"), pa.large_string())


def _without_markup(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return _where(_where(texts, _ENTITY, _unescape), "<", lambda some: _rewrite(some, [(_TAG, " ")]))


def _without_missing_words(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts with those NULL that are one of `MISSING_WORDS`, but for case and blanks around it."""
    # Few reviews are as short, and only these are looked at.
    short = pc.less_equal(pc.binary_length(texts), 2 * max(map(len, MISSING_WORDS))).fill_null(False)
    if not pc.any(short).as_py():
        return texts
    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts.filter(short)))
    missing = pc.is_in(words, value_set=pa.array(MISSING_WORDS, pa.large_string()))
    if not pc.any(missing).as_py():
        return texts
    return pc.replace_with_mask(texts, short, pc.if_else(missing, None, texts.filter(short)))


def valid_utf8(texts: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """The texts as one valid large_string array without NUL, nulls kept; what is not UTF-8 is replaced.

    Raises
    ------
    InputError
        If the array holds neither strings nor bytes.
    """
    if isinstance(texts, pa.ChunkedArray):
        # Before they are one array: offsets of 32 bits end at 2 GiB.
        wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(texts.type, texts.type)
        texts = texts.cast(wide).combine_chunks()
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    kind = texts.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_null(kind)
    ):
        raise InputError(f"texts must be strings, not {kind}; cast the text column to string")
    raw = texts.cast(pa.large_binary()) if not pa.types.is_null(kind) else pa.nulls(len(texts), pa.large_binary())
    if pc.any(pc.match_substring_regex(raw, pattern=rb"\x00")).as_py():
        raw = pc.replace_substring(raw, pattern=b"\0", replacement=b" ")
    try:
        return raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        return _repaired(raw)


def _repaired(raw: pa.LargeBinaryArray) -> pa.LargeStringArray:
    """Decode bytes that are not all UTF-8, with U+FFFD for what is not; NUL, which they lack, separates them."""
    joined = b"\0".join(raw.fill_null(b"").to_pylist())
    decoded = pa.array(joined.decode("utf-8", errors="replace").split("\0"), pa.large_string())
    return pc.if_else(raw.is_valid(), decoded, None)
