"""How two models differ on the reviews that both scored: native Spark SQL over the columns of `score --model NAME=DIR`.

All sums are of whole numbers, so the result does not depend on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.labels.columns import is_positive
from jobs.labels.grades import no_such_label
from jobs.statistics.corrections import correction_of
from jobs.statistics.estimates import LABEL_SUMS, estimate_steps, pool_prior
from jobs.statistics.paired import mcnemar_exact, paired_difference
from jobs.statistics.shares import Z95
from jobs.statistics.sketches import collect_sketch, percentiles
from jobs.tables.extras import probability_of
from jobs.tables.scores import column
from sentiment_core.errors import InputError

__all__ = ["SIDES", "compare_models", "compare_shares", "compare_verdicts", "paired_scores"]

SIDES = ("champion", "challenger")
_LABELS = ("negative", "neutral", "positive")
_PERCENTS = (1, 5, 25, 50, 75, 95, 99)
# Of the difference of two probabilities: steps of 0.001, of which one has its middle at 0.
_STEPS = 1_000
_NANO = 10**9


def paired_scores(scores: DataFrame, models: Mapping[str, Mapping[str, Any]], *, id_column: str) -> DataFrame:
    """``id``, and of both sides the probability and the sentiment by the model's own cut-offs.

    Parameters
    ----------
    scores : DataFrame
    models : mapping
        Of both `SIDES`: ``name``, ``negative_below`` and ``positive_from``.
    id_column : str
    """
    paired = scores.withColumns({side: column(probability_of(models[side]["name"])) for side in SIDES})
    return paired.withColumns(
        {"id": column(id_column)} | {f"{side}_sentiment": _sentiment(F.col(side), models[side]) for side in SIDES}
    )


def compare_models(paired: DataFrame, *, n_largest: int) -> dict[str, Any]:
    """Counts, agreement, confusion, differences, and the reviews on which they differ most."""
    champion, challenger = (F.col(side).isNotNull() for side in SIDES)
    counts = paired.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(champion & challenger).alias("scored_by_both"),
        F.count_if(champion & ~challenger).alias("by_champion_only"),
        F.count_if(~champion & challenger).alias("by_challenger_only"),
    ).collect()[0]
    both = paired.where(champion & challenger).withColumn("difference", F.col("challenger") - F.col("champion"))
    pairs = both.groupBy("champion_sentiment", "challenger_sentiment").count().collect()
    found = {(row[0], row[1]): row[2] for row in pairs}
    n = counts["scored_by_both"]
    largest = both.orderBy(F.abs("difference").desc(), "id").limit(n_largest)
    return {
        **counts.asDict(),
        "agreement": sum(found.get((label, label), 0) for label in _LABELS) / n if n else None,
        "confusion": {first: {second: found.get((first, second), 0) for second in _LABELS} for first in _LABELS},
        "difference": _differences(both) if n else None,
        "largest": [row.asDict() for row in largest.select("id", *SIDES).collect()],
    }


def compare_verdicts(
    paired: DataFrame, *, label_column: str, positive_above: float, positive_label: str | None = None
) -> dict[str, Any]:
    """Which is right more often, at probability 0.5, on the labelled reviews that both scored.

    Raises
    ------
    InputError
        If labels are neither numbers nor booleans and no word is given that is the positive one, or there are none.
    """
    positive = is_positive(paired.schema, label_column, positive_above=positive_above, positive_label=positive_label)
    rights = [((F.col(side) >= 0.5) == positive).alias(side) for side in SIDES]
    judged = paired.where(F.col(SIDES[0]).isNotNull() & F.col(SIDES[1]).isNotNull() & positive.isNotNull())
    row = (
        judged.select(*rights, positive.alias("positive"))
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.count_if("positive").alias("positive"),
            F.count_if(F.col(SIDES[0]) & F.col(SIDES[1])).alias("both_right"),
            F.count_if(F.col(SIDES[0]) & ~F.col(SIDES[1])).alias("only_champion_right"),
            F.count_if(~F.col(SIDES[0]) & F.col(SIDES[1])).alias("only_challenger_right"),
        )
        .collect()[0]
    )
    n, first, second = row["n"], row["only_champion_right"], row["only_challenger_right"]
    if not n:
        raise InputError(f"no review that both models scored has a {label_column!r}; name a column of labels")
    if positive_label is not None and not row["positive"]:
        raise InputError(no_such_label(positive_label, column=label_column))
    difference, low, high = paired_difference(first, second, n=n)
    return {
        **row.asDict(),
        "both_wrong": n - row["both_right"] - first - second,
        "champion_accuracy": (row["both_right"] + first) / n,
        "challenger_accuracy": (row["both_right"] + second) / n,
        "accuracy_difference": difference,
        "accuracy_difference_low": low,
        "accuracy_difference_high": high,
        "mcnemar_p": mcnemar_exact(first, second),
    }


def compare_shares(
    paired: DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    *,
    label_column: str | None,
    positive_above: float,
    positive_label: str | None = None,
) -> dict[str, Any]:
    """Of both sides the estimated share of positive reviews, of all that both scored, as in the marts.

    Parameters
    ----------
    paired : DataFrame
    models : mapping
        Of both `SIDES`; ``domain_shift`` is that of the model's metrics, if its run reported one.
    label_column : str or None
        By which labels the estimate is made surer.
    positive_above : float
    positive_label : str, optional
    """
    both = paired.where(F.col(SIDES[0]).isNotNull() & F.col(SIDES[1]).isNotNull())
    label = F.lit(None).cast("int")
    if label_column is not None:
        label = is_positive(
            both.schema, label_column, positive_above=positive_above, positive_label=positive_label
        ).cast("int")
    both = both.select(*SIDES, label.alias("label"))
    shares = {}
    for side in SIDES:
        correction = correction_of(models[side].get("domain_shift"))
        p, w = F.col(side), F.when(F.col("label").isNotNull(), 1.0).otherwise(0.0)
        y = F.coalesce(F.col("label"), F.lit(0))
        terms = (w, w * y, w * p, w * p * p, w * y * p)
        sums = {"p": p, "pp": p * p, "q": correction.corrected(p), **dict(zip(LABEL_SUMS, (*terms, *terms)))}
        frame = both.agg(
            F.count(F.lit(1)).alias("scored"),
            F.count("label").alias("labelled_count"),
            *((F.coalesce(F.sum(_nano(value)), F.lit(0)) / _NANO).alias(name) for name, value in sums.items()),
        ).withColumn("spread", F.col("scored") * correction.standard_deviation)
        for step in estimate_steps(pool_prior(), labelled=True):
            frame = frame.withColumns({name: F.expr(sql) for name, sql in step.items()})
        names = ("estimated_share", "estimated_share_low", "estimated_share_high", "labelled_count")
        shares[side] = frame.select(*names).collect()[0].asDict()
    return shares


def _differences(both: DataFrame) -> dict[str, float]:
    """Of the challenger's probability less the champion's."""
    difference = F.col("difference")
    step = F.round(difference * _STEPS).cast("int")
    steps = both.groupBy(step.alias("step")).agg(
        F.count(F.lit(1)).alias("n"),
        F.sum(_nano(difference)).alias("sum"),
        F.sum(_nano(difference * difference)).alias("squares"),
        F.sum(_nano(F.abs(difference))).alias("absolute"),
        F.max(F.abs(difference)).alias("largest"),
    )
    sums = steps.agg(
        collect_sketch(F.col("step"), F.col("n")).alias("sketch"),
        *(F.sum(name).alias(name) for name in ("n", "sum", "squares", "absolute")),
        F.max("largest").alias("largest"),
    )
    quantiles = percentiles(F.col("sketch"), F.col("n"), percents=_PERCENTS, value=_difference_of)
    names = [f"p{percent:02}" for percent in _PERCENTS]
    row = sums.select("*", *(value.alias(name) for name, value in zip(names, quantiles))).collect()[0]
    n, mean = row["n"], row["sum"] / _NANO / row["n"]
    variance = max(0.0, row["squares"] / _NANO - n * mean**2) / max(1, n - 1)
    half = Z95 * (variance / n) ** 0.5
    return {
        "mean": mean,
        "mean_low": mean - half,
        "mean_high": mean + half,
        "mean_absolute": row["absolute"] / _NANO / n,
        "largest_absolute": row["largest"],
        **{name: row[name] for name in names},
    }


def _difference_of(step: Column) -> Column:
    """Middle of a step."""
    return step / _STEPS


def _sentiment(probability: Column, model: Mapping[str, Any]) -> Column:
    label = F.when(probability < model["negative_below"], _LABELS[0])
    return F.when(
        probability.isNotNull(), label.when(probability >= model["positive_from"], _LABELS[2]).otherwise(_LABELS[1])
    )


def _nano(value: Column) -> Column:
    return F.round(value * _NANO).cast("bigint")
