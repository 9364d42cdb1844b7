"""Token ids and logits of all texts but those on which the computation fails.

Axes: N texts of a batch, T tokens (time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.engines.halving import Halving, RowFailure, Rows
from sentiment_core.scoring.batching import TokenBatch
from sentiment_core.text.pipeline import UNKNOWN_ID, EncodedTexts

__all__ = ["HARMLESS_IDS", "HARMLESS_TEXT", "Ids", "Logits", "surviving_ids", "surviving_logits"]

Ids = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]

# What every engine can score, unless it can score nothing. No array of Arrow, because its first one imports pandas.
HARMLESS_TEXT = "good"
HARMLESS_IDS = (np.full((1, 1), UNKNOWN_ID, np.int32), np.ones(1, np.int32))


def surviving_ids(
    texts: pa.LargeStringArray, *, encode: Callable[[pa.LargeStringArray], EncodedTexts], halving: Halving
) -> EncodedTexts:
    """Encode N texts; one that fails has no token."""

    def compute(rows: Rows) -> EncodedTexts:
        return encode(texts if len(rows) == len(texts) else texts.take(pa.array(rows)))

    parts = list(halving.results(compute, np.arange(len(texts))))
    if len(parts) == 1 and not halving.failed:
        return parts[0][1]
    lengths, n_tokens = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int32)
    for rows, part in parts:
        lengths[rows], n_tokens[rows] = part.valid_length, part.n_tokens
    return EncodedTexts(
        token_ids=np.concatenate([np.empty(0, np.int32), *(part.token_ids for _, part in parts)]),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        n_tokens=n_tokens,
    )


def surviving_logits(
    batch: TokenBatch, *, logits: Callable[[Ids, Ids], Logits], halving: Halving
) -> Iterator[tuple[Rows, Logits]]:
    """Rows of a batch and their logits; a row may come twice, and the later logit counts."""
    n_rows = len(batch.rows)

    def finite(token_ids: Ids, valid_length: Ids) -> Logits:
        found = logits(token_ids, valid_length)
        if not np.isfinite(found[:n_rows]).all():
            raise RowFailure("non_finite")
        return found

    def compute(rows: Rows) -> Logits:
        if len(rows) == n_rows:
            return finite(batch.token_ids, batch.valid_length)[:n_rows]
        places = np.flatnonzero(np.isin(batch.rows, rows))
        return finite(np.ascontiguousarray(batch.token_ids[:, places]), batch.valid_length[places])

    n_parts = 0
    for rows, found in halving.results(compute, batch.rows):
        n_parts += len(rows) < n_rows
        yield rows, found
    failed = np.isin(batch.rows, list(halving.failed))
    if n_parts and (failed.any() or "memory" not in halving.reasons):
        # Another shape can have other last digits, so the batch is computed once more as it was, with harmless words
        # in place of the texts that failed.
        token_ids = batch.token_ids.copy()
        token_ids[:, :n_rows][:, failed] = UNKNOWN_ID
        again = halving.attempt(lambda _: finite(token_ids, batch.valid_length), batch.rows)
        if not isinstance(again, Exception):
            yield batch.rows[~failed], again[:n_rows][~failed]
