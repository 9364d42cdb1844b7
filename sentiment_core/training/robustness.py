"""What is done to the weights of a trained model so that it errs less on texts unlike those that it was trained on.

Axes: V words, C units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from sentiment_core.text.pipeline import UNKNOWN_ID, Vocabulary

__all__ = ["EMBEDDING", "average_weights", "blind_to"]

Weights = dict[str, npt.NDArray[np.float16]]

EMBEDDING = "embedding.weight"


def average_weights(
    trained: Mapping[str, npt.NDArray[np.float16]], start: Mapping[str, npt.NDArray[np.float16]], *, start_share: float
) -> Weights:
    """Mean of the weights of a model and of the one that it was trained further from.

    It keeps most of what both know: of the former domains, and of the texts that came later (Wortsman et al. 2022,
    Robust fine-tuning of zero-shot models).

    Parameters
    ----------
    trained, start : mapping of str to array of float16
        Of the same names and shapes.
    start_share : float, 0 to 1
        Share of ``start`` in the mean.

    Returns
    -------
    dict of str to array of float16
    """
    return {
        name: ((1 - start_share) * array.astype(np.float32) + start_share * start[name].astype(np.float32)).astype(
            np.float16
        )
        for name, array in trained.items()
    }


def blind_to(
    weights: Mapping[str, npt.NDArray[np.float16]], vocabulary: Vocabulary, words: Iterable[str]
) -> tuple[Weights, int]:
    """Give words the vector of an unknown word, so that a text scores the same with each of them.

    Parameters
    ----------
    weights : mapping of str to array of float16
        The embedding has the shape (V, C).
    vocabulary : Vocabulary
        Of V words; those that it lacks are unknown anyway.
    words : iterable of str
        As tokens: in lower case.

    Returns
    -------
    dict of str to array of float16
    int
        How many of the words are in the vocabulary.
    """
    ids = vocabulary.ids(sorted(set(words)))
    embedding = weights[EMBEDDING].copy()
    embedding[ids] = embedding[UNKNOWN_ID]
    return {**weights, EMBEDDING: embedding}, len(ids)
