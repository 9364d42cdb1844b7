"""The words and pairs that lift or lower each product, of its last month beside the month before."""

from __future__ import annotations

from datetime import date
from typing import Any

from jobs.dashboard.reader import OpenMarts

__all__ = ["driver_columns"]

# Terms of each direction, kind and product; fewer where the page would grow too large.
MOST_ROWS = 40_000
_TERMS = (12, 8, 5, 3)

_DRIVERS = """
WITH places AS (SELECT product, row_number() OVER (ORDER BY product NULLS LAST) - 1 AS place FROM product_total),
latest AS (SELECT product, max(month) AS month FROM sentiment_drivers GROUP BY product)
SELECT
  p.place, d.month, d.kind, CAST(d.term AS varchar) AS term, d.reviews, d.review_share AS share,
  d.contribution AS sum, d.contribution_low AS low, d.contribution_high AS high,
  b.contribution AS sum_before, b.review_share AS share_before
FROM sentiment_drivers d
JOIN latest l ON l.product IS NOT DISTINCT FROM d.product AND l.month = d.month
JOIN places p ON p.product IS NOT DISTINCT FROM d.product
LEFT JOIN sentiment_drivers b
  ON b.product IS NOT DISTINCT FROM d.product AND b.kind = d.kind AND b.term = d.term
  AND b.month = strftime(CAST(d.month || '-01' AS date) - INTERVAL 1 MONTH, '%Y-%m')
WHERE least(coalesce(d.rank_positive, 1000), coalesce(d.rank_negative, 1000)) <= {terms}
ORDER BY p.place, d.kind DESC, d.contribution DESC, d.term
"""


def driver_columns(marts: OpenMarts, *, n_products: int) -> dict[str, Any] | None:
    """Drivers of all products, ordered by product, kind (words first) and contribution.

    Contributions are in hundredths of a logit, shares of reviews in thousandths; what the month before does not hold
    is None, since its mart keeps only the strongest.

    Returns
    -------
    dict or None
        One entry a driver in each column, where ``start`` is the first of each product, and one more; ``terms`` are the
        texts that ``term`` counts in. None if the marts hold no drivers.
    """
    if "sentiment_drivers" not in marts.filled:
        return None
    terms = next((terms for terms in _TERMS if n_products * terms * 4 <= MOST_ROWS), _TERMS[-1])
    found = marts.columns(_DRIVERS.format(terms=terms)).to_pydict()
    number = {term: place for place, term in enumerate(dict.fromkeys(found["term"]))}
    starts = [0] * (n_products + 1)
    for place in found["place"]:
        starts[place + 1] += 1
    for place in range(n_products):
        starts[place + 1] += starts[place]
    columns: dict[str, Any] = {
        name: [None if value is None else round(value * scale) for value in found[name]]
        for name, scale in (
            *(("sum", 100), ("low", 100), ("high", 100), ("sum_before", 100)),
            *(("share", 1000), ("share_before", 1000), ("reviews", 1)),
        )
    }
    return columns | {
        "start": starts,
        "month": [_months(month) for month in found["month"]],
        "pair": [int(kind == "pair") for kind in found["kind"]],
        "term": [number[term] for term in found["term"]],
        "terms": list(number),
    }


def _months(month: str) -> int:
    """A month as a number, as the page counts them: months since the year 0."""
    day = date.fromisoformat(f"{month}-01")
    return day.year * 12 + day.month - 1
