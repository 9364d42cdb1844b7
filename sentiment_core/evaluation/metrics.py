"""Metrics and calibration of probabilities; NumPy only.

Axes: N reviews. ``labels`` are booleans, True for positive; ``probabilities`` are those of the positive class.
``weights``, above 0, say for how many reviews each one stands, where they were not drawn with equal chances; without
them each stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.errors import InputError
from sentiment_core.logistic import sigmoid

__all__ = [
    "Metrics",
    "calibration_table",
    "choose_calibration",
    "evaluate_probabilities",
    "fit_platt",
    "fit_temperature",
    "neutral_band",
]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

LABEL_TARGET = 0.95  # share of right labels that the neutral band is made for
WIDEST_BAND = 0.3  # on either side of 0.5


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Quality of probabilities against labels.

    ``accuracy`` and ``f1`` cut at probability 0.5. ``ece`` is the expected calibration error over 15 bins of
    equal width (Naeini et al. 2015): the mean distance between a bin's mean probability and its share of
    positives. ``standard_error`` is that of the accuracy.
    """

    n: int
    accuracy: float
    standard_error: float
    auc: float
    f1: float
    log_loss: float
    brier: float
    ece: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate_probabilities(labels: Labels, probabilities: Floats, *, weights: Floats | None = None) -> Metrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    labels : array of bool, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1
    weights : array of float, shape (N,), optional

    Raises
    ------
    InputError
        If there are no reviews, a probability is outside 0..1, or all labels are of one class.
    """
    labels, probabilities = _checked(labels, probabilities)
    weights = _weights(labels, weights)
    predicted = probabilities >= 0.5
    right = predicted == labels
    true_positives = weights[predicted & labels].sum()
    accuracy = float(np.average(right, weights=weights))
    return Metrics(
        n=len(labels),
        accuracy=accuracy,
        standard_error=float(np.sqrt((weights**2 * (right - accuracy) ** 2).sum()) / weights.sum()),
        auc=_auc(labels, probabilities, weights),
        f1=float(2 * true_positives / (weights[predicted].sum() + weights[labels].sum())),
        log_loss=_log_loss(labels, probabilities, weights),
        brier=float(np.average((probabilities - labels) ** 2, weights=weights)),
        ece=sum(
            abs(row["mean_probability"] - row["positive_share"]) * row.get("share", row["n"] / len(labels))
            for row in calibration_table(labels, probabilities, weights=weights)
        ),
    )


def calibration_table(
    labels: Labels, probabilities: Floats, *, n_bins: int = 15, weights: Floats | None = None
) -> list[dict[str, Any]]:
    """Reliability by bins of equal width: n, mean probability and share of positives of each filled bin.

    With ``weights`` that differ, ``share`` is the share of all reviews that those of the bin stand for.
    """
    weights = _weights(labels, weights)
    bins = np.minimum((probabilities * n_bins).astype(int), n_bins - 1)
    table = []
    for index in np.unique(bins):
        inside = bins == index
        of_bin = weights[inside]
        table.append(
            {
                "from": index / n_bins,
                "to": (index + 1) / n_bins,
                "n": int(np.count_nonzero(inside)),
                **({"share": float(of_bin.sum() / weights.sum())} if np.ptp(weights) > 0 else {}),
                "mean_probability": float(np.average(probabilities[inside], weights=of_bin)),
                "positive_share": float(np.average(labels[inside], weights=of_bin)),
            }
        )
    return table


def fit_temperature(labels: Labels, logits: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Slope that minimises the log loss of ``sigmoid(slope * logit)`` (Guo et al. 2017), and intercept 0."""
    return _fit(labels, logits[:, None], _weights(labels, weights))[0], 0.0


