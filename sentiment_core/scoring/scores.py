"""What a scorer says of texts.

Axes: N texts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.scoring.status import EMPTY, FAILED, OK, TRUNCATED, UNFAMILIAR

__all__ = ["Scores"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of N texts, in the order in which they came.

    Attributes
    ----------
    positive_probability : array of float64, shape (N,), 0 to 1
        NaN for a text without a token.
    n_tokens : array of int32, shape (N,)
        Tokens before clipping.
    n_unknown : array of int32, shape (N,)
        Tokens outside the vocabulary among those scored.
    truncated : array of bool, shape (N,)
        Whether the text was clipped to the model's length.
    unfamiliar : array of bool, shape (N,)
        Whether the model knows too few of the text's words; never, if the model stores no limit.
    sentiment : array of str objects or None, shape (N,)
        ``negative``, ``neutral`` or ``positive`` by the model's cut-offs; None with a NaN.
    failure : array of str objects or None, shape (N,)
        Why a text could not be scored, one of `sentiment_core.engines.halving.FAILURES`; its other values mean nothing.
    drivers : list array of `sentiment_core.scoring.drivers.DRIVERS_TYPE`, shape (N,), optional
        The strongest words and pairs of each text; null with a NaN.
    """

    positive_probability: npt.NDArray[np.float64]
    n_tokens: npt.NDArray[np.int32]
    n_unknown: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    unfamiliar: npt.NDArray[np.bool_]
    sentiment: npt.NDArray[np.object_]
    failure: npt.NDArray[np.object_]
    drivers: pa.ListArray | None = None

    def __len__(self) -> int:
        return len(self.positive_probability)

    def take(self, rows: npt.NDArray[np.int32]) -> Scores:
        """The scores at these positions, in this order."""
        taken = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "drivers"}
        return Scores(**taken, drivers=None if self.drivers is None else self.drivers.take(pa.array(rows)))

    def failures(self) -> Counter[str]:
        """Texts that could not be scored, by reason."""
        return Counter(self.failure[self.failure != None])  # noqa: E711, element by element

    @cached_property
    def status(self) -> npt.NDArray[np.object_]:
        """One of `sentiment_core.scoring.status.STATUSES`, shape (N,); an unfamiliar text may be clipped as well."""
        status = np.where(self.truncated, TRUNCATED, OK).astype(object)
        status[self.unfamiliar] = UNFAMILIAR
        status[self.n_tokens == 0] = EMPTY
        status[self.failure != None] = FAILED  # noqa: E711, element by element
        return status
