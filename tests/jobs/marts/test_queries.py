"""The queries of the dashboards against what they promise; that both engines agree is tested with the marts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from importlib import resources
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from jobs.marts.counts import HISTOGRAM_BINS

LAST = date(2026, 10, 31)


def ask(question: str, **tables: Iterable[dict[str, Any]]) -> pd.DataFrame:
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            connection.register(f"{name}_rows", pd.DataFrame(list(rows)))
            connection.execute(f"CREATE TABLE {name} AS SELECT * REPLACE (CAST(day AS DATE) AS day) FROM {name}_rows")
        return connection.sql((resources.files("jobs.marts.queries") / f"{question}.sql").read_text()).df()


def fall(product: str, *, change: float, low: float, high: float, p: float, scored: int) -> dict[str, Any]:
    return {
        "product": product, "day": LAST, "scored_7d": scored, "estimated_share_7d": 0.5, "change_7d": change,
        "change_7d_low": low, "change_7d_high": high, "change_7d_p": p,
    }  # fmt: skip


def test_a_sure_fall_stands_before_larger_ones_of_hardly_any_reviews() -> None:
    noise = [fall(f"p{i:02}", change=-1.0, low=-1.0, high=0.2, p=0.2, scored=2) for i in range(30)]
    real = fall("kettle", change=-0.35, low=-0.41, high=-0.29, p=1e-23, scored=400)
    found = ask("worst_movers", sentiment_daily=[*noise, real])
    assert found["product"].tolist()[0] == "kettle"
    assert len(found) == 20


def days(reviews: Iterable[int]) -> list[dict[str, Any]]:
    counts = list(reviews)
    first = LAST - timedelta(len(counts) - 1)
    return [{"product": "kettle", "day": first + timedelta(i), "reviews": n} for i, n in enumerate(counts)]


def test_a_products_first_days_are_no_anomaly_and_a_later_flood_is() -> None:
    assert ask("volume_anomalies", sentiment_daily=days([10] * 60)).empty
    found = ask("volume_anomalies", sentiment_daily=days([10] * 50 + [60] + [10] * 9))
    assert (found["reviews"].tolist(), found["usual"].tolist()) == ([60], [10])


def steps(day: date, counts: Iterable[int]) -> list[dict[str, Any]]:
    return [{"model_sha256": "a", "day": day, "step": step, "reviews": n} for step, n in enumerate(counts)]


def moved(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return ask("moved_scores", score_steps=rows, model_daily=[{"model_sha256": "a", "day": LAST}])


def test_a_week_without_reviews_has_no_shares() -> None:
    found = moved(steps(LAST, range(HISTOGRAM_BINS)))
    assert found["share_now"].tolist() == [n / 105 for n in range(HISTOGRAM_BINS)]
    assert found["share_before"].isna().all()
    assert found["index_term"].isna().all()


def test_shares_are_of_the_reviews_and_the_index_has_half_a_review_more() -> None:
    now, before = [*range(HISTOGRAM_BINS)], [7] * HISTOGRAM_BINS
    found = moved(steps(LAST, now) + steps(LAST - timedelta(7), before))
    assert found["share_before"].tolist() == [1 / 15] * HISTOGRAM_BINS
    p = (pd.Series(now) + 0.5) / (105 + 7.5)
    q = (pd.Series(before) + 0.5) / (105 + 7.5)
    assert np.allclose(found["index_term"], (p - q) * np.log(p / q))
