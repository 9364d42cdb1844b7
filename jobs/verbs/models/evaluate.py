"""Measure a model on a table of labelled reviews, or its behaviour on texts made of templates."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jobs.labels.reviews import LabelledInput, add_label_arguments, read_labelled
from jobs.verbs.settings import settings_from
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.behaviour.suite import evaluate_behaviour
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import UsageError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.evaluation.slices import slice_metrics
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.scoring.status import UNFAMILIAR

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``evaluate`` verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")
    add_label_arguments(parser, input_required=False)
    parser.add_argument("--held-out", action="store_true", help="only the reviews that training holds out")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="measure each value of a column too; repeatable"
    )
    parser.add_argument("--slices", action="store_true", help="measure by length, negation and label value too")
    parser.add_argument(
        "--behaviour",
        action="store_true",
        help="run the behaviour tests: negation, changes over time, names, groups of people and others",
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Score the reviews, the texts of the behaviour tests or both, and emit the metrics.

    A review without a token has no probability; such reviews are counted (``empty``) and not measured. Reviews that are
    ``unfamiliar`` are measured like all others, and counted.

    Raises
    ------
    UsageError
        If there is nothing to measure.
    """
    if options.input is None and not options.behaviour:
        raise UsageError("there is nothing to measure; name labelled reviews with --input, or ask for --behaviour")
    if options.input is None and (options.held_out or options.by or options.slices):
        raise UsageError("--held-out, --by and --slices measure reviews; name them with --input")
    model = load_model(options.model or bundled_model_path())
    scorer = Scorer(model, engine=options.engine, precision=options.precision)
    found: dict[str, Any] = {}
    sentences = []
    if options.input is not None:
        metrics, sentence = _measure_reviews(options, scorer)
        found |= metrics
        sentences.append(sentence)
    if options.behaviour:
        found["behaviour"] = evaluate_behaviour(
            lambda texts: scorer.score_texts(texts).positive_probability,
            negative_below=model.decision.negative_below,
            positive_from=model.decision.positive_from,
        )
        sentences.append(_behaviour_sentence(found["behaviour"]))
    emit(found | {"model_sha256": model.sha256})
    return "; ".join(sentences)


def _measure_reviews(options: argparse.Namespace, scorer: Scorer) -> tuple[dict[str, Any], str]:
    labelled = read_labelled(settings_from(options, LabelledInput), group_columns=options.by)
    reviews = labelled.parts()[1] if options.held_out else labelled.reviews
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
    found = metrics.as_dict() | {
        "empty": len(reviews) - len(measured),
        "unfamiliar": int(np.count_nonzero(scores.status == UNFAMILIAR)),
        "unlabelled": labelled.n_unlabelled,
        "reviews_per_second": round(len(reviews) / seconds, 1),
    }
    sentence = f"accuracy {metrics.accuracy:.4f} on {metrics.n:,} reviews, {len(reviews) / seconds:,.0f} reviews/s"
    return found | slices, sentence


def _behaviour_sentence(behaviour: Mapping[str, Any]) -> str:
    rates = [f"{row['type']} {row['failure_rate']:.1%} of {row['cases']:,}" for row in behaviour["types"]]
    return f"behaviour tests that failed: {', '.join(rates)}"
