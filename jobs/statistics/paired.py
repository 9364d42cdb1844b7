"""Two verdicts on the same reviews: which is right more often, from the numbers on which they differ."""

from __future__ import annotations

import math

from jobs.statistics.shares import Z95

__all__ = ["mcnemar_exact", "paired_difference"]


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p that both are right equally often (McNemar's test by the binomial distribution).

    Parameters
    ----------
    only_first, only_second : int
        Reviews on which only one of them is right.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    log_all = math.lgamma(n + 1) - n * math.log(2)
    tail = math.fsum(math.exp(log_all - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def paired_difference(only_first: int, only_second: int, *, n: int) -> tuple[float, float, float]:
    """Share right of the second less that of the first, and its 95 % interval (Agresti and Min 2005).

    Parameters
    ----------
    only_first, only_second : int
        Reviews on which only one of them is right.
    n : int
        All reviews, at least 1.
    """
    first, second = ((count + 0.5) / (n + 2) for count in (only_first, only_second))
    centre = second - first
    half = Z95 * math.sqrt((first + second - centre**2) / (n + 2))
    return (only_second - only_first) / n, max(-1.0, centre - half), min(1.0, centre + half)
