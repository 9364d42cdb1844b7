"""Fit a model's probabilities to labels of one's own: seconds, no training, and measured before it counts."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jobs.labels.reviews import LabelledInput, add_label_arguments, column_names, read_labelled
from jobs.labels.sheet import WEIGHT, is_label_sheet, unguarded, weights_of
from jobs.verbs.settings import reading_from, settings_from
from sentiment_core.artifact import bundled_model_path, check_target, load_model, save_model
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import GateError, InputError
from sentiment_core.training.recalibration import Recalibration, recalibrate, recalibrated_model, score_labelled

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``calibrate`` verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    add_label_arguments(parser, split=False)
    parser.add_argument(
        "--weight-column",
        metavar="NAME",
        help="for how many reviews each one stands (default: that of a sheet of `sentiment sample`, else none)",
    )
    parser.add_argument("--data-name", metavar="TEXT", help="what the reviews are, for the model card")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the model directory to write")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="that will score; default: auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="that will score; default: auto")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Calibrate, measure, write if that is better; emits both measurements.

    Raises
    ------
    InputError
        If the labels are too few, of one class, or the opposite of what the model says.
    GateError
        If the held-out log loss is not lower than before; nothing is written.
    """
    started = time.perf_counter()
    output = check_target(options.output)
    path = options.model or bundled_model_path()
    if output == path.resolve():
        raise InputError(f"--output {options.output} is the model itself; name another directory")
    model = load_model(path)
    is_sheet = is_label_sheet(column_names(options.input, reading=reading_from(options)))
    weight_column = options.weight_column or (WEIGHT if is_sheet else None)
    found = read_labelled(settings_from(options, LabelledInput), group_columns=[weight_column] if weight_column else [])
    reviews, weights = found.reviews, None
    if weight_column:
        weights = weights_of(reviews.groups[weight_column], source=options.input, name=weight_column)
    if is_sheet:
        reviews = replace(reviews, texts=unguarded(reviews.texts))
    labelled = score_labelled(
        model, reviews, half=found.held_out, weights=weights, engine=options.engine, precision=options.precision
    )
    result = recalibrate(model, labelled)
    report: dict[str, Any] = {
        "from_sha256": model.sha256,
        "labels": len(labelled.reviews),
        "empty": len(reviews) - len(labelled.reviews),
        "unlabelled": found.n_unlabelled,
        "weighted": weights is not None,
        "held_out": {"before": dict(result.before), "after": dict(result.after)},
        "decision": {"before": asdict(model.decision), "after": asdict(result.decision)},
    }
    if not result.better:
        emit(report | {"kept": "before", "model": None, "sha256": None, "seconds": _since(started)})
        raise GateError(f"{_losses(result)}: no better than before, so the model stays as it is and nothing is written")
    new = recalibrated_model(model, labelled, result, data_name=options.data_name)
    save_model(new, output)
    emit(report | {"kept": "after", "model": str(options.output), "sha256": new.sha256, "seconds": _since(started)})
    before, after = result.before, result.after
    return (
        f"wrote {options.output}: {_losses(result)}, calibration error {before['ece']:.4f} before and "
        f"{after['ece']:.4f} after, share error {100 * before['share_error']:+.1f} points before and "
        f"{100 * after['share_error']:+.1f} after"
    )


def _losses(result: Recalibration) -> str:
    before, after = result.before, result.after
    return (
        f"held-out log loss {before['log_loss']:.4f} before and {after['log_loss']:.4f} after on {after['n']:,} labels"
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 1)
