"""Small made-up scores tables, and what the marts of one must be, computed row by row in pandas."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from sentiment_core.scoring.status import COUNTED, STATUSES, UNSCORED

MODELS = ("a" * 64, "b" * 64)
FIRST_DAY = date(2026, 1, 27)
VALIDATION = list(range(10, 25))
DRIVERS = pa.list_(pa.struct([("kind", pa.string()), ("term", pa.string()), ("contribution", pa.float64())]))


def made_up_scores(day: date, *, n_rows: int, model: str = MODELS[0], seed: int = 0) -> pa.Table:
    """One day's scores; the last product has no name, some reviews have no probability, some are unfamiliar."""
    rng = np.random.default_rng([day.toordinal(), seed])
    product = rng.choice(["kettle", "lamp", "sofa", None], n_rows, p=[0.5, 0.3, 0.1, 0.1])
    probability = np.where(rng.random(n_rows) < 0.1, rng.integers(0, 2, n_rows), rng.beta(0.7, 0.5, n_rows))
    status = rng.choice(STATUSES, n_rows, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    unscored = np.isin(status, UNSCORED)
    label = np.select([probability < 0.45, probability < 0.55], ["negative", "neutral"], "positive")
    n_tokens = np.where(status == "empty", 0, rng.integers(1, 900, n_rows))
    return pa.table(
        {
            "review_id": np.arange(n_rows) + (day.toordinal() * 10 + seed) * 1000,
            "product_id": pa.array(product, pa.string()),
            "stars": pa.array(rng.integers(1, 6, n_rows), pa.int8(), mask=np.arange(n_rows) % 3 == 0),
            "positive_probability": pa.array(probability, mask=unscored),
            "sentiment": pa.array(label, mask=unscored),
            "score_status": status,
            "n_tokens": pa.array(n_tokens, pa.int32()),
            "n_unknown": pa.array(rng.binomial(n_tokens, 0.05), pa.int32()),
            "model_sha256": pa.array([model] * n_rows),
            "run_id": pa.array([f"{day}-{model[:12]}"] * n_rows),
            "drivers": pa.array(_made_up_drivers(unscored, rng=rng), DRIVERS),
        }
    )


def _made_up_drivers(unscored: np.ndarray, *, rng: np.random.Generator) -> list[list[dict[str, Any]] | None]:
    """None without a probability, else 0 to 5 terms of few words, so that reviews share them and some tie."""
    words = [f"word{number}" for number in range(80)]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    found: list[list[dict[str, Any]] | None] = []
    for missing in unscored:
        terms = [(kind, term) for kind, of in (("word", words), ("pair", pairs)) for term in rng.permutation(of)[:5]]
        kept = terms[: rng.integers(0, 6)] + terms[5 : 5 + rng.integers(0, 6)]
        driven = [
            {"kind": kind, "term": str(term), "contribution": float(rng.choice([rng.normal(), 0.25, -0.25, 0.0]))}
            for kind, term in kept
        ]
        found.append(None if missing else driven)
    return found


def write_day(scores: Path, day: date, table: pa.Table, **report: Any) -> None:
    """Publish one day's scores and its run report, as the job does."""
    target = scores / f"run_date={day}"
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target / "part-0.parquet")
    model = table["model_sha256"][0].as_py() if len(table) else MODELS[0]
    seconds = 2.0 + len(table) / 50
    value = {
        "run_id": f"{day}-{model[:12]}",
        "run_date": str(day),
        "model": {"sha256": model, "validation_histogram": VALIDATION if model == MODELS[0] else None},
        "settings": {"engine": "auto", "precision": "float32"},
        "devices": ["cpu"],
        "versions": {"sentiment-warehouse": "0.1.0"},
        "counts": dict.fromkeys(STATUSES, 0) | {"rows": len(table), "ok": len(table), "unfamiliar": 2, "positive": 7},
        "seconds": {"load_model": 0.5, "score": seconds},
        "throughput": {"reviews_per_second": len(table) / seconds, "tokens_per_second": 1000.0},
        "cost_inputs": {"cores": 2, "core_seconds": 2 * (seconds + 0.5)},
        "output": {"bytes": 12345},
    }
    (scores / "_runs").mkdir(exist_ok=True)
    (scores / "_runs" / f"{value['run_id']}.json").write_text(json.dumps(value | report))


