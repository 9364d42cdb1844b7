"""Compare two models that scored the same reviews side by side (`score --model NAME=DIR --model NAME=DIR`).

Whoever decides whether a challenger replaces the champion reads it: where they agree, where they differ, and, where
labels were kept, which is right more often and whether that is more than chance. No text is read or shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.labels.grades import POSITIVE_LABEL_HELP
from jobs.marts.comparison import SIDES, compare_models, compare_shares, compare_verdicts, paired_scores
from jobs.marts.days import scored_twice
from jobs.publishing.staging import open_output
from jobs.spark.session import spark_session
from jobs.tables.extras import probability_of
from jobs.tables.reading import open_table, refusing_unreadable
from jobs.tables.run_reports import RunReports
from jobs.tables.scores import column
from sentiment_core.errors import InputError, UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``compare`` verb."""
    parser.add_argument("--scores", required=True, metavar="PATH", help="the output of `sentiment score`")
    parser.add_argument("--champion", metavar="NAME", help="default: the first model of the runs")
    parser.add_argument("--challenger", metavar="NAME", help="default: the second, if there are two")
    parser.add_argument("--run-id", action="append", default=[], metavar="ID", help="only rows of this run, repeatable")
    parser.add_argument("--id-column", default="review_id", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--label-column", metavar="NAME", help="labels that were kept: numbers, booleans or words")
    parser.add_argument("--positive-above", type=float, default=0.5, metavar="X", help="a larger label is positive")
    parser.add_argument("--positive-label", metavar="WORD", help=POSITIVE_LABEL_HELP)
    parser.add_argument("--largest", type=int, default=20, metavar="N", help="reviews to name; default: %(default)s")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Emit the comparison.

    Raises
    ------
    InputError, UsageError
    """
    if not 0 <= options.largest <= 10_000:
        raise UsageError(f"--largest must be from 0 to 10,000, not {options.largest}")
    session = spark_session("sentiment compare")
    with refusing_unreadable(options.scores):
        scores = _rows(session, options)
        models = _models(session, scores, options)
        _refuse_scored_twice(scores, models, options)
        paired = paired_scores(scores, models, id_column=options.id_column)
        found = compare_models(paired, n_largest=options.largest)
        if not found["scored_by_both"]:
            raise InputError(f"{options.scores}: no review has a probability of both models; score them side by side")
        labels = {
            "label_column": options.label_column,
            "positive_above": options.positive_above,
            "positive_label": options.positive_label,
        }
        if options.label_column is not None:
            found["labels"] = compare_verdicts(paired, **labels)
        found["shares"] = compare_shares(paired, models, **labels)
    emit({"models": models} | found)
    return _sentence(models, found)


def _rows(session: SparkSession, options: argparse.Namespace) -> DataFrame:
    scores = open_table(session, options.scores, input_format="parquet")
    for name, option in ((options.id_column, "--id-column"), (options.label_column, "--label-column")):
        if name is not None and name not in scores.columns:
            raise InputError(
                f"{options.scores}: the column {name!r} is missing, the table has: {', '.join(scores.columns)}; name "
                f"one with {option}, or score with --keep-columns {name}"
            )
    if "run_id" not in scores.columns:
        raise InputError(f"{options.scores}: the column 'run_id' is missing; name the output of `sentiment score`")
    return scores.where(column("run_id").isin(options.run_id)) if options.run_id else scores


def _refuse_scored_twice(
    scores: DataFrame, models: Mapping[str, Mapping[str, Any]], options: argparse.Namespace
) -> None:
    """A review's second pair is no new evidence: it would make every interval too narrow."""
    pairs = scores.dropna(subset=[probability_of(model["name"]) for model in models.values()])
    twice = scored_twice(pairs, id_column=options.id_column)
    if twice:
        raise InputError(
            f"{options.scores}: {twice:,} reviews were scored by more than one run and would count twice; name one run "
            "with --run-id"
        )


def _models(session: SparkSession, scores: DataFrame, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of both sides what the reports of the rows' runs say of the model."""
    runs = sorted(row[0] for row in scores.select("run_id").distinct().collect() if row[0] is not None)
    reports = RunReports(open_output(session, options.scores)[0])
    known = reports.read(f"{run_id}.json" for run_id in runs if f"{run_id}.json" in reports.files)
    named = [report["models"] for report in known if report.get("models")]
    chosen = {}
    for side, name in zip(SIDES, _names(named, options)):
        models = [model for run in named for model in run if model["name"] == name]
        if not models or probability_of(name) not in scores.columns:
            raise InputError(f"{options.scores}: no run has a model named {name!r}; name one with --{side}")
        versions = sorted({model["sha256"] for model in models})
        if len(versions) > 1:
            raise InputError(
                f"{options.scores}: {name!r} was {len(versions)} different models, {versions[0][:12]} and "
                f"{versions[1][:12]}; name the runs of one with --run-id"
            )
        chosen[side] = models[0]
    return chosen


def _names(named: Sequence[Sequence[Mapping[str, Any]]], options: argparse.Namespace) -> tuple[str, str]:
    found = list(dict.fromkeys(model["name"] for run in named for model in run))
    champion = options.champion or next((name for name in found if name != options.challenger), None)
    others = [name for name in found if name != champion]
    challenger = options.challenger or (others[0] if len(others) == 1 else None)
    if champion is None or (challenger is None and not others):
        raise InputError(
            f"{options.scores}: its runs name no two models; score with --model champion=DIR --model challenger=DIR"
        )
    if challenger is None:
        raise UsageError(f"its runs name the models {', '.join(found)}; choose with --champion and --challenger")
    if champion == challenger:
        raise UsageError(f"--champion and --challenger are both {champion!r}; name two models")
    return champion, challenger


def _sentence(models: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    champion, challenger = (models[side]["name"] for side in SIDES)
    said = (
        f"{challenger} against {champion} on {found['scored_by_both']:,} reviews: the same sentiment in "
        f"{found['agreement']:.1%}, probability {found['difference']['mean']:+.4f} on average"
    )
    if "labels" not in found:
        return said
    labels = found["labels"]
    return (
        f"{said}; accuracy {labels['challenger_accuracy']:.4f} against {labels['champion_accuracy']:.4f}, difference "
        f"{labels['accuracy_difference']:+.4f} ({labels['accuracy_difference_low']:+.4f} to "
        f"{labels['accuracy_difference_high']:+.4f}), p {labels['mcnemar_p']:.2g}"
    )
