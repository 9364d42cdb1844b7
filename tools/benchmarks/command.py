"""What the benchmark commands share: their options, their log, and an error as one sentence."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sentiment_core.artifact import bundled_model_path
from sentiment_core.errors import SentimentError

__all__ = ["benchmark_parser", "parse", "run"]


def benchmark_parser(description: str | None, *, reviews: int, quick_reviews: int) -> argparse.ArgumentParser:
    """A parser of the options that all have.

    Parameters
    ----------
    description : str
    reviews, quick_reviews : int
        How many are measured by default, and with ``--quick`` at most.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="directory of the reviews; default: generated ones")
    parser.add_argument("--model", type=Path, default=bundled_model_path())
    parser.add_argument("--reviews", type=int, default=reviews, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--quick", action="store_true", help=f"{quick_reviews} reviews, one round: to try the command")
    parser.set_defaults(quick_reviews=quick_reviews)
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the log switched on."""
    options = parser.parse_args(arguments)
    if options.quick:
        options.reviews, options.rounds = min(options.reviews, options.quick_reviews), 1
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return options


def run(measure: Callable[[], object]) -> int:
    """Measure; returns the exit code."""
    try:
        measure()
    except SentimentError as error:
        print(f"benchmark: failed: {error}", file=sys.stderr)
        return error.exit_code
    return 0
