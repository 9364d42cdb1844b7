"""What the dashboard says of each product: totals, the last week, and its course, as columns of small whole numbers.

Shares are in thousandths, days are counted from the first: a year of 1,000 products then takes some hundred kilobytes.
Every number is one of the marts, rounded to what the page shows.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.dashboard.reader import OpenMarts

__all__ = ["product_columns", "span_of_days"]

# Points that the page may hold; with more, a product has one in a week, then one in four.
MOST_POINTS = 60_000
_STEPS = (1, 7, 28)

_TOTALS = """
WITH latest AS (SELECT max(day) AS last_day FROM sentiment_daily),
labels AS (
  SELECT
    product,
    CAST(sum(struct_extract(label_sums, 'w')) AS double) AS w,
    CAST(sum(struct_extract(label_sums, 'wy')) AS double) AS wy,
    CAST(sum(struct_extract(label_sums, 'wp')) AS double) AS wp
  FROM sentiment_product
  GROUP BY product
),
recent AS (
  SELECT s.*, row_number() OVER (PARTITION BY s.product ORDER BY s.day DESC) AS age
  FROM sentiment_daily s CROSS JOIN latest
  WHERE s.day > latest.last_day - 7
)
SELECT
  CAST(t.product AS varchar) AS name, t.reviews, t.scored, t.negative, t.neutral, t.positive,
  t.estimated_share AS share, t.estimated_share_low AS low, t.estimated_share_high AS high,
  CAST(coalesce(t.labelled_count, 0) AS bigint) AS labelled,
  l.wy / nullif(l.w, 0) AS by_label, l.wp / nullif(l.w, 0) AS by_text,
  t.first_day, t.last_day, r.scored_7d, r.estimated_share_7d AS share_7d,
  r.change_7d AS change, r.change_7d_low AS change_low, r.change_7d_high AS change_high,
  7 * r.trend_28d AS trend, r.trend_28d_p AS trend_p
FROM product_total t
LEFT JOIN labels l ON l.product IS NOT DISTINCT FROM t.product
LEFT JOIN recent r ON r.product IS NOT DISTINCT FROM t.product AND r.age = 1
ORDER BY t.product NULLS LAST
"""
# Of each step that ends on the last day of all, the product's last day with reviews.
_COURSE = """
WITH latest AS (SELECT max(day) AS last_day FROM sentiment_daily),
places AS (SELECT product, row_number() OVER (ORDER BY product NULLS LAST) - 1 AS place FROM product_total),
rows AS (
  SELECT
    p.place, s.*,
    row_number() OVER (PARTITION BY p.place, (latest.last_day - s.day) // {step} ORDER BY s.day DESC) AS age
  FROM sentiment_daily s CROSS JOIN latest JOIN places p ON p.product IS NOT DISTINCT FROM s.product
)
SELECT
  place, day,
  scored_7d, estimated_share_7d AS share_7d, estimated_share_7d_low AS low_7d, estimated_share_7d_high AS high_7d,
  scored_28d, estimated_share_28d AS share_28d, estimated_share_28d_low AS low_28d, estimated_share_28d_high AS high_28d
FROM rows WHERE age = 1
ORDER BY place, day
"""


def span_of_days(marts: OpenMarts) -> tuple[date, date] | None:
    """First and last day with reviews; None if no review has a day."""
    [row] = marts.rows("SELECT min(day) AS first_day, max(day) AS last_day FROM sentiment_daily")
    return (row["first_day"], row["last_day"]) if row["first_day"] else None


def product_columns(marts: OpenMarts, *, first_day: date) -> dict[str, Any]:
    """All products by name, the one without a name last.

    Returns
    -------
    dict
        ``totals``, one entry a product in each column; ``course`` likewise, one entry a point, where ``start`` is the
        first point of each product, and one more; ``step``, the days between two points.
    """
    totals = marts.columns(_TOTALS)
    [counted] = marts.rows("SELECT count(*) AS points FROM sentiment_daily")
    step = next((step for step in _STEPS if counted["points"] / step <= MOST_POINTS), _STEPS[-1])
    course = marts.columns(_COURSE.format(step=step))
    starts = pc.value_counts(course["place"]).field("counts").to_pylist()
    return {
        "totals": {name: _compact(totals[name], name, first_day) for name in totals.column_names},
        "course": {name: _compact(course[name], name, first_day) for name in course.column_names if name != "place"}
        | {"start": _added_up(starts)},
        "step": step,
    }


def _compact(values: pa.ChunkedArray, name: str, first_day: date) -> list[Any]:
    if name.endswith("day"):
        return [None if day is None else (day - first_day).days for day in values.to_pylist()]
    if pa.types.is_floating(values.type):
        return [None if value is None else round(value * 1000) for value in values.to_pylist()]
    return [int(value) if value is not None and name != "name" else value for value in values.to_pylist()]


def _added_up(counts: list[int]) -> list[int]:
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts
