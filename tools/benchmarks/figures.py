"""Figures from measurements: medians with their spread, ratios of pairs, prices, tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "markdown_table", "paired_ratio", "price_per_million"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure measured several times."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))

    def __format__(self, spec: str) -> str:
        if self.low == self.high:
            return format(self.median, spec)
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def paired_ratio(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """Value over reference, round by round, so that what slows a whole round cancels out."""
    return Spread.of([value / base for value, base in zip(values, reference)])


def price_per_million(reviews_per_second: float, *, hourly_price: float) -> float:
    """Price of a million reviews, in the currency of an hour of the machine that was measured."""
    return hourly_price * 1e6 / reviews_per_second / 3600


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
