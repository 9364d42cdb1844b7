from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from sentiment_core.evaluation.domain_shift import (
    FEWEST_REVIEWS,
    calibration_errors,
    domain_shift,
    random_effects,
    share_correction,
)
from sentiment_core.evaluation.metrics import evaluate_probabilities


@given(
    st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(1e-5, 0.05)), min_size=2, max_size=30),
)
def test_the_random_effects_are_those_of_statsmodels(groups: list[tuple[float, float]]) -> None:
    effects, variances = np.array(groups).T
    found = random_effects(effects, variances)
    with np.errstate(all="ignore"):
        oracle = combine_effects(effects, variances, method_re="chi2")
    expected_between = max(0.0, oracle.tau2)
    assert found[2] == pytest.approx(np.sqrt(expected_between), abs=1e-7)
    weights = 1 / (variances + expected_between)
    assert found[0] == pytest.approx(np.average(effects, weights=weights), abs=1e-9)
    assert found[1] == pytest.approx(weights.sum() ** -0.5)
    if oracle.tau2 > 0:
        assert found[0] == pytest.approx(oracle.mean_effect_re, abs=1e-9)
        assert found[1] == pytest.approx(oracle.sd_eff_w_re, rel=1e-6)


def drawn(shifts: np.ndarray, *, n: int, seed: int) -> tuple[pa.Array, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Reviews of domains whose true shares lie so far above what the model says."""
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0.2, 0.8, size=(len(shifts), n))
    positive = rng.random(probabilities.shape) < probabilities + shifts[:, None]
    domains = pa.array([f"domain {index}" for index in range(len(shifts)) for _ in range(n)])
    return domains, positive.ravel(), probabilities.ravel()


def test_mean_and_spread_of_the_shift_are_found() -> None:
    shifts = np.random.default_rng(0).normal(0.05, 0.04, size=300)
    found = domain_shift(*drawn(shifts, n=400, seed=1))
    assert found is not None
    assert found["domains"] == 300
    assert found["mean"] == pytest.approx(0.05, abs=0.01)
    assert found["standard_deviation"] == pytest.approx(0.04, abs=0.006)
    assert found["standard_error"] == pytest.approx(np.hypot(0.04, 0.025) / np.sqrt(300), rel=0.2)


def test_what_is_noise_of_the_samples_alone_is_no_spread() -> None:
    """The plain standard deviation of these domains is 0.08."""
    found = domain_shift(*drawn(np.zeros(300), n=30, seed=2))
    assert found is not None
    assert found["standard_deviation"] < 0.03
    assert abs(found["mean"]) < 3 * found["standard_error"]


def test_few_domains_have_no_spread_and_reviews_without_one_count_nowhere() -> None:
    positive, probabilities = np.array([True, False] * 4), np.linspace(0.1, 0.9, 8)
    assert domain_shift(pa.array(["tea", "soap"] * 4), positive, probabilities) is None
    assert domain_shift(pa.array(["tea", "soap", None, None] * 2), positive, probabilities) is None
    known = pa.chunked_array([["tea", "soap", None], ["app", "tea", "soap", None, "app"]])
    found = domain_shift(known, positive, probabilities)
    assert found is not None
    assert found["domains"] == 3
    rows = [0, 1, 3, 4, 5, 7]
    assert found == domain_shift(known.take(pa.array(rows)), positive[rows], probabilities[rows])


def test_a_domain_of_one_review_or_of_no_error_is_no_division_by_zero() -> None:
    positive, probabilities = np.array([True, False, True, True]), np.array([1.0, 0, 0.5, 1])
    found = domain_shift(pa.array(["a", "b", "c", "c"]), positive, probabilities)
    assert found is not None
    assert all(np.isfinite(value) for value in found.values())


def test_calibration_errors_are_those_of_each_large_domain() -> None:
    domains, positive, probabilities = drawn(np.array([0.0, 0.1, -0.1]), n=FEWEST_REVIEWS, seed=3)
    few = pa.array(["few"] * (FEWEST_REVIEWS - 1) + [None] * 400)
    more = np.random.default_rng(4).random(len(few))
    found = calibration_errors(
        pa.chunked_array([few, domains]), np.append(more > 0.5, positive), np.append(more, probabilities)
    )
    assert [(row["domain"], row["n"]) for row in found] == [(f"domain {index}", FEWEST_REVIEWS) for index in range(3)]
    for index, row in enumerate(found):
        rows = slice(index * FEWEST_REVIEWS, (index + 1) * FEWEST_REVIEWS)
        assert row["ece"] == pytest.approx(evaluate_probabilities(positive[rows], probabilities[rows]).ece)


def doubtful(
    n_domains: int, *, shift: float, sharpness: float, seed: int, n: int = 400
) -> tuple[pa.Array, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Domains of different doubt and leaning, whose shares follow from both as `share_correction` says."""
    rng = np.random.default_rng(seed)
    domains, positive, probabilities = [], [], []
    for index in range(n_domains):
        p = rng.beta(*rng.uniform(0.3, 3, 2), n)
        share = p + p * (1 - p) * (shift + sharpness * (1 - 2 * p))
        positive.append(rng.random(n) < np.clip(share, 0, 1))
        probabilities.append(p)
        domains += [f"domain {index}"] * n
    return pa.array(domains), np.concatenate(positive), np.concatenate(probabilities)


def test_the_correction_of_shares_is_found_and_its_error_is_that_of_domains_left_out() -> None:
    domains, positive, probabilities = doubtful(60, shift=0.4, sharpness=-0.5, seed=3)
    found = share_correction(domains, positive, probabilities)
    assert found is not None
    assert found["shift"] == pytest.approx(0.4, abs=0.06)
    assert found["sharpness"] == pytest.approx(-0.5, abs=0.25)
    assert found["standard_deviation"] < 0.02
    names = np.array(domains.to_pylist())
    left = []
    for name in dict.fromkeys(names):
        rest, own = names != name, names == name
        one = share_correction(pa.array(names[rest]), positive[rest], probabilities[rest])
        assert one is not None
        p = probabilities[own]
        corrected = (p + p * (1 - p) * (one["shift"] + one["sharpness"] * (1 - 2 * p))).mean()
        left.append(abs(positive[own].mean() - corrected))
    assert found["mean_absolute_error"] == pytest.approx(np.mean(left), abs=1e-9)
    assert found["mean_absolute_error"] < 0.5 * found["mean_absolute_error_uncorrected"]


def test_a_correction_that_does_not_help_is_none() -> None:
    """Probabilities that are right need no correction, and chance makes none."""
    found = share_correction(*doubtful(8, shift=0.0, sharpness=0.0, seed=4))
    assert found is not None
    assert (found["shift"], found["sharpness"]) == (0.0, 0.0)
    assert found["standard_deviation"] < 0.02


def test_too_few_or_too_small_domains_tell_no_correction() -> None:
    assert share_correction(*doubtful(5, shift=0.4, sharpness=0.0, seed=5)) is None
    assert share_correction(*doubtful(20, shift=0.4, sharpness=0.0, seed=6, n=FEWEST_REVIEWS - 1)) is None
    found = domain_shift(*doubtful(6, shift=0.4, sharpness=0.0, seed=7))
    assert found is not None
    assert found["correction"]["domains"] == 6
