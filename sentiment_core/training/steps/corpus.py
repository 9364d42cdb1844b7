"""A corpus of running text: token ids in a row, cut into lanes for a language model.

Axes: N texts, T tokens of all texts together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.text.pipeline import END_ID, TextPipeline
from sentiment_core.training.recipes import PretrainSettings

__all__ = ["MEASURED_LANES", "MEASURED_STEPS", "Corpus", "WordSampler"]

# Perplexity is measured on lanes side by side, in windows of this many steps.
MEASURED_LANES, MEASURED_STEPS = 16, 50
_MOST_MEASURED_TOKENS = 200_000
TEXTS_AT_ONCE = 10_000


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
        for start in range(0, len(order), TEXTS_AT_ONCE):  # their positions take 16 bytes a token
            texts = order[start : start + TEXTS_AT_ONCE]
            lengths = np.diff(self.offsets)[texts]
            ends = np.cumsum(lengths)
            positions = np.repeat(self.offsets[texts] - ends + lengths, lengths) + np.arange(ends[-1])
            stream[filled : filled + len(positions)] = self.token_ids[positions]
            filled += len(positions)
        length = len(stream) // n_lanes
        return np.ascontiguousarray(stream[: length * n_lanes].reshape(n_lanes, length).T)

    def windows(
        self, settings: PretrainSettings, *, epoch: int, first: int, steps: int
    ) -> Iterator[npt.NDArray[np.int32]]:
        """Windows of (T + 1, N) tokens from the ``first`` on: the last row of one is the first of the next."""
        order = np.random.default_rng((settings.seed, epoch)).permutation(len(self.offsets) - 1)
        lanes = self.lanes(settings.batch_size, order=order)
        for position in range(first, steps):
            yield lanes[position * settings.bptt : (position + 1) * settings.bptt + 1].astype(np.int32)

    def measured_windows(self) -> Iterator[npt.NDArray[np.int32]]:
        """Windows of (T + 1, N) tokens, all of one shape, on which the perplexity is measured."""
        lanes = self.lanes(MEASURED_LANES, order=np.arange(len(self.offsets) - 1))
        lanes = lanes[: _MOST_MEASURED_TOKENS // MEASURED_LANES].astype(np.int32)
        for start in range(0, len(lanes) - MEASURED_STEPS, MEASURED_STEPS):
            yield lanes[start : start + MEASURED_STEPS + 1]


@dataclass(frozen=True, kw_only=True)
class WordSampler:
    """Draws the words that a step contrasts the true ones with, by their flattened frequency.

    Attributes
    ----------
    negatives : int
        K, words of a step.
    cumulative : array of float64, shape (V,)
        Cumulative probability of the words.
    log_draws : array of float32, shape (V,)
        Logarithm of the expected number of draws of each word in a step.
    log_unigram : array of float32, shape (V,)
        Logarithm of each word's frequency: what the output bias starts with.
    """

    negatives: int
    cumulative: npt.NDArray[np.float64]
    log_draws: npt.NDArray[np.float32]
    log_unigram: npt.NDArray[np.float32]

    @classmethod
    def of(cls, corpus: Corpus, *, vocab_size: int, negatives: int) -> WordSampler:
        """Count the words of a corpus."""
        counts = np.bincount(corpus.token_ids, minlength=vocab_size) + 1.0
        flattened = counts**0.75 / (counts**0.75).sum()
        return cls(
            negatives=negatives,
            cumulative=np.cumsum(flattened),
            log_draws=np.log(negatives * flattened).astype(np.float32),
            log_unigram=np.log(counts / counts.sum()).astype(np.float32),
        )

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """Words of one step, int32, shape (K,)."""
        words = np.searchsorted(self.cumulative, rng.random(self.negatives)).astype(np.int32)
        return np.minimum(words, np.int32(len(self.cumulative) - 1))
