"""One comparison of two models: find both in the runs' reports, pair their scores, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.marts.comparison import SIDES, compare_models, compare_shares, compare_verdicts, paired_scores
from jobs.marts.days import scored_twice
from jobs.marts.settings import CompareSettings
from jobs.publishing.staging import open_output
from jobs.tables.extras import probability_of
from jobs.tables.reading import open_table, refusing_unreadable
from jobs.tables.run_reports import RunReports
from jobs.tables.scores import column
from sentiment_core.errors import InputError, UsageError

__all__ = ["ModelComparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """How two models differ.

    Attributes
    ----------
    models : dict
        Of both sides, ``champion`` and ``challenger``, what the run reports say of the model.
    found : dict
        Agreement, difference of the probabilities and shares; with labels, whose verdicts are right.
    """

    models: dict[str, dict[str, Any]]
    found: dict[str, Any]


def compare(session: SparkSession, settings: CompareSettings) -> ModelComparison:
    """Compare two models on the reviews that both scored.

    Raises
    ------
    InputError, UsageError
    """
    with refusing_unreadable(settings.scores):
        scores = _rows(session, settings)
        models = _models(session, scores, settings)
        _refuse_scored_twice(scores, models, settings)
        paired = paired_scores(scores, models, id_column=settings.id_column)
        found = compare_models(paired, n_largest=settings.largest)
        if not found["scored_by_both"]:
            raise InputError(f"{settings.scores}: no review has a probability of both models; score them side by side")
        labels: dict[str, Any] = {
            "label_column": settings.label_column,
            "positive_above": settings.positive_above,
            "positive_label": settings.positive_label,
        }
        if settings.label_column is not None:
            found["labels"] = compare_verdicts(paired, **labels)
        found["shares"] = compare_shares(paired, models, **labels)
    return ModelComparison(models=models, found=found)


def _rows(session: SparkSession, settings: CompareSettings) -> DataFrame:
    scores = open_table(session, settings.scores, input_format="parquet")
    for name, option in ((settings.id_column, "--id-column"), (settings.label_column, "--label-column")):
        if name is not None and name not in scores.columns:
            raise InputError(
                f"{settings.scores}: the column {name!r} is missing, the table has: {', '.join(scores.columns)}; name "
                f"one with {option}, or score with --keep-columns {name}"
            )
    if "run_id" not in scores.columns:
        raise InputError(f"{settings.scores}: the column 'run_id' is missing; name the output of `sentiment score`")
    return scores.where(column("run_id").isin(*settings.run_id)) if settings.run_id else scores


def _refuse_scored_twice(scores: DataFrame, models: Mapping[str, Mapping[str, Any]], settings: CompareSettings) -> None:
    """A review's second pair is no new evidence: it would make every interval too narrow."""
    pairs = scores.dropna(subset=[probability_of(model["name"]) for model in models.values()])
    twice = scored_twice(pairs, id_column=settings.id_column)
    if twice:
        raise InputError(
            f"{settings.scores}: {twice:,} reviews were scored by more than one run and would count twice; name one "
            "run with --run-id"
        )


def _models(session: SparkSession, scores: DataFrame, settings: CompareSettings) -> dict[str, dict[str, Any]]:
    """Of both sides what the reports of the rows' runs say of the model."""
    runs = sorted(row[0] for row in scores.select("run_id").distinct().collect() if row[0] is not None)
    reports = RunReports(open_output(session, settings.scores)[0])
    known = reports.read(f"{run_id}.json" for run_id in runs if f"{run_id}.json" in reports.files)
    named = [report["models"] for report in known if report.get("models")]
    chosen = {}
    for side, name in zip(SIDES, _names(named, settings)):
        models = [model for run in named for model in run if model["name"] == name]
        if not models or probability_of(name) not in scores.columns:
            raise InputError(f"{settings.scores}: no run has a model named {name!r}; name one with --{side}")
        versions = sorted({model["sha256"] for model in models})
        if len(versions) > 1:
            raise InputError(
                f"{settings.scores}: {name!r} was {len(versions)} different models, {versions[0][:12]} and "
                f"{versions[1][:12]}; name the runs of one with --run-id"
            )
        chosen[side] = models[0]
    return chosen


def _names(named: Sequence[Sequence[Mapping[str, Any]]], settings: CompareSettings) -> tuple[str, str]:
    found = list(dict.fromkeys(model["name"] for run in named for model in run))
    champion = settings.champion or next((name for name in found if name != settings.challenger), None)
    others = [name for name in found if name != champion]
    challenger = settings.challenger or (others[0] if len(others) == 1 else None)
    if champion is None or (challenger is None and not others):
        raise InputError(
            f"{settings.scores}: its runs name no two models; score with --model champion=DIR --model challenger=DIR"
        )
    if challenger is None:
        raise UsageError(f"its runs name the models {', '.join(found)}; choose with --champion and --challenger")
    if champion == challenger:
        raise UsageError(f"--champion and --challenger are both {champion!r}; name two models")
    return champion, challenger
