from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from jobs.statistics.paired import mcnemar_exact, paired_difference


@given(only_first=st.integers(0, 400), only_second=st.integers(0, 400))
def test_mcnemars_p_is_that_of_statsmodels(only_first: int, only_second: int) -> None:
    expected = mcnemar([[7, only_first], [only_second, 9]], exact=True).pvalue
    assert mcnemar_exact(only_first, only_second) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemars_p_of_many_reviews() -> None:
    for counts in ((100_000, 100_900), (30_000, 33_000), (250_000, 250_000)):
        expected = mcnemar([[0, counts[0]], [counts[1], 0]], exact=True).pvalue
        assert mcnemar_exact(*counts) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.02, 0.1), (0.2, 0.3), (0.01, 0.0)])
@pytest.mark.parametrize("n", [12, 60])
def test_the_interval_holds_the_true_difference_as_often_as_it_says(n: int, rates: tuple[float, float]) -> None:
    """By all outcomes and their chances; an interval of counts cannot be exact, and this one errs to the wide side."""
    first, second = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = first + second <= n
    chances = stats.multinomial.pmf(
        np.stack([first, second, n - first - second], axis=-1)[possible], n, [*rates, 1 - sum(rates)]
    )
    ends = [paired_difference(int(a), int(b), n=n)[1:] for a, b in zip(first[possible], second[possible])]
    true = rates[1] - rates[0]
    covered = sum(chance for chance, (low, high) in zip(chances, ends) if low <= true <= high)
    assert covered >= 0.94


def test_the_interval_of_many_reviews_is_that_of_the_paired_differences() -> None:
    only_first, only_second, n = 300, 420, 20_000
    difference, low, high = paired_difference(only_first, only_second, n=n)
    pairs = np.repeat([-1.0, 1.0, 0.0], [only_first, only_second, n - only_first - only_second])
    expected = stats.norm.interval(0.95, pairs.mean(), stats.sem(pairs))
    assert difference == pytest.approx(pairs.mean())
    assert (low, high) == pytest.approx(expected, abs=2e-5)
    assert paired_difference(0, 0, n=1)[1] >= -1
    assert paired_difference(0, 1, n=1)[2] <= 1