def write_scores(scores: Path, *, n_days: int = 36, rows_a_day: int = 24) -> list[date]:
    """Days with reviews over three months; some days have none, the last ones have another model, one day has both."""
    rng = np.random.default_rng(9)
    days = [FIRST_DAY + timedelta(number) for number in range(n_days) if number % 2 == 0 or number > n_days - 4]
    for day in days:
        model = MODELS[1] if day >= FIRST_DAY + timedelta(n_days - 3) else MODELS[0]
        table = made_up_scores(day, n_rows=int(rng.integers(2, rows_a_day)), model=model)
        if day == FIRST_DAY + timedelta(n_days - 3):
            table = pa.concat_tables([table, made_up_scores(day, n_rows=rows_a_day, seed=1)])
        write_day(scores, day, table)
    return days


def read_scores(scores: Path) -> pd.DataFrame:
    """All rows, with the marts' ``product`` and ``day``."""
    parts = []
    for folder in sorted(scores.glob("run_date=*")):
        part = pd.concat([pq.read_table(file, partitioning=None).to_pandas() for file in folder.glob("*.parquet")])
        parts.append(part.assign(day=date.fromisoformat(folder.name.removeprefix("run_date="))))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(product=rows["product_id"], scored=rows["score_status"].isin(COUNTED))


def expected_daily(rows: pd.DataFrame) -> pd.DataFrame:
    """``sentiment_daily`` from single reviews, each row by its own look at all of them."""
    found = []
    for (product, day), group in rows.groupby(["product", "day"], dropna=False):
        same = rows["product"].isna() if product is None or product != product else rows["product"] == product
        of_product = rows[same & rows["scored"]]
        age = of_product["day"].map(lambda other, day=day: (day - other).days)
        row = {"product": product, "day": day, **_counts(group), **_shares(group)}
        for length in (7, 28):
            row |= _window(of_product[(age >= 0) & (age < length)], day, f"{length}d")
        row |= _change(of_product[(age >= 0) & (age < 7)], of_product[(age >= 7) & (age < 14)])
        found.append(row | {"month": f"{day:%Y-%m}"})
    return pd.DataFrame(found)


def expected_overall(rows: pd.DataFrame) -> pd.DataFrame:
    """``sentiment_overall`` from single reviews."""
    scored = rows[rows["scored"]]
    found = []
    for day, group in rows.groupby("day"):
        age = scored["day"].map(lambda other, day=day: (day - other).days)
        shares = {name: value for name, value in _shares(group, product=False).items() if "probability_p" not in name}
        row = {"day": day, **_counts(group), **shares}
        for length in (7, 28):
            row |= _window(scored[(age >= 0) & (age < length)], day, f"{length}d", product=False)
        row |= _change(scored[(age >= 0) & (age < 7)], scored[(age >= 7) & (age < 14)])
        found.append(row | {"month": f"{day:%Y-%m}"})
    return pd.DataFrame(found)


def expected_product(rows: pd.DataFrame) -> pd.DataFrame:
    """``sentiment_product`` from single reviews."""
    found = []
    for (product, month), group in rows.assign(month=rows["day"].map("{:%Y-%m}".format)).groupby(
        ["product", "month"], dropna=False
    ):
        days = {"first_day": group["day"].min(), "last_day": group["day"].max(), "days": group["day"].nunique()}
        found.append({"product": product, **days, **_counts(group), **_shares(group), "month": month})
    return pd.DataFrame(found)


