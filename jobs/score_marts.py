"""The marts of products, from counts: shares with intervals, percentiles, trends over neighbouring days."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.proportions import (
    Z95,
    DaySums,
    Interval,
    newcombe,
    score_z,
    share,
    slope,
    slope_z,
    two_sided_p,
    wilson,
)
from jobs.score_counts import COUNTS, month_of
from jobs.sketches import collect_sketch, percentiles, probability_of

__all__ = ["TREND_DAYS", "WEEK", "sentiment_daily", "sentiment_product"]

WEEK = 7
# The longest window of `sentiment_daily`.
TREND_DAYS = 28

# Days of each window, counted from the row's own; the week before is compared with the last one.
_WINDOWS = {"7d": (1 - WEEK, 0), "28d": (1 - TREND_DAYS, 0), "before": (1 - 2 * WEEK, -WEEK)}
_TRENDS = ("7d", "28d")
_WINDOW_SUMMED = ("scored", "positive", "days", "days_squared", "positive_days")


def sentiment_daily(counts: DataFrame) -> DataFrame:
    """The mart of each product and day, from `PRODUCT_COUNTS` of these days and of the `TREND_DAYS` before them."""
    # Step by step, each of columns of the one before: nested into one another they would be too much for Spark.
    summed = counts.withColumns(_day_products()).withColumns(_window_sums()).withColumns(_centred_sums())
    compared = (*_tally("7d"), *_tally("before"))
    shares = {name: column for end in _WINDOWS for name, column in _interval_columns(end).items()}
    slopes = {f"trend_{end}": slope(_day_sums(end)) for end in _TRENDS}
    tests = {f"z_{end}": slope_z(_day_sums(end)) for end in _TRENDS} | {"z_change": score_z(*compared)}
    tested = summed.withColumns(_shares() | shares | slopes | tests)
    low, high = newcombe(_interval("7d"), _interval("before"))
    return tested.withColumns(
        {
            "change_7d": F.col("positive_share_7d") - F.col("positive_share_before"),
            "change_7d_low": low,
            "change_7d_high": high,
            "change_7d_p": two_sided_p(F.col("z_change")),
            **{f"trend_{end}_p": two_sided_p(F.col(f"z_{end}")) for end in _TRENDS},
            "month": month_of(F.col("day")),
        }
    )


def sentiment_product(counts: DataFrame) -> DataFrame:
    """The mart of each product and month, from `PRODUCT_COUNTS` of all days of these months."""
    month = month_of(F.col("day")).alias("month")
    exploded = counts.select(
        F.col("product").alias("_product"), month.alias("_month"), F.explode("probability_sketch").alias("entry")
    )
    sketches = exploded.groupBy("_product", "_month", "entry.bin").agg(F.sum("entry.reviews").alias("n"))
    sketches = sketches.groupBy("_product", "_month").agg(collect_sketch(F.col("bin"), F.col("n")).alias("sketch"))
    sums = counts.groupBy("product", month).agg(
        F.min("day").alias("first_day"),
        F.max("day").alias("last_day"),
        F.count(F.lit(1)).alias("days"),
        *(F.sum(name).alias(name) for name in (*COUNTS, "probability_sum", "variance_sum")),
    )
    same = sums["product"].eqNullSafe(sketches["_product"]) & (sums["month"] == sketches["_month"])
    merged = sums.join(sketches, same, "left").select(sums["*"], "sketch")
    empty = F.array().cast(counts.schema["probability_sketch"].dataType)
    return merged.withColumn("probability_sketch", F.coalesce("sketch", empty)).withColumns(_shares())


def _day_products() -> dict[str, Column]:
    number = F.unix_date("day").cast("bigint")
    return {
        "number": number,
        "days": number * F.col("scored"),
        "days_squared": number * number * F.col("scored"),
        "positive_days": number * F.col("positive"),
    }


def _window_sums() -> dict[str, Column]:
    by_product = Window.partitionBy("product").orderBy("number")
    return {
        f"{name}_{end}": F.sum(name).over(by_product.rangeBetween(*days))
        for end, days in _WINDOWS.items()
        for name in _WINDOW_SUMMED
    }


def _centred_sums() -> dict[str, Column]:
    """Days counted from the row's own day instead of from 1970."""
    number = F.col("number")
    centred: dict[str, Column] = {}
    for end in _TRENDS:
        trials, successes, days, days_squared, successes_days = _day_sums(end)
        centred |= {
            f"days_{end}": days - trials * number,
            f"days_squared_{end}": days_squared - 2 * number * days + trials * number * number,
            f"positive_days_{end}": successes_days - successes * number,
        }
    return centred


def _day_sums(end: str) -> DaySums:
    return DaySums(*(F.col(f"{name}_{end}") for name in _WINDOW_SUMMED))


def _tally(end: str) -> tuple[Column, Column]:
    return F.col(f"positive_{end}"), F.col(f"scored_{end}")


def _interval_columns(end: str) -> dict[str, Column]:
    low, high = wilson(*_tally(end))
    name = f"positive_share_{end}"
    return {name: share(*_tally(end)), f"{name}_low": low, f"{name}_high": high}


def _interval(end: str) -> Interval:
    return Interval(*(F.col(f"positive_share_{end}{side}") for side in ("", "_low", "_high")))


def _shares() -> dict[str, Column]:
    scored, positive = F.col("scored"), F.col("positive")
    low, high = wilson(positive, scored)
    mean = share(F.col("probability_sum").cast("double"), scored)
    half = share(F.sqrt(F.col("variance_sum").cast("double")) * Z95, scored)
    p10, p50, p90 = percentiles(F.col("probability_sketch"), scored, percents=(10, 50, 90), value=probability_of)
    return {
        "positive_share": share(positive, scored),
        "positive_share_low": low,
        "positive_share_high": high,
        "mean_probability": mean,
        "expected_share": mean,
        "expected_share_low": F.when(mean.isNotNull(), F.greatest(F.lit(0.0), mean - half)),
        "expected_share_high": F.when(mean.isNotNull(), F.least(F.lit(1.0), mean + half)),
        "probability_p10": p10,
        "probability_p50": p50,
        "probability_p90": p90,
    }
