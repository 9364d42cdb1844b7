"""Estimated shares against the formulas of the authors of the method, and what their intervals promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from jobs.statistics.corrections import UNKNOWN, correction_of
from jobs.statistics.estimates import (
    ENOUGH_LABELS,
    change_steps,
    estimate_steps,
    pool_columns,
    pool_prior,
    product_prior,
)
from tests.support.estimated import ESTIMATE, ask, sums_of

Floats = npt.NDArray[np.float64]


def estimates(groups: list[dict[str, float]]) -> pd.DataFrame:
    return ask(groups, estimate_steps(pool_prior(), labelled=True))


def drawn(rng: np.random.Generator, n: int, *, shift: float = 0.0) -> tuple[Floats, Floats]:
    """Probabilities, and labels of which the share is so much higher than they say."""
    p = rng.beta(0.6, 0.4, n)
    return p, (rng.random(n) < np.clip(p + shift, 0, 1)).astype(float)


def ppi_mean(y: Floats, p: Floats, unlabelled: Floats) -> tuple[float, float]:
    """Estimate and its variance as `ppi_py.ppi_mean_pointestimate` and `ppi_mean_ci` compute them (0.2.3)."""
    n, m = len(y), len(unlabelled)
    covariance = np.mean((y - y.mean()) * (p - p.mean()))
    tuned = covariance / ((1 + n / m) * np.var(np.concatenate([p, unlabelled]), ddof=1))
    tuned = float(np.clip(tuned, 0, 1))
    estimate = tuned * unlabelled.mean() + (y - tuned * p).mean()
    return estimate, np.var(tuned * unlabelled) / m + np.var(y - tuned * p) / n


@pytest.mark.parametrize("n", [25, 100, 400])
def test_with_labels_the_share_is_that_of_power_tuned_prediction_powered_inference(n: int) -> None:
    rng = np.random.default_rng(n)
    groups, expected = [], []
    for _ in range(40):
        p, y = drawn(rng, 10 * n, shift=-0.1)
        w = (np.arange(len(p)) < n).astype(float)
        groups.append(sums_of(p, y, w))
        expected.append(ppi_mean(y[:n], p[:n], p[n:]))
    found = estimates(groups)
    share, variance = np.array(expected).T
    np.testing.assert_allclose(found["tuned_share"], share, atol=0.03 / n)
    ours = found["tuned_share"] * (1 - found["tuned_share"]) / found["trials"]
    # Ten labels as the model expects them are added to the residuals.
    assert np.mean(ours / variance) == pytest.approx(1.0, abs=0.12 if n > 25 else 0.35)


def test_where_all_are_labelled_the_share_is_that_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    groups, expected = [], []
    for n in (1, 3, 19, 50, 1000):
        p, y = drawn(rng, n, shift=0.2)
        groups.append(sums_of(p, y, np.ones(n)))
        expected.append([y.mean(), *proportion_confint(y.sum(), n, method="wilson")])
    np.testing.assert_allclose(estimates(groups)[ESTIMATE], expected, atol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=0, max_size=40), st.floats(0.005, 0.3))
def test_without_a_label_both_ways_agree_and_the_interval_holds_the_share(given_p: list[float], spread: float) -> None:
    p = np.array(given_p)
    nothing = np.zeros(len(p))
    group = [sums_of(p, nothing, nothing, spread=spread)]
    model = ask(group, estimate_steps(pool_prior(), labelled=False))[ESTIMATE].to_numpy(float)
    np.testing.assert_allclose(model, estimates(group)[ESTIMATE].to_numpy(float), atol=1e-9)
    [[share, low, high]] = model
    if len(p):
        assert share == pytest.approx(p.mean(), abs=1e-9)
        assert -1e-12 <= low <= share + 1e-12
        assert share <= high + 1e-12 <= 1 + 2e-12
    else:
        assert np.isnan(model).all()


@given(st.integers(0, 300), st.floats(0.01, 1000))
def test_the_unit_of_the_weights_does_not_matter(n: int, unit: float) -> None:
    rng = np.random.default_rng(n)
    p, y = drawn(rng, 300)
    w = np.where(np.arange(300) < n, rng.choice([1.0, 5.0], 300), 0)
    found = estimates([sums_of(p, y, w), sums_of(p, y, w * unit)])[ESTIMATE].to_numpy(float)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_weights_undo_that_doubtful_reviews_were_drawn_more_often() -> None:
    rng = np.random.default_rng(5)
    weighed, plain = [], []
    for _ in range(400):
        p, y = drawn(rng, 2000, shift=-0.15)
        chance = np.where(np.abs(p - 0.5) < 0.3, 0.15, 0.03)
        is_drawn = rng.random(2000) < chance
        weighed.append(sums_of(p, y, is_drawn / chance))
        plain.append(sums_of(p, y, is_drawn.astype(float)))
    p, y = drawn(np.random.default_rng(6), 2_000_000, shift=-0.15)
    truth = y.mean()
    found, ignored = estimates(weighed), estimates(plain)
    assert abs(found["estimated_share"].mean() - truth) < 0.006
    assert abs(ignored["estimated_share"].mean() - truth) > 0.01
    inside = (found["estimated_share_low"] <= truth) & (truth <= found["estimated_share_high"])
    assert inside.mean() > 0.92


def test_a_product_of_few_labels_borrows_from_the_pool_and_one_of_enough_does_not() -> None:
    rng = np.random.default_rng(7)
    shop = drawn(rng, 20_000, shift=-0.2)
    pool = ask(
        [sums_of(*shop, (np.arange(20_000) < 2000).astype(float))],
        [*estimate_steps(pool_prior(), labelled=True), pool_columns()],
    )
    columns = pool[list(pool_columns())].to_dict("records")[0]
    assert columns["pool_shift"] == pytest.approx(shop[1].mean() - shop[0].mean(), abs=0.02)
    p, y = drawn(rng, 200, shift=-0.2)
    few = [sums_of(p, y, (np.arange(200) < n).astype(float)) | columns for n in (0, 3, ENOUGH_LABELS, 60)]
    found = ask(few, estimate_steps(product_prior(pooled=True), labelled=True))
    assert found["estimated_share"][0] == pytest.approx(p.mean() + columns["pool_shift"], abs=1e-9)
    assert found["own_weight"].is_monotonic_increasing
    assert list(found["own_weight"][2:]) == [1.0, 1.0]
    # What the shop's labels tell is worth more than what the model alone is.
    alone = ask([few[0]], estimate_steps(product_prior(pooled=False), labelled=False))
    assert found["trials"][0] > alone["trials"][0]


@pytest.mark.parametrize("labels", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("size", [4, 40])
def test_weeks_without_a_change_are_called_moved_at_most_at_the_stated_rate(labels: float, size: int) -> None:
    rng = np.random.default_rng(size)
    groups = []
    for _ in range(3000):
        group: dict[str, float] = {}
        for end in ("_7d", "_before"):
            p, y = drawn(rng, size, shift=-0.1)
            w = (rng.random(size) < labels).astype(float)
            group |= {f"{name}{end}": value for name, value in sums_of(p, y, w).items()}
        groups.append(group)
    of_windows = [estimate_steps(pool_prior(end), labelled=labels > 0, end=end) for end in ("_7d", "_before")]
    steps = [now | before for now, before in zip(*of_windows)]
    found = ask(groups, [*steps, *change_steps(now="_7d", before="_before", labelled=labels > 0)])
    moved = (found["change_low"] > 0) | (found["change_high"] < 0)
    assert moved.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 3000)
    assert (moved == (found["change_z"].abs() > 1.96)).mean() > 0.999


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (None, (0.0, 0.0, 0.08, False)),
        ({"mean": 0.03, "standard_error": 0.0, "standard_deviation": 0.04}, (0.0, 0.0, 0.05, True)),
        (
            {"correction": {"shift": 1.0, "sharpness": -3.0, "standard_deviation": 0.03}},
            (1.0, -3.0, 0.03, True),
        ),
        ({"correction": {"shift": 0.0, "sharpness": 0.0, "standard_deviation": 0.0}}, (0.0, 0.0, 0.005, True)),
    ],
)
def test_a_models_correction_is_read_from_its_metrics(shift: Any, expected: tuple[Any, ...]) -> None:
    found = correction_of(shift)
    assert (found.shift, found.sharpness, found.standard_deviation, found.is_known) == pytest.approx(expected)
    assert not UNKNOWN.is_known
