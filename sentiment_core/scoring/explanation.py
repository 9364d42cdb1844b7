"""What each token of one text adds to its logit, for people.

Axes: T tokens that were scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Explanation"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A scored text, token by token.

    Attributes
    ----------
    chunks : sequence of lists of str
        All tokens as the text pipeline reads them; those of a list stand without white space between them.
    contributions : array of float64, shape (T,)
        What the state at each token adds to the logit: ``output weight . state / T``. With the bias they add up to it.
    changes : array of float64, shape (T,)
        The same sum, split by what each token changed (`sentiment_core.scoring.drivers`).
    bias : float
        Of the output.
    logit, positive_probability : float or None
        None without a token. The probability is that of the logit after calibration.
    sentiment, status : str
        As in `sentiment_core.scoring.scorer.Scores`.
    """

    chunks: Sequence[list[str]]
    contributions: npt.NDArray[np.float64]
    changes: npt.NDArray[np.float64]
    bias: float
    logit: float | None
    positive_probability: float | None
    sentiment: str | None
    status: str

    @property
    def tokens(self) -> list[str]:
        """All tokens, those past the T that were scored included."""
        return [token for chunk in self.chunks for token in chunk]

    def scored_chunks(self) -> Iterator[list[tuple[str, float]]]:
        """The T scored tokens in their chunks, each with its change."""
        start = 0
        for chunk in self.chunks:
            pairs = list(zip(chunk, self.changes[start : start + len(chunk)].tolist()))
            start += len(chunk)
            if pairs:
                yield pairs

    @property
    def largest_change(self) -> float:
        """Of any token, at least a hundredth, so that a text without a lean is not shown in glaring colours."""
        return float(max(np.abs(self.changes).max(initial=0.0), 0.01))

    def strongest(self, n_tokens: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """The tokens that lift the logit most, and those that lower it most, with the sum of each token's changes."""
        sums: dict[str, float] = {}
        for token, change in zip(self.tokens, self.changes.tolist()):
            if any(map(str.isalnum, token)):
                sums[token] = sums.get(token, 0.0) + change
        ordered = sorted(sums.items(), key=lambda item: item[1])
        lowering = [item for item in ordered if item[1] < 0][:n_tokens]
        return [item for item in reversed(ordered) if item[1] > 0][:n_tokens], lowering
