"""Made-up marts of any size, written without Spark: what the dashboard is tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql.pandas.types import to_arrow_schema
from statsmodels.stats.proportion import proportion_confint

from jobs.marts.schemas import MARTS_VERSION, mart_schema

MODEL = "ab" * 32
LAST_DAY = date(2026, 10, 31)


def write_marts(
    marts: Path,
    *,
    products: Sequence[str | None] = ("kettle", "lamp", None),
    n_days: int = 40,
    n_runs: int = 3,
    model: str = MODEL,
    terms: Sequence[str] = (),
    labelled: bool = True,
    seed: int = 0,
) -> Path:
    """Marts of products with reviews on `n_days` days each, the last of them `LAST_DAY`; drivers are these terms.

    The label of every scored review is known, or that of none.
    """
    rng = np.random.default_rng(seed)
    days = [LAST_DAY - timedelta(n_days - 1 - number) for number in range(n_days)]
    place, day = (grid.ravel() for grid in np.meshgrid(np.arange(len(products)), np.arange(n_days), indexing="ij"))
    counts = _counts(rng, len(place))
    names = np.array([*products, None], object)[:-1]
    write_mart(
        marts,
        "sentiment_daily",
        {
            "product": names[place],
            "day": np.array(days, object)[day],
            **counts,
            **_sums(counts["scored"].tolist(), counts["positive"].tolist(), labelled=labelled),
            **_windows(rng, len(place)),
        },
        months=_months(np.array(days, object)[day]),
    )
    rows = pd.DataFrame({"place": place, "day": np.array(days, object)[day], **counts})
    rows["month"] = np.array(_months(days), object)[day]
    monthly = rows.groupby(["place", "month"], sort=False)
    sums = monthly[list(counts)].sum()
    write_mart(
        marts,
        "sentiment_product",
        {
            "product": [products[one] for one, _ in sums.index],
            "first_day": monthly["day"].min(),
            "last_day": monthly["day"].max(),
            **_sums(sums["scored"].tolist(), sums["positive"].tolist(), labelled=labelled),
            **{name: sums[name] for name in counts},
        },
        months=[month for _, month in sums.index],
    )
    overall = rows.groupby("day")[list(counts)].sum()
    write_mart(
        marts,
        "sentiment_overall",
        {"day": overall.index, **{name: overall[name] for name in counts}, **_windows(rng, len(overall))},
        months=_months(overall.index),
    )
    histogram = rng.integers(40, 90, (n_days, 15)) if products else np.zeros((0, 15), int)
    write_mart(
        marts,
        "model_daily",
        {
            "model_sha256": [model] * len(histogram),
            "day": days[: len(histogram)],
            **_counts(rng, len(histogram)),
            "score_histogram": histogram.tolist(),
            **{name: rng.integers(900, 1000, len(histogram)) for name in ("tokens", "tokens_ok", "week_scored")},
            "unknown_ok": rng.integers(0, 9, len(histogram)),
            "psi_week": [None, *rng.gamma(2, 0.05, max(0, len(histogram) - 1))][: len(histogram)],
            "psi_validation": rng.gamma(2, 0.1, len(histogram)),
        },
        months=_months(days[: len(histogram)]),
    )
    runs = days[:n_runs]
    write_mart(
        marts,
        "run_history",
        {
            "run_id": [f"{day}-{number:012x}" for number, day in enumerate(runs)],
            "run_date": runs,
            "model_sha256": [model] * len(runs),
            "engine": ["auto"] * len(runs),
            "devices": ["cpu"] * len(runs),
            **{name: rng.integers(100, 900, len(runs)) for name in ("reviews", "scored", "failed")},
            **{
                name: rng.gamma(9, 10, len(runs))
                for name in ("total_seconds", "reviews_per_second", "core_hours", "cost")
            },
        },
        months=_months(runs),
    )
    if terms:
        _write_drivers(marts, products, terms=terms, months=sorted(set(_months(days)))[-2:], rng=rng)
    state = {"version": MARTS_VERSION, "settings": {}, "core_hour_price": None, "folders": {}, "reports": {}}
    (marts / "_state.json").write_text(json.dumps(state | {"validation": {model: list(range(10, 25))}}))
    return marts


def write_last_day(marts: Path, models: Mapping[str, Mapping[str, Any]]) -> None:
    """These models and columns instead of what model_daily holds of the last month."""
    rows = [
        {"model_sha256": sha256, "day": LAST_DAY, "score_histogram": [row["scored"] // 15] * 15} | row
        for sha256, row in models.items()
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_mart(marts, "model_daily", columns, months=_months([LAST_DAY] * len(rows)))


def write_mart(marts: Path, name: str, columns: Mapping[str, Any], *, months: Sequence[str]) -> None:
    """One mart; columns that are not given are NULL."""
    schema = to_arrow_schema(mart_schema(name))
    (marts / name).mkdir(parents=True, exist_ok=True)
    arrays = {
        field.name: pa.array(list(columns[field.name]), field.type)
        if field.name in columns
        else pa.nulls(len(months), field.type)
        for field in schema
        if field.name != "month"
    }
    table = pa.table(arrays)
    for month in sorted(set(months)):
        folder = marts / name / f"month={month}"
        folder.mkdir(exist_ok=True)
        pq.write_table(table.filter(pa.array([one == month for one in months])), folder / "part-0.parquet")


def _write_drivers(
    marts: Path,
    products: Sequence[str | None],
    *,
    terms: Sequence[str],
    months: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Each term once as a word and once as a pair, half of them of either direction, of each product and month."""
    half = (len(terms) + 1) // 2
    grid = np.meshgrid(np.arange(len(products)), np.arange(2), np.arange(2), np.arange(len(terms)), indexing="ij")
    product, month, pair, term = (one.ravel() for one in grid)
    lifts, rank = term < half, term % half + 1
    contribution = np.where(lifts, 1, -1) * (9.0 + rng.random(len(term))) / rank
    reviews = rng.integers(1, 40, len(term))
    columns = {
        "product": np.array([*products, None], object)[product],
        "kind": np.where(pair, "pair", "word"),
        "term": np.array(terms, object)[term],
        "reviews": reviews,
        "contribution": contribution,
        "contribution_low": np.where(reviews > 1, contribution - 0.4, None),
        "contribution_high": np.where(reviews > 1, contribution + 0.4, None),
        "mean_contribution": contribution / reviews,
        "review_share": reviews / 100,
        "rank_positive": np.where(lifts, rank, None),
        "rank_negative": np.where(lifts, None, rank),
    }
    write_mart(marts, "sentiment_drivers", columns, months=np.array(months)[month % len(months)].tolist())


