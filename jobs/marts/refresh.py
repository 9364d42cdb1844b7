"""Compute and stage the marts of a plan: new counts of some days, old counts of the others from the marts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.marts.counts import MODEL_COUNTS, PRODUCT_COUNTS, model_counts, product_counts
from jobs.marts.days import ScoreDays
from jobs.marts.drivers import sentiment_drivers
from jobs.marts.models import model_daily
from jobs.marts.plan import MartPlan, months_of
from jobs.marts.products import TREND_DAYS, WEEK, sentiment_daily, sentiment_overall, sentiment_product
from jobs.marts.quality import data_quality
from jobs.marts.schemas import mart_schema, no_rows, shaped
from jobs.marts.tables import MartTables
from jobs.spark.interpreted import interpreted
from jobs.tables.dates import date_literal
from jobs.tables.run_reports import run_history

__all__ = ["COMPILED_FROM", "refresh_marts"]

# Rows to be counted, from which on it pays that Spark compiles the marts' expressions. On two cores a refresh took 60 s
# instead of 88 interpreted with 400,000 rows, and 129 s instead of 102 with 1.6 million.
COMPILED_FROM = 800_000


def refresh_marts(
    session: SparkSession, scores: ScoreDays, plan: MartPlan, tables: MartTables, *, rebuild: bool
) -> list[dict[str, Any]]:
    """Stage what a plan asks for.

    Parameters
    ----------
    session : SparkSession
    scores : ScoreDays
    plan : MartPlan
    tables : MartTables
        Gets the staged months; the caller publishes them.
    rebuild : bool
        Take no counts from the published marts, and drop their other months.

    Returns
    -------
    list of dict
        Rows of ``model_daily``: the last day and the week before it.
    """
    rows = sum(plan.state.folders[name].rows for name in plan.folders)
    with interpreted(session, rows=rows, wanted=rows < COMPILED_FROM):
        return _stage_marts(session, scores, plan, tables, rebuild=rebuild)


def _stage_marts(
    session: SparkSession, scores: ScoreDays, plan: MartPlan, tables: MartTables, *, rebuild: bool
) -> list[dict[str, Any]]:
    schema = mart_schema("run_history")
    price = plan.state.core_hour_price
    months = set(plan.report_months) | (tables.months("run_history") if rebuild else set())
    if months:
        history = run_history(session, plan.reports, core_hour_price=price)
        rows = shaped(history, schema) if history is not None else no_rows(session, schema)
        tables.stage("run_history", rows, months=months)
    _stage_quality(session, plan, tables, rebuild=rebuild)
    if plan.days:
        _stage_products(session, scores, plan, tables, rebuild=rebuild)
        _stage_drivers(session, scores, plan, tables, rebuild=rebuild)
    return _stage_models(session, scores, plan, tables, rebuild=rebuild)


def _stage_quality(session: SparkSession, plan: MartPlan, tables: MartTables, *, rebuild: bool) -> None:
    months = set(plan.quality_months) | (tables.months("data_quality") if rebuild else set())
    if months:
        schema = mart_schema("data_quality")
        rows = shaped(data_quality(session, plan.run_dates), schema) if plan.run_dates else no_rows(session, schema)
        tables.stage("data_quality", rows, months=months)


def _stage_products(
    session: SparkSession, scores: ScoreDays, plan: MartPlan, tables: MartTables, *, rebuild: bool
) -> None:
    rows = scores.read_days(plan.folders, plan.days) if plan.folders else None
    counted, published = months_of(plan.days), tables.months("sentiment_daily")
    months = published | counted if rebuild else _reached(plan.days, TREND_DAYS - 1) & (published | counted)
    product_type = rows.schema["product"].dataType if rows is not None else scores.product_type()
    schema = mart_schema("sentiment_daily", product_type=product_type)
    counts = [product_counts(rows, corrections=plan.state.corrections)] if rows is not None else []
    if not rebuild:
        counts.append(_other_days(tables.read("sentiment_daily", _with_previous(months), schema=schema), plan.days))
    labelled, wanted = scores.labelled, F.col("month").isin(*sorted(months))
    daily = sentiment_daily(_union(counts, PRODUCT_COUNTS), labelled=labelled).where(wanted)
    staged = tables.stage("sentiment_daily", shaped(daily, schema), months=months)
    _stage_overall(plan, tables, staged, months=months, labelled=labelled, rebuild=rebuild)
    schema = mart_schema("sentiment_product", product_type=product_type)
    months = published | counted if rebuild else counted
    of_months = staged.where(F.col("month").isin(*sorted(months))).select(*PRODUCT_COUNTS)
    products = sentiment_product(of_months, labelled=labelled)
    tables.stage("sentiment_product", shaped(products, schema), months=months)


def _stage_overall(
    plan: MartPlan, tables: MartTables, staged: DataFrame, *, months: set[str], labelled: bool, rebuild: bool
) -> None:
    """All products together, from the counts of products: staged ones, and published ones of the month before."""
    counts = staged.select(*PRODUCT_COUNTS)
    before = _with_previous(months) - months
    if before and not rebuild:
        schema = mart_schema("sentiment_daily", product_type=staged.schema["product"].dataType)
        counts = counts.unionByName(tables.read("sentiment_daily", before, schema=schema).select(*PRODUCT_COUNTS))
    overall = sentiment_overall(counts, labelled=labelled).where(F.col("month").isin(*sorted(months)))
    tables.stage("sentiment_overall", shaped(overall, mart_schema("sentiment_overall")), months=months)


def _stage_drivers(
    session: SparkSession, scores: ScoreDays, plan: MartPlan, tables: MartTables, *, rebuild: bool
) -> None:
    """Months at a time: terms that are not among the strongest of a day can be among those of the month."""
    published = tables.months("sentiment_drivers")
    months = months_of(plan.days) | (published if rebuild else set())
    if plan.driver_folders:
        rows = scores.read_drivers(plan.driver_folders, months)
        schema = mart_schema("sentiment_drivers", product_type=rows.schema["product"].dataType)
        tables.stage("sentiment_drivers", shaped(sentiment_drivers(rows), schema), months=months)
    elif published & months:
        schema = mart_schema("sentiment_drivers", product_type=scores.product_type())
        tables.stage("sentiment_drivers", no_rows(session, schema), months=months)


def _stage_models(
    session: SparkSession, scores: ScoreDays, plan: MartPlan, tables: MartTables, *, rebuild: bool
) -> list[dict[str, Any]]:
    schema = mart_schema("model_daily")
    published = tables.months("model_daily")
    months = (published if rebuild or plan.all_models else _reached(plan.days, WEEK) & published) | months_of(plan.days)
    latest = tables.read("model_daily", _with_previous(sorted(published)[-1:]), schema=schema)
    if months:
        rows = scores.read_days(plan.folders, plan.days) if plan.folders else None
        counts = [model_counts(rows, corrections=plan.state.corrections)] if rows is not None else []
        if not rebuild:
            counts.append(_other_days(tables.read("model_daily", _with_previous(months), schema=schema), plan.days))
        daily = model_daily(_union(counts, MODEL_COUNTS), validation=plan.state.validation, labelled=scores.labelled)
        staged = tables.stage(
            "model_daily", shaped(daily.where(F.col("month").isin(*sorted(months))), schema), months=months
        )
        kept = latest.where(~F.col("month").isin(*sorted(months)))
        latest = staged if rebuild else kept.unionByName(staged)
    last = latest.agg(F.max("day")).collect()[0][0]
    if last is None:
        return []
    return [row.asDict() for row in latest.where(F.col("day") >= date_literal(_moved(last, -WEEK))).collect()]


def _other_days(published: DataFrame, days: Iterable[date]) -> DataFrame:
    return published.where(~F.col("day").isin(*map(date_literal, sorted(days))))


def _union(counts: list[DataFrame], names: Iterable[str]) -> DataFrame:
    first, *others = (frame.select(*names) for frame in counts)
    for other in others:
        first = first.unionByName(other)
    return first


def _reached(days: Iterable[date], later: int) -> set[str]:
    """Months of these days and of those whose windows hold them."""
    return {month for day in days for month in months_of((day, _moved(day, later)))}


def _with_previous(months: Iterable[str]) -> set[str]:
    """With the month before each, in which their windows begin."""
    days = [date.fromisoformat(f"{month}-01") for month in months]
    return months_of(days) | months_of(_moved(day, -1) for day in days)


def _moved(day: date, number: int) -> date:
    """A date that many days later, at most the last or the first that there is."""
    try:
        return day + timedelta(number)
    except OverflowError:
        return date.max if number > 0 else date.min
