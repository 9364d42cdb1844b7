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


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Texts as ids, each followed by ``<eos>``; text i is token_ids[offsets[i]:offsets[i + 1]]."""

    token_ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def encode(cls, batches: Iterable[pa.Array], pipeline: TextPipeline) -> Corpus:
        """Encode texts, batch by batch."""
        # Two bytes a token where the vocabulary allows it: a billion tokens are then 2 GB.
        kind = np.uint16 if len(pipeline.vocabulary) <= 1 << 16 else np.int32
        parts, lengths = [np.empty(0, kind)], [np.empty(0, np.int64)]
        for texts in batches:
            encoded = pipeline.encode(texts)
            ends = encoded.offsets[1:]
            parts.append(np.insert(encoded.token_ids, ends, END_ID).astype(kind))
            lengths.append(encoded.valid_length.astype(np.int64) + 1)
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
        return cls(token_ids=np.concatenate(parts), offsets=offsets)

    def lanes(self, n_lanes: int, *, order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The texts in the given order as one stream, cut into lanes: (total // n_lanes, n_lanes)."""
        lengths = np.diff(self.offsets)[order]
        ends = np.cumsum(lengths)
        gather = np.repeat(self.offsets[order] - ends + lengths, lengths)
        stream = self.token_ids[gather + np.arange(len(gather))]
        length = len(stream) // n_lanes
        return np.ascontiguousarray(stream[: length * n_lanes].reshape(n_lanes, length).T)