def _months(days: Sequence[date]) -> list[str]:
    return [f"{day:%Y-%m}" for day in days]


def _counts(rng: np.random.Generator, n_rows: int) -> dict[str, Any]:
    scored = rng.integers(0, 30, n_rows)
    positive = rng.binomial(scored, 0.6)
    neutral = rng.binomial(scored - positive, 0.4)
    empty, unfamiliar, failed = rng.integers(0, 2, n_rows), rng.integers(0, 2, n_rows), np.zeros(n_rows, int)
    return {
        "reviews": scored + empty + unfamiliar,
        "scored": scored,
        "empty": empty,
        "failed": failed,
        "unfamiliar": unfamiliar,
        "truncated": scored // 9,
        "negative": scored - positive - neutral,
        "neutral": neutral,
        "positive": positive,
    }


def _sums(scored: Sequence[int], positive: Sequence[int], *, labelled: bool) -> dict[str, Any]:
    """Sums of scores and labels: a positive review has the probability 3/4, another one 0."""
    known = scored if labelled else [0] * len(scored)
    true = positive if labelled else known
    parts = {"w": 1, "wy": 1, "wp": 3 / 4, "wpp": 9 / 16, "wyp": 3 / 4, "ww": 1, "wwy": 1, "wwp": 3 / 4}
    parts |= {"wwpp": 9 / 16, "wwyp": 3 / 4}
    structs = [
        {name: Decimal((of if name in ("w", "ww") else yes) * part) for name, part in parts.items()}
        for of, yes in zip(known, true)
    ]
    return {
        "labelled_count": known,
        "label_sums": structs,
        **{name: [Decimal(one * 3 / 4) for one in positive] for name in ("probability_sum", "corrected_sum")},
        "corrected_square_sum": [Decimal(one * 9 / 16) for one in positive],
        "variance_sum": [Decimal(one * 3 / 16) for one in positive],
        "spread_sum": [Decimal(one) / 20 for one in scored],
    }


def _windows(rng: np.random.Generator, n_rows: int) -> dict[str, Any]:
    """Windows of random counts: the page shows what the mart says, whatever it is."""
    columns: dict[str, Any] = {}
    for name in ("7d", "28d"):
        scored = rng.integers(1, 120, n_rows)
        positive = rng.binomial(scored, rng.beta(6, 4, n_rows))
        low, high = proportion_confint(positive, scored, method="wilson")
        columns |= {
            f"scored_{name}": scored,
            f"estimated_share_{name}": positive / scored,
            f"labelled_count_{name}": 0 * scored,
        }
        columns |= {f"positive_share_{name}": positive / scored}
        columns |= {f"estimated_share_{name}_low": low, f"estimated_share_{name}_high": high}
    change = rng.normal(0, 0.1, n_rows)
    columns |= {"change_7d": change, "change_7d_low": change - 0.1, "change_7d_high": change + 0.1}
    columns |= {"change_7d_p": rng.random(n_rows), "trend_28d": rng.normal(0, 0.01, n_rows)}
    return columns | {"trend_28d_p": rng.random(n_rows)}
