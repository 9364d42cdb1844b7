"""The marts of products, from counts: shares with intervals, percentiles, trends over neighbouring days."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from jobs.marts.counts import ESTIMATE_SUMS, add_up, month_of
from jobs.statistics.estimates import (
    LABEL_SUMS,
    Prior,
    change_steps,
    estimate_steps,
    pool_columns,
    pool_prior,
    product_prior,
)
from jobs.statistics.one_expression import expression_of_each, one_expression
from jobs.statistics.shares import DaySums, share, slope, slope_z, two_sided_p
from jobs.statistics.sketches import collect_sketch, percentiles, probability_of

__all__ = ["TREND_DAYS", "WEEK", "estimated", "sentiment_daily", "sentiment_overall", "sentiment_product"]

WEEK = 7
# The longest window of `sentiment_daily`.
TREND_DAYS = 28

# Days of each window, counted from the row's own; the week before is compared with the last one.
_WINDOWS = {"_7d": (1 - WEEK, 0), "_28d": (1 - TREND_DAYS, 0), "_before": (1 - 2 * WEEK, -WEEK)}
_TRENDS = ("_7d", "_28d")
_ESTIMATE = ("estimated_share", "estimated_share_low", "estimated_share_high")
# In the order of `_centred_sums`.
_PER_DAY = ("days", "days_squared", "q_days", "q_micro")
_MICRO = 10**6


def sentiment_daily(counts: DataFrame, *, labelled: bool) -> DataFrame:
    """The mart of each product and day, from `PRODUCT_COUNTS` of these days and of the `TREND_DAYS` before them.

    Parameters
    ----------
    counts : DataFrame
    labelled : bool
        Whether they hold labels. The pool of a product is all products in the 28 days that end on the day.
    """
    numbered = _numbered(counts)
    summed = numbered.withColumns(_window_sums(Window.partitionBy("product").orderBy("number"), labelled=labelled))
    if labelled:
        summed = summed.join(F.broadcast(_pools_of_days(counts)), "number", "left")
    daily = _with_windows(summed, labelled=labelled, pooled=True)
    return daily.withColumns(_percentiles())


def sentiment_overall(counts: DataFrame, *, labelled: bool) -> DataFrame:
    """The mart of each day, all products together, from the same counts."""
    numbered = _numbered(add_up(counts, "day"))
    days = numbered.withColumns(_window_sums(_all_days(), labelled=labelled))
    return _with_windows(days, labelled=labelled, pooled=False)


def sentiment_product(counts: DataFrame, *, labelled: bool) -> DataFrame:
    """The mart of each product and month, from `PRODUCT_COUNTS` of all days of these months.

    The pool of a product is all products of the month.
    """
    month = month_of(F.col("day")).alias("month")
    exploded = counts.select(
        F.col("product").alias("_product"), month.alias("_month"), F.explode("probability_sketch").alias("entry")
    )
    sketches = exploded.groupBy("_product", "_month", "entry.bin").agg(F.sum("entry.reviews").alias("n"))
    sketches = sketches.groupBy("_product", "_month").agg(collect_sketch(F.col("bin"), F.col("n")).alias("sketch"))
    sums = add_up(counts, "product", month)
    spans = counts.groupBy(F.col("product").alias("_of"), month.alias("_in")).agg(
        F.min("day").alias("first_day"), F.max("day").alias("last_day"), F.count(F.lit(1)).alias("days")
    )
    sums = sums.join(spans, sums["product"].eqNullSafe(spans["_of"]) & (sums["month"] == spans["_in"]))
    same = sums["product"].eqNullSafe(sketches["_product"]) & (sums["month"] == sketches["_month"])
    merged = sums.join(sketches, same, "left").select(sums["*"], "sketch")
    empty = F.array().cast(counts.schema["probability_sketch"].dataType)
    merged = merged.withColumn("probability_sketch", F.coalesce("sketch", empty)).withColumns(_sums(labelled=labelled))
    if labelled:
        pools = add_up(counts, month).withColumns(_sums(labelled=True))
        merged = merged.join(F.broadcast(_pools(pools, key="month")), "month")
    months = _estimated(merged, product_prior(pooled=labelled), labelled=labelled)
    return months.withColumns(_means() | _percentiles())


def estimated(counts: DataFrame, *, labelled: bool) -> DataFrame:
    """Groups of `ESTIMATE_SUMS`, each with its estimated share; none borrows from another."""
    return _estimated(counts.withColumns(_sums(labelled=labelled)), pool_prior(), labelled=labelled)


def _estimated(sums: DataFrame, prior: Prior, *, labelled: bool) -> DataFrame:
    estimate = F.expr(one_expression(estimate_steps(prior, labelled=labelled)))
    estimates = sums.withColumn("_estimate", estimate)
    return estimates.withColumns({name: F.col("_estimate")[name] for name in _ESTIMATE})


def _with_windows(summed: DataFrame, *, labelled: bool, pooled: bool) -> DataFrame:
    """The estimates of the day and its windows, trends and the change of a week."""
    ends = ("", *_WINDOWS)
    groups = F.array(*(F.struct(*_sums_of(end, labelled=labelled)) for end in ends))
    frame = summed.withColumns(_centred_sums() | {"_groups": groups})
    prior = product_prior(pooled=labelled) if pooled else pool_prior()
    steps = estimate_steps(prior, labelled=labelled)
    of_groups = expression_of_each("_groups", steps, names=_names_of_sums(labelled=labelled))
    slopes = {f"trend{end}": slope(_day_sums(end)) for end in _TRENDS}
    tests = {f"z{end}": slope_z(_day_sums(end)) for end in _TRENDS}
    estimates = {"_estimates": F.expr(of_groups)}
    frame = frame.withColumns(slopes | tests | estimates)
    changes = change_steps(now="_7d", before="_before", labelled=labelled)
    places = {
        f"{name}{end}": f"{of_all}[{ends.index(end)}].{name}"
        for end in ("_7d", "_before")
        for of_all, names in (
            ("_groups", _names_of_sums(labelled=labelled)),
            ("_estimates", [name for step in steps for name in step]),
        )
        for name in names
    }
    frame = frame.withColumn("_change", F.expr(one_expression(changes, places=places)))
    found = {
        name.replace("share", f"share{end}"): F.col("_estimates")[ends.index(end)][name]
        for end in ("", *_TRENDS)
        for name in _ESTIMATE
    }
    shares = {f"positive_share{end}": share(F.col(f"positive{end}"), F.col(f"scored{end}")) for end in _TRENDS}
    unlabelled = {} if labelled else {f"labelled_count{end}": F.lit(0).cast("bigint") for end in _TRENDS}
    return frame.withColumns(
        {
            **found,
            **shares,
            **unlabelled,
            **_means(),
            "change_7d": F.col("_change")["change"],
            "change_7d_low": F.col("_change")["change_low"],
            "change_7d_high": F.col("_change")["change_high"],
            "change_7d_p": two_sided_p(F.col("_change")["change_z"]),
            **{f"trend{end}_p": two_sided_p(F.col(f"z{end}")) for end in _TRENDS},
            "month": month_of(F.col("day")),
        }
    )


def _sums(*, labelled: bool) -> dict[str, Column]:
    """The names that `estimate_steps` reads, as doubles."""
    names = {"p": "probability_sum", "q": "corrected_sum", "qq": "corrected_square_sum", "spread": "spread_sum"}
    columns = {short: F.col(name).cast("double") for short, name in names.items()}
    columns["pp"] = (F.col("probability_sum") - F.col("variance_sum")).cast("double")
    if labelled:
        columns |= {name: F.coalesce(F.col(f"label_sums.{name}").cast("double"), F.lit(0.0)) for name in LABEL_SUMS}
    return columns


def _numbered(counts: DataFrame) -> DataFrame:
    """With the day's number, and what the lines of corrected probabilities on days need."""
    number = F.unix_date("day").cast("bigint")
    # In millionths, so that the sum of numbers of days times probabilities fits.
    micro = F.round(F.col("corrected_sum") * _MICRO).cast("bigint")
    return counts.withColumns(
        {
            "number": number,
            "days": number * F.col("scored"),
            "days_squared": number * number * F.col("scored"),
            "q_micro": micro,
            "q_days": number * micro,
        }
    )


