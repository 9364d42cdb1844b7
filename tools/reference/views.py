"""The view of products over all months, as SQL, from the estimate's formulas in `jobs/statistics/estimates.py`."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.statistics.estimates import LABEL_SUMS, Steps, estimate_steps, pool_columns, pool_prior, product_prior

__all__ = ["views"]

_HEAD = "-- Views that Spark SQL and DuckDB both read as they are; after the tables and the engine's own views.\n"
_KEPT = ("product", "first_day", "last_day", "reviews", "scored", "negative", "neutral", "positive", "labelled_count")
_ESTIMATE = ("estimated_share", "estimated_share_low", "estimated_share_high")
_SUMS = (
    *(f"  sum({name}) AS {name}" for name in ("reviews", "scored", "negative", "neutral", "positive")),
    "  sum(labelled_count) AS labelled_count",
    "  CAST(sum(probability_sum) AS double) AS p",
    "  CAST(sum(probability_sum) - sum(variance_sum) AS double) AS pp",
    "  CAST(sum(corrected_sum) AS double) AS q",
    "  CAST(sum(spread_sum) AS double) AS spread",
    *(f"  coalesce(CAST(sum(label_sums.{name}) AS double), 0e0) AS {name}" for name in LABEL_SUMS),
)


def views() -> str:
    """``CREATE VIEW`` of each product over all months, with its estimated share; its pool is all of them together."""
    spans = ("  min(first_day) AS first_day", "  max(last_day) AS last_day")
    parts = [
        ("sums", _query(("  product", *spans, *_SUMS), "sentiment_product", "GROUP BY product")),
        ("all_sums", _query(_SUMS, "sentiment_product")),
        *_nested([*estimate_steps(pool_prior(), labelled=True), pool_columns()], name="all", start="all_sums"),
        ("pool", _query([f"  {name}" for name in pool_columns()], "all_estimated")),
        ("pooled", _query(["  *"], "sums CROSS JOIN pool")),
        *_nested(estimate_steps(product_prior(pooled=True), labelled=True), name="product", start="pooled"),
    ]
    columns = [
        *_KEPT,
        *_ESTIMATE,
        "positive / nullif(scored, 0) AS positive_share",
        "p / nullif(scored, 0) AS mean_probability",
    ]
    named = ",\n".join(f"{name} AS (\n{sql}\n)" for name, sql in parts)
    chosen = _query([f"  {column}" for column in columns], "product_estimated")
    return f"{_HEAD}CREATE OR REPLACE VIEW product_total AS\nWITH {named}\n{chosen};\n"


def _query(columns: Iterable[str], source: str, *rest: str) -> str:
    return "\n".join(("SELECT", ",\n".join(columns), f"FROM {source}", *rest))


def _nested(steps: Steps, *, name: str, start: str) -> list[tuple[str, str]]:
    """Each step as a named query of the one before; the last is called ``NAME_estimated``."""
    parts = []
    for number, step in enumerate(steps, 1):
        target = f"{name}_estimated" if number == len(steps) else f"{name}_{number}"
        columns = ["  *", *(f"  {sql} AS {column}" for column, sql in step.items())]
        parts.append((target, _query(columns, start)))
        start = target
    return parts
