"""The mart of what moves the sentiment of a product in a month: the words and pairs of `score --drivers`.

Native Spark SQL. Sums are of whole billionths, so the result does not depend on the order of the rows.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.statistics.shares import Z95, share

__all__ = ["KEPT_TERMS", "sentiment_drivers"]

# Of each direction, by product, month and kind.
KEPT_TERMS = 30
_NANO = 10**9


def sentiment_drivers(scores: DataFrame) -> DataFrame:
    """The mart of each product, month, kind and term.

    Parameters
    ----------
    scores : DataFrame
        ``product``, ``month`` and ``drivers`` of the reviews that were scored with drivers.
    """
    contribution = F.col("driver.contribution")
    terms = scores.select("product", "month", F.explode("drivers").alias("driver"))
    grain = ("product", "month", F.col("driver.kind").alias("kind"), F.col("driver.term").alias("term"))
    summed = terms.groupBy(*grain).agg(
        F.count(F.lit(1)).alias("reviews"),
        F.sum(_nano(contribution)).alias("nano"),
        F.sum(_nano(contribution * contribution)).alias("nano_squares"),
    )
    # Only here: reviews of which no term is a driver count as well.
    by_product = scores.groupBy(F.col("product").alias("_product"), F.col("month").alias("_month"))
    scored = by_product.agg(F.count(F.lit(1)).alias("scored"))
    ranked = summed.withColumns({"rank_positive": _rank(F.col("nano")), "rank_negative": _rank(-F.col("nano"))})
    kept = ranked.where((F.col("rank_positive") <= KEPT_TERMS) | (F.col("rank_negative") <= KEPT_TERMS))
    same = kept["product"].eqNullSafe(scored["_product"]) & (kept["month"] == scored["_month"])
    joined = kept.join(scored, same).withColumns(
        {"contribution": F.col("nano") / _NANO, "squares": F.col("nano_squares") / _NANO}
    )
    return joined.withColumn("half_width", _half_width()).withColumns(
        {
            "contribution_low": F.col("contribution") - F.col("half_width"),
            "contribution_high": F.col("contribution") + F.col("half_width"),
            "mean_contribution": F.col("contribution") / F.col("reviews"),
            "review_share": share(F.col("reviews"), F.col("scored")),
        }
    )


def _nano(value: Column) -> Column:
    return F.round(value * _NANO).cast("bigint")


def _rank(nano: Column) -> Column:
    """Place among the terms of one product, month and kind, the largest first; NULL unless above 0."""
    by_kind = Window.partitionBy("product", "month", "kind").orderBy(nano.desc(), "term")
    return F.when(nano > 0, F.row_number().over(by_kind))


def _half_width() -> Column:
    """Of the 95 % interval of a sum over reviews, of which those without the term add 0; NULL for a single review."""
    n, total = F.col("scored"), F.col("contribution")
    spread = F.greatest(F.lit(0.0), F.col("squares") - total * total / n)
    return F.when(n > 1, F.sqrt(spread * n / (n - 1)) * Z95)