def _window_sums(ordered: WindowSpec, *, labelled: bool) -> dict[str, Column]:
    """Exact sums over the days of each window."""
    sums = {"p": "probability_sum", "v": "variance_sum", "q": "corrected_sum", "qq": "corrected_square_sum"}
    sums["spread"] = "spread_sum"
    # Without labels, a window needs no sums of plain probabilities.
    needed = sums if labelled else {short: sums[short] for short in ("q", "qq", "spread")}
    found: dict[str, Column] = {}

    def add(name: str, value: Column, end: str) -> None:
        found[f"{name}{end}"] = F.sum(value).over(ordered.rangeBetween(*_WINDOWS[end]))

    for end in _WINDOWS:
        add("scored", F.col("scored"), end)
        for short, name in needed.items():
            add(short, _unscaled(F.col(name)), end)
        if labelled:
            add("labelled_count", F.col("labelled_count"), end)
            for name in LABEL_SUMS:
                add(name, F.col(f"label_sums.{name}"), end)
        if end in _TRENDS:
            for name in ("positive", *_PER_DAY):
                add(name, F.col(name), end)
    return found


def _names_of_sums(*, labelled: bool) -> tuple[str, ...]:
    """What `estimate_steps` and `change_steps` read of a group of reviews."""
    names = ("scored", "q", "qq", "spread")
    return (*names, "p", "pp", "labelled_count", *LABEL_SUMS) if labelled else names


