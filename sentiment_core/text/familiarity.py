"""Whether a model knows the words of a text: what tells another language or noise from an honest neutral.

A word is the rarer the later it stands in the vocabulary, which is sorted by frequency: its rarity is the logarithm of
its rank. A word outside the vocabulary is rarer by 1 than the last one in it. Texts of the language that the model
learnt use its frequent words all the time; texts of another one hit a few of its rare words by chance. The strangeness
of a text is where its mean rarity lies between that of the model's validation reviews (0) and that of a text without a
known word (1). The mean of few words varies more, so the limit falls with their number. The measurements are in
``docs/decisions/0013-unfamiliar-texts.md``.

Axes: N texts, T tokens of all texts together, V words of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from sentiment_core.errors import ModelError, shown
from sentiment_core.text.pipeline import SPECIAL_TOKENS, UNKNOWN_ID, EncodedTexts, Vocabulary

__all__ = ["Familiarity", "fit_familiarity", "word_rarity"]

Rarity = npt.NDArray[np.int64]

# Share of the validation reviews that are unfamiliar: about as many as are of another language or noise.
UNFAMILIAR_SHARE = 0.002
# With a lower one, plain reviews of domains that the validation part lacks would be unfamiliar.
LEAST_LIMIT = 0.9
# What a long text may differ by, beside the chance of few words.
_LONG = 1 / 4


@dataclass(frozen=True, kw_only=True)
class Familiarity:
    """From which strangeness on a text is unfamiliar; stored in the model.

    Parameters
    ----------
    typical_rarity : float
        Mean rarity of the words of the validation reviews, above 0.
    limit : float
        A text of n words is unfamiliar if its strangeness is at least ``limit * (1/4 + 1/sqrt(n))``, or 1.

    Raises
    ------
    ModelError
        If a setting is no positive number.
    """

    typical_rarity: float
    limit: float

    def __post_init__(self) -> None:
        for name in ("typical_rarity", "limit"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < np.inf:
                raise ModelError(f"config.json: the familiarity's {name} must be above 0, not {shown(value)}")

    def unfamiliar(self, encoded: EncodedTexts, rarity: Rarity) -> npt.NDArray[np.bool_]:
        """Whether each text is unfamiliar, shape (N,); one without a word is not.

        Parameters
        ----------
        encoded : EncodedTexts
        rarity : array of int64, shape (V,)
            Of `word_rarity`, of the vocabulary that the texts were encoded with.
        """
        n_words, total = _words(encoded, rarity)
        unknown = float(rarity[UNKNOWN_ID])
        typical = min(1000 * self.typical_rarity, unknown)
        least = np.minimum(1.0, self.limit * _allowance(n_words))
        return (n_words > 0) & (total >= n_words * (typical + least * (unknown - typical)))


def word_rarity(vocabulary: Vocabulary) -> Rarity:
    """Rarity of each word in thousandths, int64, shape (V,); 0 for a token that is no word, as marks and emoji are.

    Whole numbers, so that the sum over a text does not depend on the texts beside it.
    """
    ranks = np.maximum(np.arange(len(vocabulary)) - len(SPECIAL_TOKENS), 0) + 2.0
    ranks[UNKNOWN_ID] = np.e * (len(vocabulary) - len(SPECIAL_TOKENS) + 1)
    is_word = pc.match_substring_regex(vocabulary.arrow, r"\pL").to_numpy(zero_copy_only=False).copy()
    is_word[: len(SPECIAL_TOKENS)] = False
    is_word[UNKNOWN_ID] = True
    return np.where(is_word, np.rint(1000 * np.log(ranks)), 0).astype(np.int64)


def fit_familiarity(encoded: EncodedTexts, vocabulary: Vocabulary) -> Familiarity | None:
    """The limit that `UNFAMILIAR_SHARE` of the validation reviews pass, but at least `LEAST_LIMIT`.

    Parameters
    ----------
    encoded : EncodedTexts
        The validation reviews.
    vocabulary : Vocabulary

    Returns
    -------
    Familiarity or None
        None if the reviews hold no known word, or if the vocabulary is no larger than what they use every day.
    """
    rarity = word_rarity(vocabulary)
    n_words, total = _words(encoded, rarity)
    typical = total.sum() / max(1, n_words.sum())
    if not 0 < typical < rarity[UNKNOWN_ID]:
        return None
    n_words, total = n_words[n_words > 0], total[n_words > 0]
    strangeness = (total / n_words - typical) / (rarity[UNKNOWN_ID] - typical)
    limit = np.quantile(strangeness / _allowance(n_words), 1 - UNFAMILIAR_SHARE)
    return Familiarity(typical_rarity=round(typical / 1000, 4), limit=round(max(LEAST_LIMIT, float(limit)), 4))


def _words(encoded: EncodedTexts, rarity: Rarity) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Words of each text, unknown ones included, and the sum of their rarity, both of shape (N,)."""
    of_token = rarity[encoded.token_ids]
    n_words, total = (np.concatenate(([0], np.cumsum(values)))[encoded.offsets] for values in (of_token > 0, of_token))
    return np.diff(n_words), np.diff(total)


def _allowance(n_words: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    allowance: npt.NDArray[np.float64] = _LONG + 1 / np.sqrt(np.maximum(n_words, 1))
    return allowance
