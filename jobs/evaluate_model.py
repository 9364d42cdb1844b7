"""Measure a model on a table of labelled reviews."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.labelled_reviews import add_label_arguments, held_out_rows, positive_labels, read_table
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
    table = read_table(options.input, [options.text_column, options.label_column], optional=(options.product_column,))
    if options.held_out:
        held_out = held_out_rows(
            table,
            text_column=options.text_column,
            product_column=options.product_column,
            fraction=options.validation_fraction,
        )
        table = table.filter(pa.array(held_out))
    positive = positive_labels(table[options.label_column], positive_above=options.positive_above)
    scorer = Scorer(model, engine=options.engine, precision=options.precision)
    started = time.perf_counter()
    probability = scorer.score_texts(table[options.text_column]).positive_probability
    seconds = time.perf_counter() - started
    metrics = evaluate_probabilities(positive, np.nan_to_num(probability, nan=0.5))
    emit(
        metrics.as_dict()
        | {
            "empty": int(np.isnan(probability).sum()),
            "reviews_per_second": round(len(table) / seconds, 1),
            "model_sha256": model.sha256,
        }
    )
    return f"accuracy {metrics.accuracy:.4f} on {metrics.n:,} reviews, {len(table) / seconds:,.0f} reviews/s"