def _sums_of(end: str, *, labelled: bool) -> list[Column]:
    """`_names_of_sums` of the day itself, or of one of its windows."""
    if not end:
        sums = {"scored": F.col("scored"), "labelled_count": F.col("labelled_count"), **_sums(labelled=labelled)}
    else:
        sums = {name: F.col(f"{name}{end}") / 1e9 for name in ("q", "qq", "spread")}
        sums["scored"] = F.col(f"scored{end}")
        if labelled:
            sums |= {
                "p": F.col(f"p{end}") / 1e9,
                "pp": (F.col(f"p{end}") - F.col(f"v{end}")) / 1e9,
                "labelled_count": F.col(f"labelled_count{end}"),
                **{name: F.coalesce(F.col(f"{name}{end}").cast("double"), F.lit(0.0)) for name in LABEL_SUMS},
            }
    return [sums[name].alias(name) for name in _names_of_sums(labelled=labelled)]


def _centred_sums() -> dict[str, Column]:
    """Days counted from the row's own day instead of from 1970, and lines of shares instead of millionths."""
    number = F.col("number")
    centred: dict[str, Column] = {}
    for end in _TRENDS:
        trials, days, days_squared, q_days, q_micro = (F.col(f"{name}{end}") for name in ("scored", *_PER_DAY))
        centred |= {
            f"days{end}": days - trials * number,
            f"days_squared{end}": days_squared - 2 * number * days + trials * number * number,
            f"q_days{end}": (q_days - q_micro * number) / _MICRO,
            f"q{end}": F.col(f"q{end}") / 1e9,
            f"qq{end}": F.col(f"qq{end}") / 1e9,
        }
    return centred


def _day_sums(end: str) -> DaySums:
    return DaySums(*(F.col(f"{name}{end}") for name in ("scored", "q", "qq", "days", "days_squared", "q_days")))


def _means() -> dict[str, Column]:
    scored = F.col("scored")
    return {
        "positive_share": share(F.col("positive"), scored),
        "mean_probability": share(F.col("probability_sum").cast("double"), scored),
    }


def _percentiles() -> dict[str, Column]:
    p10, p50, p90 = percentiles(
        F.col("probability_sketch"), F.col("scored"), percents=(10, 50, 90), value=probability_of
    )
    return {"probability_p10": p10, "probability_p50": p50, "probability_p90": p90}


def _all_days() -> WindowSpec:
    """All days in one partition: they are few, but of a window without one Spark warns, and of a constant one too."""
    return Window.partitionBy(F.col("number") * 0).orderBy("number")


def _unscaled(total: Column) -> Column:
    """An exact sum in whole billionths, which windows add faster than decimals."""
    return (total * 10**9).cast("bigint")


def _pools_of_days(counts: DataFrame) -> DataFrame:
    """What products borrow, by the number of the day: of all labels of the 28 days that end on it."""
    days = add_up(counts, F.unix_date("day").cast("bigint").alias("number"))
    latest = _all_days().rangeBetween(*_WINDOWS["_28d"])
    names = ("scored", "labelled_count", *(name for name in ESTIMATE_SUMS if name.endswith("_sum")))
    label_sums = F.struct(*(F.sum(f"label_sums.{name}").over(latest).alias(name) for name in LABEL_SUMS))
    windows = days.select(
        "number", *(F.sum(name).over(latest).alias(name) for name in names), label_sums.alias("label_sums")
    )
    return _pools(windows.withColumns(_sums(labelled=True)), key="number")


def _pools(sums: DataFrame, *, key: str) -> DataFrame:
    pool = F.expr(one_expression([*estimate_steps(pool_prior(), labelled=True), pool_columns()]))
    return sums.withColumn("_pool", pool).select(key, *(F.col("_pool")[name].alias(name) for name in pool_columns()))
