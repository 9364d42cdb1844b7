"""Which scored reviews are worth a label: a stratified sample in which the chance of each review is known.

The strata are steps of probability. A review near 0.5 tells more than one near 0 or 1, so these steps get more of the
sample (Neyman 1934). Within a step, the sample runs through the products in their order at equal distances
(systematic sampling): each product gets its part, and each review of the step has the same chance. The weight of a
review is one over its chance; the weights of a step sum up to its reviews.

Axes: B steps of probability, C cells, each the reviews of one product in one step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "FEWEST_OF_A_BIN", "allocate", "draw_cells"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Steps of equal width.
BINS = 10
# Of each step that has reviews: the variance within a step is not known from one.
FEWEST_OF_A_BIN = 2
# Added to the variance that the probabilities leave open: also where they are sure, they err in some reviews of 50.
_VARIANCE_OF_SURE = 0.02


def allocate(sizes: Ints, variance_sums: Floats, *, n: int) -> Ints:
    """How many reviews of each step are drawn.

    Parameters
    ----------
    sizes : array of int, shape (B,)
        Reviews of each step.
    variance_sums : array of float, shape (B,)
        Sum of ``p * (1 - p)`` over the reviews of each step.
    n : int
        Reviews to draw, at least `FEWEST_OF_A_BIN` times B.

    Returns
    -------
    array of int, shape (B,)
        Sum n, or all reviews if there are no more; of a step at least `FEWEST_OF_A_BIN`, and never more than it has.
    """
    if n >= sizes.sum():
        return sizes
    fewest = np.minimum(sizes, FEWEST_OF_A_BIN)
    wanted = np.sqrt(sizes * (variance_sums + _VARIANCE_OF_SURE * sizes))  # size * standard deviation
    low, high = 0.0, float(n)  # of what `wanted` is multiplied by
    while np.clip(high * wanted, fewest, sizes).sum() < n:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * wanted, fewest, sizes).sum() < n else (low, middle)
    exact = np.clip(high * wanted, fewest, sizes)
    drawn: Ints = np.floor(exact).astype(np.int64)
    # The largest remainders are rounded up; of equal ones, the first.
    for step in np.argsort(drawn - exact, kind="stable"):
        if drawn.sum() < n and drawn[step] < sizes[step]:
            drawn[step] += 1
    return drawn


def draw_cells(sizes: Ints, bins: Ints, *, drawn: Ints, seed: int) -> Ints:
    """How many reviews of each cell are drawn.

    Parameters
    ----------
    sizes : array of int, shape (C,), at least 1
        Reviews of each cell; the cells of a step in the order of the products.
    bins : array of int, shape (C,), 0 to B - 1
        Step of each cell.
    drawn : array of int, shape (B,)
        Reviews to draw of each step, at most what its cells have together.
    seed : int
        Decides where in a step the systematic sample begins.

    Returns
    -------
    array of int, shape (C,)
        At most the size of the cell. The expected value is its size times the share that is drawn of its step.
    """
    starts = np.random.default_rng(seed).random(len(drawn))
    draws = np.zeros(len(sizes), np.int64)
    for step, (n, start) in enumerate(zip(drawn, starts)):
        cells = np.flatnonzero(bins == step)
        ends = np.cumsum(sizes[cells])
        if n == 0:
            continue
        places = ((start + np.arange(n)) * (ends[-1] / n)).astype(np.int64)  # of reviews within the step
        draws[cells] = np.bincount(np.searchsorted(ends, places, side="right"), minlength=len(cells))
    return draws
