"""Shares, trends and tests, as Spark columns of sums, so that a mart can be refreshed from sums alone.

All columns are NULL where there is no trial. Arguments are repeated in the expressions, so they should be
columns of a frame: expressions inside expressions grow beyond what Spark can compile.
"""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = ["Z95", "DaySums", "share", "slope", "slope_z", "two_sided_p"]

# Two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054
# Variance of values that are the same but for rounding.
_LEAST_SPREAD = 1e-9

# Spark SQL has no normal distribution. log(erfcx(x) / t) as a polynomial of t = 1 / (1 + x / 2), from the constant up:
# fitted at Chebyshev nodes over all x >= 0, so that the relative error of erfc is below 1e-8.
_LOG_ERFCX = (
    *(-1.26551211775, 0.999998046883, 0.375109829862, 0.0809193239157, -0.0586006400495, -0.325489889178),
    *(0.666511679413, -2.01102774368, 3.64260447663, -3.50588737219, 1.85398004211, -0.50737531934, 0.0547696794415),
)


class DaySums(NamedTuple):
    """Sums over reviews, from which the line of a value on the day follows.

    Attributes
    ----------
    trials : Column
        Reviews, a whole number.
    values, squares : Column
        Sums of the value and of its square.
    days, days_squared : Column
        Sums of the day's number and its square, counted from a day nearby: exact as a double.
    values_days : Column
        Sum of the value times the day's number.
    """

    trials: Column
    values: Column
    squares: Column
    days: Column
    days_squared: Column
    values_days: Column


def share(successes: Column, trials: Column) -> Column:
    """Successes over trials."""
    return successes / _positive(trials)


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
    """Change of the value a day by ordinary least squares over the reviews; NULL if they are all of one day."""
    return _covariance(sums) / _positive(_day_spread(sums))


def slope_z(sums: DaySums) -> Column:
    """Standard normal value of the permutation test of no slope; 0 where all values are the same."""
    trials = sums.trials.cast("double")
    spread = trials * sums.squares - sums.values * sums.values
    z = _covariance(sums) * F.sqrt((trials - 1) / _positive(_day_spread(sums) * spread))
    # Values of one kind differ by rounding alone.
    return F.when(_day_spread(sums) > 0, F.when(spread <= _LEAST_SPREAD * trials * trials, 0.0).otherwise(z))


def _day_spread(sums: DaySums) -> Column:
    return sums.trials.cast("double") * sums.days_squared - sums.days.cast("double") * sums.days


def _covariance(sums: DaySums) -> Column:
    return sums.trials.cast("double") * sums.values_days - sums.days.cast("double") * sums.values


def _positive(number: Column) -> Column:
    """The number, or NULL: no division by zero, which is an error in Spark's ANSI mode."""
    return F.when(number > 0, number)
