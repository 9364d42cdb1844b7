"""Measure a model on a table of labelled reviews."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jobs.labelled_reviews import add_label_arguments, read_labelled
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.evaluation import evaluate_probabilities
from sentiment_core.scoring import Scorer
from sentiment_core.slices import slice_metrics

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``evaluate`` verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    add_label_arguments(parser)
    parser.add_argument("--held-out", action="store_true", help="only the reviews that training holds out")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="measure each value of a column too; repeatable"
    )
    parser.add_argument("--slices", action="store_true", help="measure by length, negation and label value too")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Score the reviews and emit the metrics.

    A review without a token has no probability; such reviews are counted (``empty``) and not measured.
    """
    model = load_model(options.model or bundled_model_path())
    labelled = read_labelled(options, group_columns=options.by)
    reviews = labelled.parts()[1] if options.held_out else labelled.reviews
    scorer = Scorer(model, engine=options.engine, precision=options.precision)
    started = time.perf_counter()
    scores = scorer.score_texts(reviews.texts)
    seconds = time.perf_counter() - started
    scored = np.flatnonzero(~np.isnan(scores.positive_probability))
    measured, probability = reviews.take(scored), scores.positive_probability[scored]
    metrics = evaluate_probabilities(measured.positive, probability)
    slices = {}
    if options.by or options.slices:
        slices["slices"] = slice_metrics(
            measured.texts,
            scores.n_tokens[scored],
            measured.positive,
            probability,
            label_values=measured.grades,
            label_name=options.label_column,
            groups=measured.groups,
        )
    emit(
        metrics.as_dict()
        | {
            "empty": len(reviews) - len(measured),
            "unlabelled": labelled.n_unlabelled,
            "reviews_per_second": round(len(reviews) / seconds, 1),
            "model_sha256": model.sha256,
        }
        | slices
    )
    return f"accuracy {metrics.accuracy:.4f} on {metrics.n:,} reviews, {len(reviews) / seconds:,.0f} reviews/s"