def expected_drivers(rows: pd.DataFrame, *, kept: int) -> pd.DataFrame:
    """``sentiment_drivers`` from single reviews: each term's contributions with a 0 for each review without it."""
    rows = rows[rows["drivers"].notna() & rows["scored"]].assign(month=rows["day"].map("{:%Y-%m}".format))
    found = []
    for (product, month), group in rows.groupby(["product", "month"], dropna=False):
        by_term: dict[tuple[str, str], list[float]] = {}
        for drivers in group["drivers"]:
            for driver in drivers:
                by_term.setdefault((driver["kind"], driver["term"]), []).append(driver["contribution"])
        for kind in ("word", "pair"):
            sums = {term: math.fsum(values) for (of, term), values in by_term.items() if of == kind}
            lifting = sorted((term for term in sums if sums[term] > 1e-12), key=lambda term: (-sums[term], term))
            lowering = sorted((term for term in sums if sums[term] < -1e-12), key=lambda term: (sums[term], term))
            for term in (*lifting[:kept], *lowering[:kept]):
                values = by_term[kind, term]
                padded = np.array(values + [0.0] * (len(group) - len(values)))
                half = (
                    stats.norm.ppf(0.975) * math.sqrt(len(group)) * padded.std(ddof=1) if len(group) > 1 else math.nan
                )
                found.append(
                    {
                        "product": product,
                        "kind": kind,
                        "term": term,
                        "reviews": len(values),
                        "contribution": sums[term],
                        "contribution_low": sums[term] - half,
                        "contribution_high": sums[term] + half,
                        "mean_contribution": np.mean(values),
                        "review_share": len(values) / len(group),
                        "rank_positive": lifting.index(term) + 1 if term in lifting else math.nan,
                        "rank_negative": lowering.index(term) + 1 if term in lowering else math.nan,
                        "month": month,
                    }
                )
    return pd.DataFrame(found)


def expected_model(rows: pd.DataFrame) -> pd.DataFrame:
    """``model_daily`` from single reviews."""
    found = []
    for (model, day), group in rows.groupby(["model_sha256", "day"]):
        age = rows["day"].map(lambda other, day=day: (day - other).days)
        week = rows[(rows["model_sha256"] == model) & rows["scored"] & (age >= 1) & (age <= 7)]
        scored, ok = group[group["scored"]], group[group["score_status"] == "ok"]
        histogram = _histogram(scored)
        validation = np.array(VALIDATION) if model == MODELS[0] else None
        lengths = {f"tokens_p{p}": _rank_percentile(scored["n_tokens"], p) for p in (10, 50, 90)}
        found.append(
            {
                "model_sha256": model,
                "day": day,
                **_counts(group),
                "positive_share": _ratio((scored["sentiment"] == "positive").sum(), len(scored)),
                "mean_probability": scored["positive_probability"].mean(),
                **_estimated(scored["positive_probability"], product=False),
                "labelled_count": 0,
                "score_histogram": histogram.tolist(),
                "tokens": group["n_tokens"].sum(),
                "tokens_ok": ok["n_tokens"].sum(),
                "unknown_ok": ok["n_unknown"].sum(),
                "unknown_rate": _ratio(ok["n_unknown"].sum(), ok["n_tokens"].sum()),
                "truncated_share": _ratio((group["score_status"] == "truncated").sum(), len(scored)),
                "unfamiliar_share": (group["score_status"] == "unfamiliar").mean(),
                **lengths,
                "validation_scored": None if validation is None else validation.sum(),
                "psi_validation": None if validation is None else stability_index(histogram, validation),
                "week_scored": len(week),
                "psi_week": stability_index(histogram, _histogram(week)),
                "month": f"{day:%Y-%m}",
            }
        )
    return pd.DataFrame(found)


def stability_index(counts: np.ndarray, reference: np.ndarray) -> float:
    """Population stability index with half a review in each step more; NaN without reviews."""
    if not counts.sum() or not reference.sum():
        return math.nan
    now, then = ((histogram + 0.5) / (histogram + 0.5).sum() for histogram in (counts, reference))
    return float(np.sum((now - then) * np.log(now / then)))


