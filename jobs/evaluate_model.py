"""Measure a model on a table of labelled reviews."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.labelled_reviews import add_label_arguments, read_labelled
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.evaluation import evaluate_probabilities
from sentiment_core.scoring import ENGINES, PRECISIONS, Scorer

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``evaluate`` verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    add_label_arguments(parser)
    parser.add_argument("--held-out", action="store_true", help="only the reviews that training holds out")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Score the reviews and emit the metrics.

    A review without a token has no probability; it counts as undecided, with probability 0.5.
    """
    model = load_model(options.model or bundled_model_path())
    reviews = read_labelled(options)
    rows = reviews.held_out if options.held_out else np.ones(len(reviews.positive), dtype=bool)
    texts, positive = reviews.texts.filter(pa.array(rows)), reviews.positive[rows]
    scorer = Scorer(model, engine=options.engine, precision=options.precision)
    started = time.perf_counter()
    probability = scorer.score_texts(texts).positive_probability
    seconds = time.perf_counter() - started
    metrics = evaluate_probabilities(positive, np.nan_to_num(probability, nan=0.5))
    emit(
        metrics.as_dict()
        | {
            "empty": int(np.isnan(probability).sum()),
            "unlabelled": reviews.n_unlabelled,
            "reviews_per_second": round(len(texts) / seconds, 1),
            "model_sha256": model.sha256,
        }
    )
    return f"accuracy {metrics.accuracy:.4f} on {metrics.n:,} reviews, {len(texts) / seconds:,.0f} reviews/s"
