"""Labelled reviews as token ids, in batches of similar length.

Axes: N reviews, T tokens.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError
from sentiment_core.text.pipeline import PADDING_ID, TextPipeline

__all__ = ["Dataset", "shuffled_batches"]

_LOGGER = logging.getLogger(__name__)
_FEWEST_TOKENS, _MOST_TOKENS = 5, 40  # of an excerpt
_BATCHES_OF_A_POOL = 50


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Reviews of at least one token: review i is token_ids[starts[i] : starts[i] + lengths[i]].

    Attributes
    ----------
    token_ids : array of `Vocabulary.id_type`, shape (T,)
    starts, lengths : arrays of int64 and int32, shape (N,)
    positive : array of float32, shape (N,), 0 to 1
    rows : array of int64, shape (N,)
        Which of the texts that it was made of each review is.
    """

    token_ids: npt.NDArray[np.integer[Any]]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    positive: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, data: Labelled, pipeline: TextPipeline, *, name: str) -> Dataset:
        """Encode texts.

        Raises
        ------
        InputError
            If there are no reviews of both classes.
        """
        parts, lengths = [np.empty(0, pipeline.vocabulary.id_type)], [np.empty(0, np.int32)]
        for texts in data.batches():
            encoded = pipeline.encode(texts)
            parts.append(encoded.token_ids)
            lengths.append(encoded.valid_length)
        token_ids, valid_length = np.concatenate(parts), np.concatenate(lengths)
        rows = np.flatnonzero(valid_length)
        positive = data.positive[rows].astype(np.float32)
        if len(rows) < len(data):
            _LOGGER.info("%d %s reviews without a token are left out", len(data) - len(rows), name)
        n_positive = np.count_nonzero(positive >= 0.5)
        if n_positive in (0, len(rows)):
            raise InputError(
                f"the {name} part has {n_positive} positive reviews of {len(rows)}; it needs "
                "both classes: check --label-column, --positive-above and the size of the input"
            )
        return cls(
            token_ids=token_ids,
            starts=(np.cumsum(valid_length, dtype=np.int64) - valid_length)[rows],
            lengths=valid_length[rows],
            positive=positive,
            rows=rows,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All that tells datasets apart."""
        return self.token_ids, self.starts, self.lengths, self.positive

    def with_excerpts(self, share: float, *, sentence_ends: npt.NDArray[np.int32], seed: int) -> Dataset:
        """Add sentences cut from the reviews, each with its review's label.

        A sentence says less about the label than the review does, and sometimes the contrary: a network that sees many
        of them learns how much.

        Parameters
        ----------
        share : float
            Excerpts, as a share of the reviews.
        sentence_ends : array of int32
            Ids of the tokens that end a sentence.
        seed : int
            Of the choice.
        """
        rng = np.random.default_rng((seed, 1 << 21))
        chosen = rng.integers(len(self), size=round(share * len(self)))
        begin, stop = self.starts[chosen], self.starts[chosen] + self.lengths[chosen]
        after = np.flatnonzero(np.isin(self.token_ids, sentence_ends)) + 1  # where the next sentence starts
        after = np.append(after, len(self.token_ids))
        # A sentence of the review at random, the first one included, and those after it up to a random length.
        first, last = np.searchsorted(after, begin, side="right"), np.searchsorted(after, stop)
        sentence = rng.integers(first - 1, np.maximum(last, first))
        starts = np.where(sentence < first, begin, after[sentence])
        wanted = rng.integers(1, _MOST_TOKENS // 2 + 1, size=len(chosen))
        ends = after[np.minimum(np.searchsorted(after, starts + wanted), len(after) - 1)]
        ends = np.minimum(np.minimum(ends, starts + _MOST_TOKENS), stop)
        starts = np.maximum(np.minimum(starts, ends - _FEWEST_TOKENS), begin)
        return Dataset(
            token_ids=self.token_ids,
            starts=np.concatenate([self.starts, starts]),
            lengths=np.concatenate([self.lengths, (ends - starts).astype(np.int32)]),
            positive=np.concatenate([self.positive, self.positive[chosen]]),
            rows=np.concatenate([self.rows, self.rows[chosen]]),
        )

    def with_others(self, other: Dataset) -> Dataset:
        """Append another dataset of the same vocabulary."""
        return Dataset(
            token_ids=np.concatenate([self.token_ids, other.token_ids]),
            starts=np.concatenate([self.starts, other.starts + len(self.token_ids)]),
            lengths=np.concatenate([self.lengths, other.lengths]),
            positive=np.concatenate([self.positive, other.positive]),
            rows=np.concatenate([self.rows, other.rows]),
        )

    def sampler(self, *, batch_tokens: int, num_buckets: int, shuffle: bool) -> Any:
        """GluonNLP's sampler: batches of similar length under the token budget; NumPy's global generator shuffles."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty bucket is no fault
            return _gluonnlp().data.FixedBucketSampler(
                self.lengths,
                batch_size=batch_tokens,
                num_buckets=num_buckets,
                use_average_length=True,
                shuffle=shuffle,
            )

    def batch(self, indices: list[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Padded token ids (T, N) and valid lengths (N,) of some reviews."""
        pad = _gluonnlp().data.batchify.Pad(axis=0, pad_val=PADDING_ID, ret_length=True, dtype=np.int32)
        spans = [(self.starts[index], self.starts[index] + self.lengths[index]) for index in indices]
        token_ids, lengths = pad([self.token_ids[start:end] for start, end in spans])
        return token_ids.asnumpy().T, lengths.asnumpy().astype(np.float32)


def shuffled_batches(
    lengths: npt.NDArray[np.integer[Any]], *, batch_tokens: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Batches of texts of similar length in random order, each of ``batch_tokens`` padded tokens at most.

    Texts are drawn into pools of about 50 batches; each pool is sorted by length and cut. A text longer than a batch is
    one of its own.

    Parameters
    ----------
    lengths : array of int, shape (N,)
        Tokens of each text.
    batch_tokens : int
        Padded tokens of a batch at most.
    rng : numpy.random.Generator
        Of the order.

    Returns
    -------
    list of int64 arrays
        Rows of each batch; every row is in one of them.
    """
    if not len(lengths):
        return []
    order = rng.permutation(len(lengths))
    pool = max(1, round(_BATCHES_OF_A_POOL * batch_tokens / max(1.0, float(lengths.mean()))))
    batches = []
    for first in range(0, len(order), pool):
        rows = order[first : first + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        padded_to, start = lengths[rows].astype(np.int64), 0
        while start < len(rows):
            # Ascending lengths: the padded size of the first n grows with n.
            sizes = padded_to[start:] * np.arange(1, len(rows) - start + 1)
            count = max(1, int(np.searchsorted(sizes, batch_tokens, side="right")))
            batches.append(rows[start : start + count])
            start += count
    return [batches[index] for index in rng.permutation(len(batches))]


def _gluonnlp() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it registers optimisers that MXNet has by now
        import gluonnlp
    return gluonnlp
