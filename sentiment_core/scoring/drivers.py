"""What moved a text's logit: from the contributions of token states to the strongest words and pairs of words.

The logit is a mean over tokens, so it splits exactly into what each token's state adds. But a state carries what was
said before it: after "terrible" the states of "and the plot" are low as well, and the words with the largest sums would
be "the" and ".". So each state is counted against `CARRY` of the one before it, and what is new is followed to the end
of the text. That is the same sum, split by who caused it (`changes`).

What is left to function words is noise. The model itself says which they are: after a full stop, they hardly move its
state. A word is a driver only if it does (`leaning_words`).

Axes: N texts, T tokens of all texts together, V words of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.text.pipeline import SPECIAL_TOKENS, UNKNOWN_ID, EncodedTexts, Vocabulary

__all__ = ["DRIVERS_TYPE", "changes", "leaning_words", "probes", "strongest_terms"]

# Of a state that goes on in the next one: the slope of state on state before, 0.91 over 4,980 film reviews (bundled
# model). Any value gives a split of the same sum.
CARRY = 0.9
# Of the vocabulary's standard deviation: how far a word must move the state to be a driver.
_LEANING = 0.5
DRIVERS_TYPE = pa.list_(pa.struct([("kind", pa.string()), ("term", pa.string()), ("contribution", pa.float64())]))


def changes(contributions: npt.NDArray[np.floating[Any]], encoded: EncodedTexts) -> npt.NDArray[np.float64]:
    """What each token changed, and its change carried on, of what the states add to the logit.

    Parameters
    ----------
    contributions : array of float, shape (T,)
        ``output weight . state / length`` of each token.
    encoded : EncodedTexts

    Returns
    -------
    array of float64, shape (T,)
        With the sum of the contributions in each text.
    """
    contributions = contributions.astype(np.float64)
    before = np.zeros(len(contributions))
    before[1:] = contributions[:-1]
    before[encoded.offsets[:-1][encoded.valid_length > 0]] = 0.0
    left = np.repeat(encoded.offsets[1:], encoded.valid_length) - np.arange(len(contributions))
    # By products, because the last bit of a power depends on the processor.
    powers = np.cumprod(np.concatenate(([1.0], np.full(left.max(initial=0), CARRY))))
    changed: npt.NDArray[np.float64] = (contributions - CARRY * before) * (1 - powers[left]) / (1 - CARRY)
    return changed


def probes(vocabulary: Vocabulary) -> EncodedTexts:
    """V texts: each word of the vocabulary after a full stop, as at the begin of a sentence."""
    stop = vocabulary.ids(["."])
    first = np.full(len(vocabulary), stop[0] if len(stop) else UNKNOWN_ID)
    return EncodedTexts(
        token_ids=np.stack([first, np.arange(len(vocabulary))], axis=1).ravel().astype(vocabulary.id_type),
        offsets=np.arange(0, 2 * len(vocabulary) + 1, 2),
        n_tokens=np.full(len(vocabulary), 2, np.int32),
    )


def leaning_words(vocabulary: Vocabulary, contributions: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """Which words move the model's state by themselves, more than half the vocabulary's standard deviation.

    Parameters
    ----------
    vocabulary : Vocabulary
    contributions : array of float, shape (2 V,)
        Of the `probes`; NaN where there is none.

    Returns
    -------
    array of bool, shape (V,)
        Special tokens and marks never do.
    """
    move = np.diff(contributions.reshape(-1, 2).astype(np.float64), axis=1)[:, 0]
    own = _words(vocabulary)
    leaning: npt.NDArray[np.bool_] = own & (np.abs(move) >= _LEANING * (np.nanstd(move[own]) if own.any() else 0.0))
    return leaning


def strongest_terms(
    encoded: EncodedTexts,
    changed: npt.NDArray[np.float64],
    *,
    vocabulary: Vocabulary,
    leaning: npt.NDArray[np.bool_],
    n_terms: int,
) -> pa.ListArray:
    """The strongest words, and pairs of adjacent words, of each text.

    Parameters
    ----------
    encoded : EncodedTexts
    changed : array of float64, shape (T,)
        Of `changes`; a term's occurrences in a text are added up, and of a pair both words count.
    vocabulary : Vocabulary
    leaning : array of bool, shape (V,)
        Words that are drivers, and one of which a pair needs.
    n_terms : int
        Words, and pairs, of a text at most.

    Returns
    -------
    list array of `DRIVERS_TYPE`, shape (N,)
        Words first, the strongest first, ties by their place in the vocabulary.
    """
    token_ids = encoded.token_ids.astype(np.int64)
    text = np.repeat(np.arange(len(encoded)), encoded.valid_length)
    place = np.flatnonzero(leaning[token_ids])
    words = _summed(text[place], token_ids[place], changed[place], n_terms=n_terms)

    known = _words(vocabulary)[token_ids]
    beside = (text[1:] == text[:-1]) & known[1:] & known[:-1] & (leaning[token_ids[1:]] | leaning[token_ids[:-1]])
    place = np.flatnonzero(beside)
    pair_ids = token_ids[place] * len(vocabulary) + token_ids[place + 1]
    pairs = _summed(text[place], pair_ids, changed[place] + changed[place + 1], n_terms=n_terms)

    spelled = vocabulary.arrow
    first, second = (spelled.take(pa.array(ids)) for ids in np.divmod(pairs[1], len(vocabulary)))
    terms = [
        spelled.take(pa.array(words[1])),
        pc.binary_join_element_wise(first, second, pa.scalar(" ", pa.large_string())),
    ]
    kinds = np.repeat([0, 1], [len(words[0]), len(pairs[0])])
    # Words of all texts, then pairs of all texts -> words and pairs of each text.
    texts = np.concatenate([words[0], pairs[0]])
    order = np.lexsort((kinds, texts))
    drivers = pa.StructArray.from_arrays(
        [
            pa.array(["word", "pair"]).take(pa.array(kinds[order])),
            pa.concat_arrays(terms).cast(pa.string()).take(pa.array(order)),
            pa.array(np.concatenate([words[2], pairs[2]])[order]),
        ],
        fields=list(DRIVERS_TYPE.value_type),
    )
    counts = np.bincount(texts, minlength=len(encoded))
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32()), drivers)


def _words(vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Which entries of the vocabulary hold a letter or a digit, shape (V,)."""
    spelled = pc.match_substring_regex(vocabulary.arrow, pattern=r"[\pL\pN]").to_numpy(zero_copy_only=False)
    spelled[: len(SPECIAL_TOKENS)] = False
    words: npt.NDArray[np.bool_] = spelled
    return words


def _summed(
    texts: npt.NDArray[np.int64], terms: npt.NDArray[np.int64], values: npt.NDArray[np.float64], *, n_terms: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Texts, terms and sums of the strongest terms of each text, text by text, the strongest first."""
    order = np.lexsort((terms, texts))  # stable, so that equal terms are added in the order of the text
    texts, terms, values = texts[order], terms[order], values[order]
    new = np.concatenate(([True], (texts[1:] != texts[:-1]) | (terms[1:] != terms[:-1])))[: len(texts)]
    sums = np.bincount(np.cumsum(new) - 1, weights=values, minlength=0) if len(texts) else np.empty(0)
    texts, terms = texts[new], terms[new]
    order = np.lexsort((terms, -np.abs(sums), texts))
    texts, terms, sums = texts[order], terms[order], sums[order]
    rank = np.arange(len(texts)) - np.searchsorted(texts, texts)
    kept = rank < n_terms
    return texts[kept], terms[kept], sums[kept]
