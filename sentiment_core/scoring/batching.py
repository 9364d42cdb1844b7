"""Encoded texts -> padded token batches of similar length.

Axes: N texts of a batch, T tokens (time) of its longest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiment_core.text.pipeline import PADDING_ID, EncodedTexts

__all__ = ["TokenBatch", "token_batches"]


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Texts of similar length, padded to one length.

    Attributes
    ----------
    rows : array of int64, shape (at most N,)
        Positions of the texts; a batch that was filled up has more columns than rows.
    token_ids : array of int32, shape (T, N), 0 <= id < V
        Time-major, as recurrent engines read it.
    valid_length : array of int32, shape (N,), 0 to T
        Tokens of each text, descending; 0 for a place that was filled up.
    """

    rows: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int32]
    valid_length: npt.NDArray[np.int32]


def token_batches(encoded: EncodedTexts, *, max_batch_tokens: int, length_step: int = 1) -> Iterator[TokenBatch]:
    """Cut texts into batches, longest first; texts without a token are in none.

    Parameters
    ----------
    encoded : EncodedTexts
    max_batch_tokens : int
        Padded tokens of a batch at most; a single text may have more.
    length_step : int
        Padded lengths are multiples of it. Above 1, a batch short of texts is filled up with texts of length 0, so that
        an engine that compiles each shape sees few: only the last batch has an uncommon one, the next power of two.
    """
    lengths = encoded.valid_length
    order = np.argsort(-lengths, kind="stable")
    order = order[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        padded = length_step * -(-int(lengths[order[start]]) // length_step)
        size = max(1, max_batch_tokens // padded)
        rows = order[start : start + size]
        start += size
        if len(rows) < size:
            size = len(rows) if length_step == 1 else min(size, 1 << (len(rows) - 1).bit_length())
        valid_length = np.zeros(size, np.int32)
        valid_length[: len(rows)] = lengths[rows]
        position = np.arange(padded)[:, None]
        inside = position < valid_length
        first = np.zeros(size, np.int64)
        first[: len(rows)] = encoded.offsets[rows]
        token_ids = np.full((padded, size), PADDING_ID, np.int32)
        token_ids[inside] = encoded.token_ids[(first + position)[inside]]
        yield TokenBatch(rows=rows, token_ids=token_ids, valid_length=valid_length)
