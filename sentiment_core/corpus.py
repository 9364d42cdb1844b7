"""A corpus of running text: token ids in a row, cut into lanes for a language model.

Axes: N texts, T tokens of all texts together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.text import END_ID, TextPipeline

__all__ = ["Corpus"]

_TEXTS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Texts as ids, each followed by ``<eos>``; text i is token_ids[offsets[i]:offsets[i + 1]]."""

    token_ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def encode(cls, batches: Iterable[pa.Array], pipeline: TextPipeline) -> Corpus:
        """Encode texts, batch by batch."""
        parts, lengths = [np.empty(0, pipeline.vocabulary.id_type)], [np.empty(0, np.int64)]
        for texts in batches:
            encoded = pipeline.encode(texts)
            ends = encoded.offsets[1:]
            parts.append(np.insert(encoded.token_ids, ends, END_ID))
            lengths.append(encoded.valid_length.astype(np.int64) + 1)
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
        return cls(token_ids=np.concatenate(parts), offsets=offsets)

    def lanes(self, n_lanes: int, *, order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The texts in the given order as one stream, cut into lanes: (total // n_lanes, n_lanes)."""
        stream = np.empty_like(self.token_ids)
        filled = 0
        for start in range(0, len(order), _TEXTS_AT_ONCE):  # their positions take 16 bytes a token
            texts = order[start : start + _TEXTS_AT_ONCE]
            lengths = np.diff(self.offsets)[texts]
            ends = np.cumsum(lengths)
            positions = np.repeat(self.offsets[texts] - ends + lengths, lengths) + np.arange(ends[-1])
            stream[filled : filled + len(positions)] = self.token_ids[positions]
            filled += len(positions)
        length = len(stream) // n_lanes
        return np.ascontiguousarray(stream[: length * n_lanes].reshape(n_lanes, length).T)