def fit_platt(labels: Labels, logits: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Slope and intercept that minimise the log loss of ``sigmoid(slope * logit + intercept)`` (Platt 1999)."""
    features = np.stack([logits, np.ones_like(logits)], axis=1)
    slope, intercept = _fit(labels, features, _weights(labels, weights))
    return slope, intercept


def choose_calibration(
    labels: Labels, logits: Floats, *, n_folds: int = 5, weights: Floats | None = None
) -> tuple[str, float, float]:
    """The calibration of lower cross-validated log loss: ``temperature`` or ``platt``.

    If both would turn the logits round, the logits say nothing about the labels, and the method is ``none``.

    Returns
    -------
    method : str
    slope, intercept : float
        Fitted on all rows; slope is positive.
    """
    methods: dict[str, Callable[[Labels, Floats, Floats], tuple[float, float]]] = {
        "temperature": fit_temperature,
        "platt": fit_platt,
    }
    weights = _weights(labels, weights)
    folds = np.arange(len(labels)) % n_folds
    losses = {}
    for name, fit in methods.items():
        loss = 0.0
        for fold in np.unique(folds):
            inside = folds != fold
            slope, intercept = fit(labels[inside], logits[inside], weights[inside])
            probabilities = sigmoid(slope * logits[~inside] + intercept)
            loss += _log_loss(labels[~inside], probabilities, weights[~inside]) * weights[~inside].sum()
        losses[name] = loss if fit(labels, logits, weights)[0] > 0 else np.inf
    method = min(losses, key=lambda name: losses[name])
    if not np.isfinite(losses[method]):
        return "none", 1.0, 0.0
    slope, intercept = methods[method](labels, logits, weights)
    return method, slope, intercept


def neutral_band(
    labels: Labels, probabilities: Floats, *, target: float = LABEL_TARGET, weights: Floats | None = None
) -> tuple[float, float]:
    """Cut-offs of the neutral label: the narrowest band around 0.5 outside which labels are right often enough.

    Parameters
    ----------
    labels, probabilities : arrays, shape (N,)
        The validation part.
    target : float
        Wanted share of right labels among the reviews outside the band.
    weights : array of float, shape (N,), optional

    Returns
    -------
    negative_below, positive_from : float
        Symmetric around 0.5, in steps of 0.01; at most 0.2 and 0.8, even if the target is not reached there.
    """
    weights = _weights(labels, weights)
    for half in np.arange(0, round(100 * WIDEST_BAND) + 1) / 100:
        outside = np.abs(probabilities - 0.5) >= half
        right = (probabilities >= 0.5) == labels
        if not outside.any() or np.average(right[outside], weights=weights[outside]) >= target:
            break
    return round(0.5 - float(half), 2), round(0.5 + float(half), 2)


def _checked(labels: Labels, probabilities: Floats) -> tuple[Labels, Floats]:
    labels = np.asarray(labels, dtype=bool)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if not len(labels):
        raise InputError("there is no labelled review to evaluate; check the label column")
    if labels.all() or not labels.any():
        raise InputError(f"all {len(labels):,} labels are of one class; check --label-column and --positive-above")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("probabilities must be between 0 and 1")
    return labels, probabilities


def _weights(labels: Labels, weights: Floats | None) -> Floats:
    return np.ones(len(labels)) if weights is None else weights


def _auc(labels: Labels, probabilities: Floats, weights: Floats) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic, ties counting half."""
    steps, step = np.unique(probabilities, return_inverse=True)
    positives = np.bincount(step, weights * labels, len(steps))
    negatives = np.bincount(step, weights * ~labels, len(steps))
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


def _log_loss(labels: Labels, probabilities: Floats, weights: Floats) -> float:
    tiny = np.finfo(np.float64).eps
    right = np.where(labels, probabilities, 1 - probabilities)
    return float(-np.average(np.log(np.maximum(right, tiny)), weights=weights))


def _fit(labels: Labels, features: Floats, of_reviews: Floats) -> list[float]:
    """Logistic regression without penalty by bounded Newton steps; separable data stops at a large slope."""
    weights = np.zeros(features.shape[1])  # from a slope of 1, logits that are far too bold make the steps diverge
    for _ in range(100):
        probabilities = sigmoid(features @ weights)
        gradient = features.T @ (of_reviews * (probabilities - labels))
        curvature = (features * (of_reviews * probabilities * (1 - probabilities))[:, None]).T @ features
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        weights -= step
        if np.abs(step).max() < 1e-10 or np.abs(weights).max() > 50:
            break
    return [float(weight) for weight in weights]
