"""Slips of the keyboard: an unknown word that is a known one but for stretched, swapped or doubled letters.

A model of words knows nothing of a word outside its vocabulary, and a slip makes one of any word. A slip is undone
where no missing letter has to be guessed: ``loooove`` is ``love``, ``graet`` is ``great``, ``badd`` is ``bad``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, product

import numpy as np
import numpy.typing as npt

__all__ = ["Spelling"]

# Shorter words have too many neighbours; longer ones are no words.
_FEWEST_LETTERS, _MOST_LETTERS = 4, 20
# From so many letters on, any letter may be one too many; in shorter words only one that is doubled.
_FEWEST_LETTERS_TO_DROP = 6
_STRETCHED = re.compile(r"(.)\1{2,}")
_MOST_STRETCHES = 3
# Slips repeat from batch to batch.
_REMEMBERED = 1 << 16


class Spelling:
    """Finds the known word that a slip was made in.

    Parameters
    ----------
    words : sequence of str
        The vocabulary by id, the most frequent words first.
    unknown_id : int
        Id of a word that stays unknown.
    """

    def __init__(self, words: Sequence[str], *, unknown_id: int) -> None:
        self._ids = {word: index for index, word in enumerate(words)}
        self._unknown_id = unknown_id
        self._id_of = lru_cache(maxsize=_REMEMBERED)(self._search)

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """Ids of the known words that these unknown ones are; int32, shape (words,)."""
        return np.fromiter(map(self._id_of, words), np.int32, count=len(words))

    def _search(self, word: str) -> int:
        """The most frequent word that the mildest slip explains."""
        if not (_FEWEST_LETTERS <= len(word) <= _MOST_LETTERS and word.isalpha() and word.isascii()):
            return self._unknown_id
        for slips in (_unstretched(word), _swapped_back(word), _one_less(word)):
            found = [self._ids[other] for other in slips if other in self._ids]
            if found:
                return min(found)
        return self._unknown_id


def _unstretched(word: str) -> Iterator[str]:
    """Each letter that stands there three times or more, once or twice."""
    stretches = list(_STRETCHED.finditer(word))
    if not 1 <= len(stretches) <= _MOST_STRETCHES:
        return
    between = _STRETCHED.split(word)[::2]
    for counts in product((1, 2), repeat=len(stretches)):
        letters = [match[1] * count for match, count in zip(stretches, counts)]
        yield "".join(chain.from_iterable(zip(between, [*letters, ""])))


def _swapped_back(word: str) -> Iterator[str]:
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _one_less(word: str) -> Iterator[str]:
    for place in range(1, len(word)):  # hardly a slip begins a word
        if len(word) >= _FEWEST_LETTERS_TO_DROP or word[place] == word[place - 1]:
            yield word[:place] + word[place + 1 :]
