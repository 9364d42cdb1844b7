from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from sentiment_core.artifact import Decision
from sentiment_core.errors import InputError
from sentiment_core.evaluation.metrics import (
    calibration_table,
    choose_calibration,
    evaluate_probabilities,
    fit_platt,
    fit_temperature,
    neutral_band,
)

Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# Few distinct values, so that ties are common; the ends of the range too.
PROBABILITIES = st.sampled_from([0.0, 1.0, 0.5, 0.25, 0.2, 1 / 15, 0.999]) | st.floats(0, 1)


@st.composite
def labelled(
    draw: st.DrawFn, values: st.SearchStrategy[float] = PROBABILITIES, least: int = 2
) -> tuple[Labels, Floats]:
    rows = draw(st.lists(st.tuples(st.booleans(), values), min_size=least, max_size=40))
    labels = np.array([label for label, _ in rows])
    assume(labels.any() and not labels.all())
    return labels, np.array([value for _, value in rows])


def simulated(seed: int, *, n: int = 400, slope: float = 1.0, intercept: float = 0.0) -> tuple[Labels, Floats]:
    """Logits, and labels that are positive with the probability sigmoid(slope * logit + intercept)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.3, 2.0, n)
    return rng.random(n) < 1 / (1 + np.exp(-slope * logits - intercept)), logits


def loss(labels: Labels, logits: Floats, slope: float, intercept: float) -> float:
    """Mean log loss, from the logits."""
    signed = np.where(labels, 1, -1) * (slope * logits + intercept)
    return float(np.logaddexp(0, -signed).mean())


@given(labelled())
def test_the_metrics_are_those_of_scikit_learn(rows: tuple[Labels, Floats]) -> None:
    labels, probabilities = rows
    found = evaluate_probabilities(labels, probabilities)
    predicted = probabilities >= 0.5
    assert found.n == len(labels)
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert found.f1 == pytest.approx(sklearn_metrics.f1_score(labels, predicted, zero_division=0))
    assert found.auc == pytest.approx(sklearn_metrics.roc_auc_score(labels, probabilities))
    assert found.brier == pytest.approx(sklearn_metrics.brier_score_loss(labels, probabilities))
    assert found.log_loss == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(found.accuracy * (1 - found.accuracy) / len(labels)))
    assert all(math.isfinite(value) for value in found.as_dict().values())


@given(labelled())
def test_the_calibration_error_is_that_of_a_loop(rows: tuple[Labels, Floats]) -> None:
    labels, probabilities = rows
    error = 0.0
    for index in range(15):
        last = index == 14
        inside = [
            (label, p) for label, p in zip(labels, probabilities) if index <= p * 15 and (last or p * 15 < index + 1)
        ]
        if inside:
            error += abs(sum(p for _, p in inside) - sum(label for label, _ in inside)) / len(labels)
    assert evaluate_probabilities(labels, probabilities).ece == pytest.approx(error)


@given(labelled())
def test_the_calibration_table_holds_every_review_in_its_bin(rows: tuple[Labels, Floats]) -> None:
    labels, probabilities = rows
    table = calibration_table(labels, probabilities, n_bins=10)
    assert sum(row["n"] for row in table) == len(labels)
    assert sum(row["n"] * row["positive_share"] for row in table) == pytest.approx(labels.sum())
    for row in table:
        assert row["from"] - 1e-9 <= row["mean_probability"] <= row["to"] + 1e-9
        assert row["n"] > 0


def test_perfect_and_inverted_probabilities() -> None:
    labels = np.array([True, False, True, False])
    perfect = evaluate_probabilities(labels, labels.astype(float))
    assert (perfect.accuracy, perfect.auc, perfect.f1, perfect.brier, perfect.ece) == (1, 1, 1, 0, 0)
    assert perfect.log_loss == pytest.approx(0)
    inverted = evaluate_probabilities(labels, 1 - labels.astype(float))
    assert (inverted.accuracy, inverted.auc, inverted.f1, inverted.brier, inverted.ece) == (0, 0, 0, 1, 1)
    assert 30 < inverted.log_loss < 40, "a wrong certainty costs much, but not infinitely much"


def test_the_cut_is_at_probability_one_half() -> None:
    """The ancestor cut the logit at 0.5, which is a probability of 0.62."""
    found = evaluate_probabilities(np.array([True, False]), np.array([0.5, np.nextafter(0.5, 0)]))
    assert found.accuracy == 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "fault"),
    [
        ([], [], "no labelled review"),
        ([True, True], [0.1, 0.2], "all 2 labels are of one class"),
        ([False], [0.1], "all 1 labels are of one class"),
        ([True, False], [0.1, 1.1], "between 0 and 1"),
        ([True, False], [-0.1, 1.0], "between 0 and 1"),
        ([True, False], [0.1, np.nan], "between 0 and 1"),
        ([True, False], [0.1, np.inf], "between 0 and 1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(labels: Any, probabilities: Any, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        evaluate_probabilities(np.array(labels, bool), np.array(probabilities))


# Calibration.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.2, 1.0), (3.0, -2.0), (-0.5, 0.3)])
def test_platt_is_logistic_regression_without_penalty(seed: int, slope: float, intercept: float) -> None:
    labels, logits = simulated(seed, slope=slope, intercept=intercept)
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    found = fit_platt(labels, logits)
    np.testing.assert_allclose(found, [expected.coef_[0, 0], expected.intercept_[0]], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slope", [0.1, 1.0, 4.0])
def test_temperature_is_logistic_regression_without_intercept(seed: int, slope: float) -> None:
    labels, logits = simulated(seed, slope=slope)
    expected = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    found = fit_temperature(labels, logits)
    assert found == (pytest.approx(expected.coef_[0, 0], abs=1e-4), 0.0)


@given(labelled(st.floats(-30, 30), least=4))
def test_calibration_terminates_and_is_no_worse_than_none(rows: tuple[Labels, Floats]) -> None:
    labels, logits = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        temperature, platt = fit_temperature(labels, logits), fit_platt(labels, logits)
    for slope, intercept in (temperature, platt):
        assert math.isfinite(slope)
        assert math.isfinite(intercept)
        assert loss(labels, logits, slope, intercept) <= loss(labels, logits, 1.0, 0.0) + 1e-6
    assert loss(labels, logits, *platt) <= loss(labels, logits, *temperature) + 1e-3


@pytest.mark.parametrize("scale", [1e-3, 1.0, 20.0])
def test_separable_data_stops_at_a_large_slope(scale: float) -> None:
    labels = np.array([False] * 20 + [True] * 20)
    logits = scale * np.linspace(-1, 1, 40)
    for slope, intercept in (fit_temperature(labels, logits), fit_platt(labels, logits)):
        assert 0 < slope < 60
        assert math.isfinite(intercept)
        assert ((slope * logits + intercept > 0) == labels).all()


def test_equal_logits_are_calibrated_to_the_share_of_positives() -> None:
    labels = np.array([True] * 30 + [False] * 10)
    slope, intercept = fit_platt(labels, np.full(40, 0.7))
    assert 1 / (1 + np.exp(-slope * 0.7 - intercept)) == pytest.approx(0.75, abs=1e-6)


def test_a_shift_needs_platt_and_a_scale_needs_a_temperature() -> None:
    labels, logits = simulated(1, n=4000, slope=0.5, intercept=1.5)
    method, slope, intercept = choose_calibration(labels, logits)
    assert (method, (slope, intercept)) == ("platt", fit_platt(labels, logits))
    assert (slope, intercept) == (pytest.approx(0.5, abs=0.1), pytest.approx(1.5, abs=0.2))
    labels, logits = simulated(3, n=4000, slope=0.5)
    method, slope, intercept = choose_calibration(labels, logits)
    assert method in ("temperature", "platt")
    assert (slope, intercept) == (pytest.approx(0.5, abs=0.1), pytest.approx(0, abs=0.1))


@given(labelled(st.floats(-5, 5)))
def test_the_chosen_calibration_is_one_that_a_model_accepts(rows: tuple[Labels, Floats]) -> None:
    """Also where the logits say nothing, or the opposite, and where there are fewer reviews than folds."""
    labels, logits = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method, slope, intercept = choose_calibration(labels, logits)
    Decision(method=method, slope=slope, intercept=intercept)
    if method == "none":
        assert (slope, intercept) == (1.0, 0.0)


def test_calibration_never_turns_the_logits_round() -> None:
    labels, logits = simulated(0, slope=-1.0)
    assert choose_calibration(labels, logits) == ("none", 1.0, 0.0)


# The neutral label.


@given(labelled(st.floats(0, 1).filter(lambda p: abs(100 * p - round(100 * p)) > 1e-6)), st.floats(0.5, 1))
def test_the_neutral_band_is_the_narrowest_that_reaches_the_target(rows: tuple[Labels, Floats], target: float) -> None:
    labels, probabilities = rows
    found = neutral_band(labels, probabilities, target=target)
    for half in range(31):
        negative_below, positive_from = (50 - half) / 100, (50 + half) / 100
        negative, positive = probabilities < negative_below, probabilities >= positive_from
        right = np.count_nonzero(negative & ~labels) + np.count_nonzero(positive & labels)
        if right >= target * np.count_nonzero(negative | positive):
            break
    assert found == (negative_below, positive_from)
    Decision(negative_below=found[0], positive_from=found[1])


def test_the_neutral_band_ends_at_twenty_and_eighty_percent() -> None:
    labels, probabilities = np.array([True, False]), np.array([0.01, 0.99])
    assert neutral_band(labels, probabilities) == (0.2, 0.8)
    assert neutral_band(~labels, probabilities) == (0.5, 0.5)
