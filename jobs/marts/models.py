"""The mart of each model and day: whether scores and texts still look as they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.marts.counts import HISTOGRAM_BINS, month_of
from jobs.marts.products import WEEK, estimated
from jobs.statistics.shares import share
from jobs.statistics.sketches import length_of, percentiles

__all__ = ["model_daily"]


def model_daily(counts: DataFrame, *, validation: Mapping[str, Sequence[int]], labelled: bool) -> DataFrame:
    """The mart of each model and day.

    Parameters
    ----------
    counts : DataFrame
        `MODEL_COUNTS` of these days and of the `WEEK` before them.
    validation : mapping
        By the model's SHA-256, the reviews of its validation part in `HISTOGRAM_BINS` steps of probability.
    labelled : bool
        Whether the counts hold labels.
    """
    by_model = Window.partitionBy("model_sha256", "step").orderBy("number").rangeBetween(-WEEK, -1)
    steps = counts.select("model_sha256", "day", F.posexplode("score_histogram").alias("step", "n"))
    steps = steps.withColumn("number", F.unix_date("day"))
    steps = steps.withColumn("before", F.coalesce(F.sum("n").over(by_model), F.lit(0)))
    week = steps.groupBy(F.col("model_sha256").alias("_model"), F.col("day").alias("_of")).agg(
        F.array_sort(F.collect_list(F.struct("step", "before")))["before"].alias("week_histogram")
    )
    known = F.create_map(
        *(part for sha256, reviews in validation.items() for part in (F.lit(sha256), F.array(*map(F.lit, reviews))))
    ).cast("map<string,array<bigint>>")
    joined = counts.join(week, counts["model_sha256"].eqNullSafe(week["_model"]) & (counts["day"] == week["_of"]))
    joined = joined.withColumn("validation_histogram", F.try_element_at(known, F.col("model_sha256")))
    scored = F.col("scored")
    p10, p50, p90 = percentiles(F.col("tokens_sketch"), scored, percents=(10, 50, 90), value=length_of)
    return estimated(joined, labelled=labelled).withColumns(
        {
            "positive_share": share(F.col("positive"), scored),
            "mean_probability": share(F.col("probability_sum").cast("double"), scored),
            "unknown_rate": share(F.col("unknown_ok"), F.col("tokens_ok")),
            "truncated_share": share(F.col("truncated"), scored),
            "unfamiliar_share": share(F.col("unfamiliar"), F.col("reviews")),
            "tokens_p10": p10,
            "tokens_p50": p50,
            "tokens_p90": p90,
            "validation_scored": _total(F.col("validation_histogram")),
            "psi_validation": _stability_index(F.col("score_histogram"), F.col("validation_histogram")),
            "week_scored": _total(F.col("week_histogram")),
            "psi_week": _stability_index(F.col("score_histogram"), F.col("week_histogram")),
            "month": month_of(F.col("day")),
        }
    )


def _total(histogram: Column) -> Column:
    return F.aggregate(histogram, F.lit(0).cast("bigint"), lambda total, n: total + n)


def _stability_index(counts: Column, reference: Column) -> Column:
    """Population stability index of two histograms, half a review added to each step; NULL if one is empty."""
    n, m = _total(counts) + HISTOGRAM_BINS / 2, _total(reference) + HISTOGRAM_BINS / 2

    def term(count: Column, other: Column) -> Column:
        now, then = (count + 0.5) / n, (other + 0.5) / m
        return (now - then) * F.log(now / then)

    index = F.aggregate(F.zip_with(counts, reference, term), F.lit(0.0), lambda total, part: total + part)
    return F.when((_total(counts) > 0) & (_total(reference) > 0), index)
