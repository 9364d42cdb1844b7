"""Score texts from the command line or from standard input, without Spark."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.verbs.texts import given_texts, leave_out_pandas
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.scoring.scorer import Scorer

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``predict`` verb."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="default: the lines of standard input")
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Emit one object per text, in order."""
    leave_out_pandas()
    scorer = Scorer(
        load_model(options.model or bundled_model_path()), engine=options.engine, precision=options.precision
    )
    count = 0
    for texts in given_texts(options.texts):
        scores = scorer.score_texts(texts)
        rows = zip(
            scores.positive_probability.tolist(),
            scores.sentiment,
            scores.status,
            scores.n_tokens.tolist(),
            scores.n_unknown.tolist(),
        )
        for probability, sentiment, status, n_tokens, n_unknown in rows:
            emit(
                {
                    "positive_probability": None if probability != probability else round(probability, 6),
                    "sentiment": sentiment,
                    "score_status": status,
                    "n_tokens": n_tokens,
                    "n_unknown": n_unknown,
                }
            )
        count += len(scores)
    return f"scored {count:,} texts"
