"""From logits with labels to a decision (calibration and cut-offs), and its quality in a model's metrics.

Axes: N reviews.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Decision
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.evaluation.metrics import (
    calibration_table,
    choose_calibration,
    evaluate_probabilities,
    neutral_band,
)
from sentiment_core.evaluation.slices import slice_metrics

__all__ = ["fit_decision", "measure_decision"]

Floats = npt.NDArray[np.float64]


def fit_decision(
    positive: npt.NDArray[np.bool_], logits: npt.NDArray[np.floating[Any]], *, weights: Floats | None = None
) -> Decision:
    """Calibration and neutral band that fit labelled reviews; the method ``none`` if the logits contradict the labels.

    Parameters
    ----------
    positive : array of bool, shape (N,)
    logits : array of float, shape (N,)
    weights : array of float, shape (N,), optional
        For how many reviews each one stands.
    """
    method, slope, intercept = choose_calibration(positive, logits.astype(np.float64), weights=weights)
    probabilities = Decision(slope=slope, intercept=intercept).probability(logits)
    negative_below, positive_from = neutral_band(positive, probabilities, weights=weights)
    return Decision(
        method=method,
        slope=slope,
        intercept=intercept,
        negative_below=negative_below,
        positive_from=positive_from,
    )


def measure_decision(
    reviews: Labelled,
    n_tokens: npt.NDArray[np.int32],
    probabilities: Floats,
    *,
    decision: Decision,
    weights: Floats | None = None,
) -> dict[str, Any]:
    """What a model's metrics hold of the reviews that it was calibrated on.

    Parameters
    ----------
    reviews : Labelled, N reviews
    n_tokens : array of int, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1
    decision : Decision
        Its cut-offs are measured.
    weights : array of float, shape (N,), optional
        Slices are counted without them.

    Returns
    -------
    dict
        ``validation``, ``labelled_share``, ``labels_right``, ``calibration_table`` and ``slices``.
    """
    positive = reviews.positive >= 0.5
    weights = np.ones(len(positive)) if weights is None else weights
    outside = (probabilities < decision.negative_below) | (probabilities >= decision.positive_from)
    right = (probabilities >= 0.5) == positive
    labelled = weights[outside].sum()
    return {
        "validation": evaluate_probabilities(positive, probabilities, weights=weights).as_dict(),
        "labelled_share": float(np.average(outside, weights=weights)),
        "labels_right": float(weights[right & outside].sum() / labelled) if labelled else 0.0,
        "calibration_table": calibration_table(positive, probabilities, weights=weights),
        "slices": slice_metrics(
            reviews.texts, n_tokens, positive, probabilities, label_values=reviews.grades, label_name="grade"
        ),
    }
