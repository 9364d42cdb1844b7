"""Mergeable sketches: counts on a fixed grid, sparse and sorted, in native Spark SQL.

Two sketches merge by adding counts, so the sketch of a month is exactly that of its days. Unlike sampling sketches
(KLL, t-digest) it is the same whatever the order of the rows, it can be read by any engine, and its error is one of
the value itself: half a grid step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = [
    "LENGTH_GROWTH",
    "PROBABILITY_BINS",
    "collect_sketch",
    "length_bin",
    "length_of",
    "percentiles",
    "probability_bin",
    "probability_of",
    "step_of",
]

# Probabilities: steps of equal width, error at most 0.0005.
PROBABILITY_BINS = 1000
# Lengths: steps of equal ratio, error at most 1 % (Masson, Rim, Lee 2019).
LENGTH_GROWTH = 1.02


def probability_bin(probability: Column) -> Column:
    """Grid number of a probability, 0 to 999."""
    return step_of(probability, PROBABILITY_BINS)


def step_of(probability: Column, n_steps: int) -> Column:
    """Which of so many steps of equal width holds a probability; 1 is in the last one."""
    # `least` alone would pass over NULL.
    last = F.lit(n_steps - 1)
    return F.when(probability.isNotNull(), F.least(F.floor(probability * n_steps), last)).cast("int")


def probability_of(bin_number: Column) -> Column:
    """Middle of a grid step."""
    return (bin_number + 0.5) / PROBABILITY_BINS


def length_bin(n_tokens: Column) -> Column:
    """Grid number of a positive length: the power of `LENGTH_GROWTH` that reaches it."""
    return F.ceil(F.log(n_tokens.cast("double")) / math.log(LENGTH_GROWTH)).cast("int")


def length_of(bin_number: Column) -> Column:
    """Length that is at most 1 % from any in the grid step."""
    return F.pow(F.lit(LENGTH_GROWTH), bin_number.cast("double")) * (2 / (LENGTH_GROWTH + 1))


def collect_sketch(bin_number: Column, reviews: Column) -> Column:
    """Aggregate: the sketch of rows that hold one grid number each, once; rows without one are left out."""
    entry = F.struct(bin_number.alias("bin"), reviews.cast("bigint").alias("reviews"))
    return F.array_sort(F.collect_list(F.when(bin_number.isNotNull(), entry)))


def percentiles(
    sketch: Column, reviews: Column, *, percents: Sequence[int], value: Callable[[Column], Column]
) -> list[Column]:
    """Percentiles of a sketch: of N reviews, the value of the one with rank ``ceil(N * percent / 100)``.

    Parameters
    ----------
    sketch : Column
    reviews : Column
        How many are in it; NULL is returned for none.
    percents : sequence of int
        1 to 99.
    value : callable
        Grid number -> value: `probability_of` or `length_of`.
    """
    return [value(_bin_at(sketch, F.floor((reviews * percent + 99) / 100))) for percent in percents]


def _bin_at(sketch: Column, rank: Column) -> Column:
    """Grid number of the review with a rank, counted from 1."""
    start = F.struct(F.lit(0).cast("bigint").alias("seen"), F.lit(None).cast("int").alias("bin"))

    def step(reached: Column, entry: Column) -> Column:
        seen = reached["seen"] + entry["reviews"]
        found = F.coalesce(reached["bin"], F.when(seen >= rank, entry["bin"]))
        return F.struct(seen.alias("seen"), found.alias("bin"))

    return F.aggregate(sketch, start, step, lambda reached: reached["bin"])
