"""Measure the probabilities of a model, in numbers, a plot and a card."""

from __future__ import annotations

from sentiment_core.evaluation.metrics import (
    Metrics,
    calibration_table,
    choose_calibration,
    evaluate_probabilities,
    fit_platt,
    fit_temperature,
    neutral_band,
)

__all__ = [
    "Metrics",
    "calibration_table",
    "choose_calibration",
    "evaluate_probabilities",
    "fit_platt",
    "fit_temperature",
    "neutral_band",
]
