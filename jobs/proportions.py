"""Shares with their uncertainty, as Spark columns: intervals, tests and trends of counts.

Everything is computed from counts (successes and trials), so that a mart can be refreshed from counts alone. All
columns are NULL where there is no trial. Levels are 95 %. Arguments are repeated in the expressions, so they should be
columns of a frame: expressions inside expressions grow beyond what Spark can compile.
"""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = ["Z95", "DaySums", "Interval", "newcombe", "score_z", "share", "slope", "slope_z", "two_sided_p", "wilson"]

# Two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054

# Spark SQL has no normal distribution. log(erfcx(x) / t) as a polynomial of t = 1 / (1 + x / 2), from the constant up:
# fitted at Chebyshev nodes over all x >= 0, so that the relative error of erfc is below 1e-8.
_LOG_ERFCX = (
    *(-1.26551211775, 0.999998046883, 0.375109829862, 0.0809193239157, -0.0586006400495, -0.325489889178),
    *(0.666511679413, -2.01102774368, 3.64260447663, -3.50588737219, 1.85398004211, -0.50737531934, 0.0547696794415),
)


class Interval(NamedTuple):
    """A share and its Wilson interval."""

    share: Column
    low: Column
    high: Column


class DaySums(NamedTuple):
    """Sums over trials, from which the line of success (0 or 1) on day follows.

    Attributes
    ----------
    trials, successes : Column
        Whole numbers.
    days, days_squared : Column
        Sums over the trials of the day's number and its square, counted from a day nearby: exact as a double.
    successes_days : Column
        Sum over the successes of the day's number.
    """

    trials: Column
    successes: Column
    days: Column
    days_squared: Column
    successes_days: Column


def share(successes: Column, trials: Column) -> Column:
    """Successes over trials."""
    return successes / _positive(trials)


def wilson(successes: Column, trials: Column) -> tuple[Column, Column]:
    """Wilson's score interval of a share (Wilson 1927): within 0..1, and of use for few trials too."""
    trials = _positive(trials)
    centre = (successes + Z95**2 / 2) / (trials + Z95**2)
    spread = F.sqrt(successes * (trials - successes) / trials + Z95**2 / 4) * Z95 / (trials + Z95**2)
    # At a share of 0 or 1, rounding would leave a speck beside it.
    low = F.when((successes == 0) & (trials > 0), 0.0).otherwise(centre - spread)
    return low, F.when(successes == trials, 1.0).otherwise(centre + spread)


def newcombe(now: Interval, before: Interval) -> tuple[Column, Column]:
    """Interval of the difference of two shares, now less before, from their Wilson intervals (Newcombe 1998)."""
    difference = now.share - before.share
    low = difference - F.sqrt((now.share - now.low) ** 2 + (before.high - before.share) ** 2)
    high = difference + F.sqrt((now.high - now.share) ** 2 + (before.share - before.low) ** 2)
    return low, high


def score_z(successes: Column, trials: Column, before: Column, trials_before: Column) -> Column:
    """Standard normal value of the score test that two shares are equal; 0 where all reviews are of one kind."""
    pooled = share(successes + before, trials + trials_before)
    variance = pooled * (1 - pooled) * (1 / _positive(trials) + 1 / _positive(trials_before))
    difference = share(successes, trials) - share(before, trials_before)
    return F.when(variance == 0, 0.0).otherwise(difference / F.sqrt(_positive(variance)))


def two_sided_p(z: Column) -> Column:
    """Chance of a standard normal value at least as far from 0: ``erfc(|z| / sqrt(2))``, relative error below 1e-8."""
    x = F.abs(z) / F.sqrt(F.lit(2.0))
    t = 1 / (1 + x / 2)
    polynomial = F.lit(_LOG_ERFCX[-1])
    for coefficient in reversed(_LOG_ERFCX[:-1]):
        polynomial = polynomial * t + coefficient
    # Rounding may pass 1; `least` alone would make 1 of NULL.
    return F.when(z.isNotNull(), F.least(F.lit(1.0), t * F.exp(polynomial - x * x)))


def slope(sums: DaySums) -> Column:
    """Change of the share a day by ordinary least squares over the trials; NULL if they are all of one day."""
    return _covariance(sums) / _positive(_day_spread(sums))


def slope_z(sums: DaySums) -> Column:
    """Standard normal value of the Cochran-Armitage test of no slope; 0 where all reviews are of one kind."""
    spread = sums.successes.cast("double") * (sums.trials - sums.successes)
    z = _covariance(sums) / F.sqrt(_positive(_day_spread(sums) * spread / _positive(sums.trials)))
    return F.when(_day_spread(sums) > 0, F.when(spread == 0, 0.0).otherwise(z))


def _day_spread(sums: DaySums) -> Column:
    return sums.trials.cast("double") * sums.days_squared - sums.days.cast("double") * sums.days


def _covariance(sums: DaySums) -> Column:
    return sums.trials.cast("double") * sums.successes_days - sums.days.cast("double") * sums.successes


def _positive(number: Column) -> Column:
    """The number, or NULL: no division by zero, which is an error in Spark's ANSI mode."""
    return F.when(number > 0, number)
