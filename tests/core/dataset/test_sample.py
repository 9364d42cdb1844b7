"""The design of a sample to label: sizes, chances and weights, and that weighted estimates are right on average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.dataset.sample import BINS, FEWEST_OF_A_BIN, allocate, draw_cells

sizes_of_bins = st.lists(st.integers(0, 5000), min_size=BINS, max_size=BINS).filter(any)


@given(sizes=sizes_of_bins, share=st.lists(st.floats(0, 0.25), min_size=BINS, max_size=BINS), n=st.integers(20, 2000))
def test_the_sample_has_its_size_and_no_step_is_left_out_or_overdrawn(
    sizes: list[int], share: list[float], n: int
) -> None:
    reviews = np.array(sizes)
    drawn = allocate(reviews, reviews * np.array(share), n=n)
    assert drawn.sum() == min(n, reviews.sum())
    assert (drawn <= reviews).all()
    assert (drawn >= np.minimum(reviews, FEWEST_OF_A_BIN)).all()


def test_steps_are_drawn_in_proportion_to_reviews_times_deviation() -> None:
    """Neyman's allocation, against its formula."""
    sizes = np.array([40_000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 52_000])
    variance = np.array([0.02, 0.13, 0.18, 0.22, 0.25, 0.25, 0.22, 0.18, 0.13, 0.02])
    wanted = sizes * np.sqrt(variance + 0.02)
    assert allocate(sizes, sizes * variance, n=2000) == pytest.approx(2000 * wanted / wanted.sum(), abs=1)


@given(
    cells=st.lists(st.tuples(st.integers(0, BINS - 1), st.integers(1, 60)), min_size=1, max_size=80),
    n=st.integers(20, 400),
    seed=st.integers(0, 1000),
)
def test_cells_add_up_to_their_step_and_weights_to_all_reviews(cells: list[tuple[int, int]], n: int, seed: int) -> None:
    bins, sizes = (np.array(column) for column in zip(*sorted(cells)))
    reviews = np.bincount(bins, sizes, BINS).astype(np.int64)
    drawn = allocate(reviews, 0.1 * reviews, n=n)
    draws = draw_cells(sizes, bins, drawn=drawn, seed=seed)
    assert (draws >= 0).all()
    assert (draws <= sizes).all()
    assert np.bincount(bins, draws, BINS).tolist() == drawn.tolist()
    # Each product gets its part of the step, but for less than one review.
    assert (np.abs(draws - sizes * (drawn / np.maximum(1, reviews))[bins]) < 1 + 1e-9).all()
    weights = np.repeat((reviews / np.maximum(1, drawn))[bins], draws)
    assert weights.sum() == pytest.approx(sizes.sum(), rel=1e-12)


def test_each_review_of_a_step_has_the_same_chance() -> None:
    sizes, bins = np.array([1, 7, 2, 30, 3, 1, 16]), np.zeros(7, int)
    drawn = np.array([11] + [0] * (BINS - 1))
    draws = np.array([draw_cells(sizes, bins, drawn=drawn, seed=seed) for seed in range(4000)])
    # A standard error is at most 0.5 / sqrt(4,000).
    assert draws.mean(axis=0) == pytest.approx(sizes * 11 / 60, abs=4 * 0.5 / 4000**0.5)


def test_weighted_estimates_are_right_on_average_and_narrower_than_those_of_a_plain_sample() -> None:
    """A population whose labels the probabilities only half know, over 500 samples of 200."""
    rng = np.random.default_rng(5)
    n_reviews, n_products = 6000, 40
    probability = rng.beta(0.5, 0.4, n_reviews)
    product = rng.integers(0, n_products, n_reviews)
    positive = rng.random(n_reviews) < np.clip(0.08 + 0.8 * probability - 0.1 * (product % 2), 0, 1)
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    order = np.lexsort((product, bins))
    cell, first, sizes = np.unique(bins[order] * n_products + product[order], return_index=True, return_counts=True)
    reviews = np.bincount(bins, minlength=BINS)
    drawn = allocate(reviews, np.bincount(bins, probability * (1 - probability)), n=200)
    weight = reviews / np.maximum(1, drawn)
    estimates, plain = [], []
    for seed in range(500):
        draws = draw_cells(sizes, cell // n_products, drawn=drawn, seed=seed)
        rows = np.concatenate(
            [order[start + rng.permutation(size)[:n]] for start, size, n in zip(first, sizes, draws) if n]
        )
        estimates.append((weight[bins[rows]] * positive[rows]).sum() / n_reviews)
        plain.append(positive[rng.permutation(n_reviews)[:200]].mean())
    deviation = np.std(estimates)
    assert np.mean(estimates) == pytest.approx(positive.mean(), abs=4 * deviation / len(estimates) ** 0.5)
    assert deviation < 0.9 * np.std(plain)


def test_the_same_seed_gives_the_same_draws_and_another_one_others() -> None:
    sizes, bins = np.full(50, 9), np.repeat(np.arange(5), 10)
    drawn = np.array([13, 14, 15, 16, 17, 0, 0, 0, 0, 0])
    draws = [draw_cells(sizes, bins, drawn=drawn, seed=seed).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