def _counts(group: pd.DataFrame) -> dict[str, int]:
    status, label = group["score_status"], group.loc[group["scored"], "sentiment"]
    counts = {"reviews": len(group), "scored": int(group["scored"].sum())}
    counts |= {name: int((status == name).sum()) for name in ("empty", "failed", "unfamiliar", "truncated")}
    return counts | {name: int((label == name).sum()) for name in ("negative", "neutral", "positive")}


def _shares(group: pd.DataFrame, *, product: bool = True) -> dict[str, float]:
    probability = group.loc[group["scored"], "positive_probability"]
    n, positive = len(probability), int((group.loc[group["scored"], "sentiment"] == "positive").sum())
    return {
        **_estimated(probability, product=product),
        "labelled_count": 0,
        "positive_share": _ratio(positive, n),
        "mean_probability": probability.mean(),
        **{f"probability_p{p}": _rank_percentile(probability, p) for p in (10, 50, 90)},
    }


def _estimated(probability: pd.Series, *, product: bool, end: str = "") -> dict[str, float]:
    """Without labels, of a model whose error between domains is not known: a standard deviation of 0.08.

    That of a product is larger by half of it, in quadrature. The interval is Wilson's of as many reviews as give the
    variance of the sample and of this error.
    """
    names = (f"estimated_share{end}", f"estimated_share{end}_low", f"estimated_share{end}_high")
    n, share = len(probability), probability.mean()
    if not n:
        return dict.fromkeys(names, math.nan)
    variance = max(0.01, share * (1 - share))
    trials = 1 / (1 / n + 0.08**2 * (1.25 if product else 1.0) / variance)
    return dict(zip(names, (share, *proportion_confint(share * trials, trials, method="wilson"))))


def _window(window: pd.DataFrame, day: date, name: str, *, product: bool = True) -> dict[str, float]:
    probability = window["positive_probability"]
    n, k = len(window), int((window["sentiment"] == "positive").sum())
    slope = p = math.nan
    if window["day"].nunique() > 1:
        line = stats.linregress(window["day"].map(lambda other: (other - day).days), probability)
        slope = line.slope
        p = float(2 * stats.norm.sf(abs(line.rvalue) * math.sqrt(n - 1))) if probability.std() > 1e-4 else 1.0
    return {
        f"scored_{name}": n,
        **_estimated(probability, product=product, end=f"_{name}"),
        f"labelled_count_{name}": 0,
        f"positive_share_{name}": _ratio(k, n),
        f"trend_{name}": slope,
        f"trend_{name}_p": p,
    }


def _change(now: pd.DataFrame, before: pd.DataFrame) -> dict[str, float]:
    """Permutations of the reviews over both weeks have this variance."""
    first, second = now["positive_probability"], before["positive_probability"]
    n, m = len(now), len(before)
    if not n or not m:
        return dict.fromkeys(("change_7d", "change_7d_low", "change_7d_high", "change_7d_p"), math.nan)
    change = first.mean() - second.mean()
    deviation = math.sqrt(max(1e-6, pd.concat([first, second]).var(ddof=1)) * (1 / n + 1 / m))
    half = stats.norm.ppf(0.975) * deviation
    return {
        "change_7d": change,
        "change_7d_low": max(-1.0, change - half),
        "change_7d_high": min(1.0, change + half),
        "change_7d_p": float(2 * stats.norm.sf(abs(change) / deviation)),
    }


def _histogram(rows: pd.DataFrame) -> np.ndarray:
    """As `calibration_table` counts."""
    steps = np.minimum((rows["positive_probability"].to_numpy() * 15).astype(int), 14)
    return np.bincount(steps, minlength=15)


def _rank_percentile(values: pd.Series, percent: int) -> float:
    return float(np.percentile(values, percent, method="inverted_cdf")) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
