"""Sentences cut from reviews: short texts that a teacher labels on their own, whatever their review says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.text.pipeline import valid_utf8

__all__ = ["cut_sentences"]

# Arrow's expressions have no look-around: a line feed marks each end. Some corpora glue sentences: "ended.But".
_END = (r"([.!?…]+[\"'”’)]*)[\s\pZ]+", r"([a-z][.!?]+)([A-Z])", r"[\r\n]+|<br ?/?>")
_CUT = ("\\1\n", "\\1\n\\2", "\n")
_FEWEST_CHARACTERS, _MOST_CHARACTERS = 12, 300


def cut_sentences(texts: pa.Array | pa.ChunkedArray, *, per_text: int, seed: int) -> pa.LargeStringArray:
    """Some sentences of each text, distinct, in random order.

    Parameters
    ----------
    texts : Arrow array of string, shape (N,)
    per_text : int
        Sentences of a text at most. A text of one sentence gives none: it is one already.
    seed : int
        Of the choice.

    Returns
    -------
    Arrow array of large_string
        Sentences of 12 to 300 characters.
    """
    cut = valid_utf8(texts)
    for pattern, replacement in zip(_END, _CUT):
        cut = pc.replace_substring_regex(cut, pattern=pattern, replacement=replacement)
    pieces = pc.split_pattern(cut.fill_null(""), pattern="\n")
    owner = np.repeat(np.arange(len(pieces)), pc.list_value_length(pieces).to_numpy())
    sentences = pc.utf8_trim_whitespace(pieces.flatten())
    length = pc.utf8_length(sentences).to_numpy()
    n_sentences = np.bincount(owner[length > 0], minlength=len(pieces))  # of each text; a mark may end it
    usable = (n_sentences[owner] > 1) & (length >= _FEWEST_CHARACTERS) & (length <= _MOST_CHARACTERS)
    rng = np.random.default_rng((seed, 1 << 22))
    order = rng.permutation(np.flatnonzero(usable))
    order = order[np.argsort(owner[order], kind="stable")]  # each text's sentences together, in random order
    chosen = owner[order]
    place = np.arange(len(order)) - np.searchsorted(chosen, chosen)  # of a sentence among those of its text
    taken = rng.permutation(order[place < per_text])
    return sentences.take(pa.array(taken)).unique()
