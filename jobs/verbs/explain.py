"""Show what each word adds to the score of texts from the command line or from standard input, without Spark."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.dashboard.explanation import explanation_page
from jobs.dashboard.html_file import check_html_file, write_html_file
from jobs.verbs.explanation_text import explanation_text
from jobs.verbs.texts import given_texts, leave_out_pandas
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.scoring.explanation import Explanation
from sentiment_core.scoring.scorer import Scorer

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``explain`` verb."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="default: the lines of standard input")
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--json", action="store_true", help="JSON in a terminal as well")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that shows it, too")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Emit one object per text, in order; in a terminal show the texts instead.

    Raises
    ------
    InputError, UsageError
        If the page cannot be written; what was there before stays.
    """
    if options.html is not None:
        check_html_file(options.html, option="--html")
    leave_out_pandas()
    scorer = Scorer(
        load_model(options.model or bundled_model_path()), engine=options.engine, precision=options.precision
    )
    shown = sys.stdout.isatty() and not options.json
    # https://no-color.org
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    kept: list[Explanation] = []
    count = 0
    for texts in given_texts(options.texts):
        for explanation in scorer.explain_texts(texts):
            if shown:
                sys.stdout.write(explanation_text(explanation, coloured=coloured))
            else:
                emit(_as_dict(explanation))
            if options.html is not None:
                kept.append(explanation)
            count += 1
    if options.html is None:
        return f"explained {count:,} texts"
    page = explanation_page(kept, model_sha256=scorer.model.sha256, engine=scorer.engine.name)
    write_html_file(options.html, page.encode(), option="--html")
    return f"explained {count:,} texts, also in {options.html}"


def _as_dict(explanation: Explanation) -> dict[str, Any]:
    scored = zip(explanation.tokens, explanation.contributions.tolist(), explanation.changes.tolist())
    probability = explanation.positive_probability
    return {
        "positive_probability": None if probability is None else round(probability, 6),
        "sentiment": explanation.sentiment,
        "score_status": explanation.status,
        "n_tokens": len(explanation.tokens),
        "logit": explanation.logit,
        "bias": explanation.bias,
        "tokens": [
            {"token": token, "contribution": contribution, "change": change} for token, contribution, change in scored
        ],
    }
