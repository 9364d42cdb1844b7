"""Whether estimated shares are right: their error and the coverage of their intervals on reviews with known labels.

    python -m tools.benchmarks.shares --data directory [--model directory]

The directory holds ``reviews_pool.parquet``. Its sources that the bundled model was not trained on are scored once
(build/benchmarks/ keeps the probabilities). The SQL of the marts (`jobs.statistics.estimates`) then estimates the share
of each source, of samples of it of which some reviews are labelled, and of weeks of products that do not change. A
calibration to some labels of each source is measured on its other reviews. Prints one JSON object a part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import erfc

from jobs.statistics.corrections import UNKNOWN, ShareCorrection, correction_of
from jobs.statistics.estimates import (
    LABEL_SUMS,
    Steps,
    change_steps,
    estimate_steps,
    pool_columns,
    pool_prior,
    product_prior,
)
from sentiment_core.artifact import Decision, load_model
from sentiment_core.evaluation.domain_shift import share_correction
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.logistic import logit, sigmoid
from sentiment_core.scoring.scorer import Scorer
from sentiment_core.scoring.status import COUNTED
from sentiment_core.training.recalibration import FEWEST_OF_A_CLASS, fit_to_labels
from tools.bundled_model.prepare import HELD_OUT_SOURCES

MODEL = Path("sentiment_core/models/sentiment")
LABELLED_SHARE = 0.1
LEVEL, Z95 = 0.05, 1.959963984540054
# Weeks of a shop of so many products, each with so many reviews in both weeks.
PRODUCTS, REVIEWS_A_WEEK = 40, (3, 10, 30, 100)
FALL = 0.15
# Labels that a model is calibrated to, and other reviews of the same source that it is measured on, at most.
OWN_LABELS, OTHERS = (100, 300), 1_000


def main() -> None:
    """Score, then measure each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--sources", default=",".join(HELD_OUT_SOURCES), help="that the model was not trained on")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    reviews = scored(options)
    print(json.dumps({"part": "without labels", **without_labels(reviews)}), flush=True)
    print(json.dumps({"part": "products without labels", **products_without_labels(reviews)}), flush=True)
    print(json.dumps({"part": "with labels", **with_labels(reviews, n=options.resamples)}), flush=True)
    print(
        json.dumps({"part": "calibrated to own labels", "of": [own_labels(reviews, n=n) for n in OWN_LABELS]}),
        flush=True,
    )
    print(json.dumps({"part": "changes", **changes(reviews, n=max(10, options.resamples // 10))}), flush=True)


def scored(options: argparse.Namespace) -> pd.DataFrame:
    """``source``, ``product_id``, ``y`` (1 or 0), ``p`` and ``sentiment`` of the reviews that count in shares."""
    model = load_model(options.model, kind="sentiment")
    path = options.cache / f"shares-{model.sha256[:12]}.parquet"
    sources = options.sources.split(",")
    if not path.exists():
        table = pq.read_table(options.data / "reviews_pool.parquet", columns=["source", "product_id", "label", "text"])
        table = table.filter(pc.and_(pc.is_in(table["source"], pa.array(sources)), table["label"].is_valid()))
        print(f"scoring {len(table):,} reviews", file=sys.stderr)
        scores = Scorer(model).score_texts(table["text"])
        columns = {"p": scores.positive_probability, "status": scores.status, "sentiment": scores.sentiment}
        table = table.drop_columns(["text"])
        for name, values in columns.items():
            table = table.append_column(name, pa.array(list(values)))
        options.cache.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    frame = pq.read_table(path).to_pandas()
    frame = frame[frame["status"].isin(COUNTED) & (frame["label"] != 0.5) & frame["source"].isin(sources)]
    return frame.assign(y=(frame["label"] > 0.5).astype(float))


def without_labels(reviews: pd.DataFrame) -> dict[str, Any]:
    """Each source with the correction of all others, beside counted labels and the plain mean probability."""
    rows, found = [], []
    for source, correction in left_out(reviews):
        own = reviews[reviews["source"] == source]
        rows.append(sums_of(own["p"].to_numpy()[None], correction))
        found.append(
            {
                "source": source,
                "reviews": len(own),
                "truth": own["y"].mean(),
                "counted": (own["sentiment"] == "positive").mean(),
                "mean_probability": own["p"].mean(),
            }
        )
    estimates = ask(pd.concat(rows), estimate_steps(pool_prior(), labelled=False))
    table = pd.concat([pd.DataFrame(found), estimates[list(ESTIMATE)].reset_index(drop=True)], axis=1)
    names = ("counted", "mean_probability", "estimated_share")
    return {
        "mean_absolute_error": {name: round((table[name] - table["truth"]).abs().mean(), 4) for name in names},
        "coverage": covered(table, table["truth"]),
        "sources": table.round(4).to_dict("records"),
    }


def products_without_labels(reviews: pd.DataFrame, *, fewest: int = 20) -> dict[str, Any]:
    """Products of at least so many reviews, with the correction of the other sources."""
    rows, truths = [], []
    for source, correction in left_out(reviews):
        own = reviews[(reviews["source"] == source) & reviews["product_id"].notna()]
        groups = [group for _, group in own.groupby("product_id") if len(group) >= fewest]
        if len(groups) >= 2:
            rows += [sums_of(group["p"].to_numpy()[None], correction) for group in groups]
            truths += [group["y"].mean() for group in groups]
    if not rows:
        return {"products": 0}
    estimates = ask(pd.concat(rows), estimate_steps(product_prior(pooled=False), labelled=False))
    truth = pd.Series(truths)
    return {
        "products": len(truth),
        "mean_absolute_error": round((estimates["estimated_share"] - truth).abs().mean(), 4),
        "coverage": covered(estimates, truth),
    }


def with_labels(reviews: pd.DataFrame, *, n: int) -> dict[str, Any]:
    """Samples of each source of its own size, one in ten reviews labelled, against Wilson's interval of the labels."""
    rows = []
    for source, correction in left_out(reviews):
        own = reviews[reviews["source"] == source]
        p, y, size = own["p"].to_numpy(), own["y"].to_numpy(), len(own)
        rng = np.random.default_rng(size)
        labelled = np.arange(size) < round(LABELLED_SHARE * size)
        parts = []
        for _ in range(0, n, 50):
            drawn = rng.integers(0, size, (min(50, n), size))
            parts.append(sums_of(p[drawn], correction, y=y[drawn], labelled=labelled))
        found = ask(pd.concat(parts), estimate_steps(pool_prior(), labelled=True))
        widths = found["estimated_share_high"] - found["estimated_share_low"]
        alone = found["label_high"] - found["label_low"]
        inside = (found["label_low"] <= y.mean()) & (y.mean() <= found["label_high"])
        rows.append(
            {
                "source": source,
                "labels": int(labelled.sum()),
                "coverage": covered(found, y.mean()),
                "coverage_of_labels_alone": round(inside.mean(), 4),
                "width_against_labels_alone": round((widths / alone).mean(), 4),
                "widest_against_labels_alone": round((widths / alone).max(), 4),
            }
        )
    table = pd.DataFrame(rows)
    return {
        "lowest_coverage": table["coverage"].min(),
        "highest_coverage": table["coverage"].max(),
        "mean_width_against_labels_alone": round(table["width_against_labels_alone"].mean(), 4),
        "widest_against_labels_alone": table["widest_against_labels_alone"].max(),
        "sources": rows,
    }


def own_labels(reviews: pd.DataFrame, *, n: int) -> dict[str, Any]:
    """A calibration to that many labels of each source, as ``sentiment calibrate`` fits it, on the others."""
    rows = []
    for source, group in reviews.groupby("source"):
        if len(group) < n + OTHERS // 5:
            continue
        random = np.random.default_rng(5)
        order = random.permutation(len(group))
        logits, positive = logit(group["p"].to_numpy())[order], group["y"].to_numpy()[order] > 0.5
        labels, others = slice(0, n), slice(n, n + OTHERS)
        if not FEWEST_OF_A_CLASS <= positive[labels].sum() <= n - FEWEST_OF_A_CLASS:
            continue  # `calibrate` refuses them
        half = np.arange(n) % 2 == 0
        held_out = np.empty(n)
        for fits in (half, ~half):
            fitted = fit_to_labels(Decision(), positive[labels][fits], logits[labels][fits], weights=np.ones(n)[fits])
            held_out[~fits] = fitted.probability(logits[labels][~fits])
        as_before = evaluate_probabilities(positive[labels], sigmoid(logits[labels])).log_loss
        written = evaluate_probabilities(positive[labels], held_out).log_loss < as_before
        fitted = fit_to_labels(Decision(), positive[labels], logits[labels], weights=np.ones(n))
        decision = fitted if written else Decision()
        row: dict[str, Any] = {"source": source, "written": bool(written)}
        for name, probabilities in (
            ("before", sigmoid(logits[others])),
            ("after", decision.probability(logits[others])),
        ):
            found = evaluate_probabilities(positive[others], probabilities)
            error = abs(float((probabilities - positive[others]).mean()))
            row[name] = {"log_loss": found.log_loss, "ece": found.ece, "share_error": error}
        rows.append(row)
    means = {
        name: {
            figure: float(np.mean([row[name][figure] for row in rows])) for figure in ("log_loss", "ece", "share_error")
        }
        for name in ("before", "after")
    }
    worse = sum(row["after"]["log_loss"] > row["before"]["log_loss"] for row in rows)
    written = sum(row["written"] for row in rows)
    return {"labels": n, "sources": len(rows), "written": written, "worse": worse, **means, "rows": rows}


def changes(reviews: pd.DataFrame, *, n: int) -> dict[str, Any]:
    """Two weeks of the products of a shop: how often one moved that did not, and one that fell is found."""
    shops = [(reviews[reviews["source"] == source], correction) for source, correction in left_out(reviews)]
    rows = []
    for labels in (0.0, LABELLED_SHARE, 1.0):
        for size in REVIEWS_A_WEEK:
            still, fallen = (
                changes_of([weeks(*shop, size=size, labels=labels, fall=fall, n=n) for shop in shops], labels=labels)
                for fall in (0.0, FALL)
            )
            alarms = (still < LEVEL).mean(axis=(1, 2))  # (sources,)
            rows.append(
                {
                    "labelled_share": labels,
                    "reviews_a_week": size,
                    "false_alarms": round(float(alarms.mean()), 4),
                    "most_false_alarms_of_a_source": round(float(alarms.max()), 4),
                    "weeks_with_a_worst_mover_of_q_below_0.1": round(float((smallest_q(still) < 0.1).mean()), 4),
                    f"found_falls_of_{FALL}": round(float((fallen < LEVEL).mean()), 4),
                }
            )
    return {"level": LEVEL, "products": PRODUCTS, "weeks": n * len(shops), "rows": rows}


def weeks(
    own: pd.DataFrame, correction: ShareCorrection, *, size: int, labels: float, fall: float, n: int
) -> dict[str, pd.DataFrame]:
    """Sums of both weeks of the products of `n` shops, drawn from one source."""
    p, y = own["p"].to_numpy(), own["y"].to_numpy()
    rng = np.random.default_rng(size)
    shape = (n * PRODUCTS, size)
    before, now = rng.integers(0, len(p), shape), rng.integers(0, len(p), shape)
    if fall:
        # Some positive reviews are replaced by negative ones of the same source.
        replaced = (rng.random(shape) < fall / max(fall, y.mean())) & (y[now] == 1)
        now = np.where(replaced, rng.choice(np.flatnonzero(y == 0), shape), now)
    parts = {}
    for end, drawn in (("_7d", now), ("_before", before)):
        labelled = rng.random(shape) < labels if labels else None
        parts[end] = sums_of(p[drawn], correction, y=y[drawn], labelled=labelled)
    return parts


def changes_of(shops: list[dict[str, pd.DataFrame]], *, labels: float) -> npt.NDArray[np.float64]:
    """Chance of so large a change of each product without one, shape (sources, shops, products)."""
    parts = {end: pd.concat([shop[end] for shop in shops], ignore_index=True) for end in ("_7d", "_before")}
    frame = pd.concat([sums.add_suffix(end) for end, sums in parts.items()], axis=1)
    if labels:
        shop = np.arange(len(frame)) // PRODUCTS
        pool = (parts["_7d"] + parts["_before"]).groupby(shop).sum()
        pool = ask(pool, [*estimate_steps(pool_prior(), labelled=True), pool_columns()])[list(pool_columns())]
        frame = pd.concat([frame, pool.iloc[shop].reset_index(drop=True)], axis=1)
    of_windows = [
        estimate_steps(product_prior(end, pooled=bool(labels)), labelled=bool(labels), end=end) for end in parts
    ]
    steps = [first | second for first, second in zip(*of_windows)]
    found = ask(frame, [*steps, *change_steps(now="_7d", before="_before", labelled=bool(labels))])
    # Two-sided, of a standard normal value.
    tails: npt.NDArray[np.float64] = erfc(np.abs(found["change_z"].to_numpy(float)) / np.sqrt(2))
    return tails.reshape(len(shops), -1, PRODUCTS)


def smallest_q(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each shop the smallest q (Benjamini and Hochberg 1995); `p` has the products as its last axis."""
    ordered, n = np.sort(p, axis=-1), p.shape[-1]
    smallest: npt.NDArray[np.float64] = (ordered * n / np.arange(1, n + 1)).min(axis=-1)
    return smallest


ESTIMATE = ("estimated_share", "estimated_share_low", "estimated_share_high")


def left_out(reviews: pd.DataFrame) -> Iterator[tuple[str, ShareCorrection]]:
    """Each source with the correction that the others tell."""
    for source in sorted(reviews["source"].unique()):
        others = reviews[reviews["source"] != source]
        found = share_correction(pa.array(others["source"]), others["y"].to_numpy() > 0.5, others["p"].to_numpy())
        yield source, correction_of({"correction": found}) if found else UNKNOWN


def sums_of(
    p: npt.NDArray[np.float64],
    correction: ShareCorrection,
    *,
    y: npt.NDArray[np.float64] | None = None,
    labelled: npt.NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Sums of groups of equal size, as the marts hold them; `p` and `y` have the shape (groups, reviews)."""
    q = p + p * (1 - p) * (correction.shift + correction.sharpness * (1 - 2 * p))
    sums = {"p": p, "pp": p * p, "q": q, "qq": q * q}
    frame = pd.DataFrame({name: values.sum(axis=1) for name, values in sums.items()})
    frame["scored"] = p.shape[1]
    frame["spread"] = p.shape[1] * correction.standard_deviation
    if y is not None and labelled is not None:
        w = np.broadcast_to(labelled, p.shape).astype(float)
        terms = (w, w * y, w * p, w * p * p, w * y * p)
        for name, values in zip(LABEL_SUMS, (*terms, *terms)):
            frame[name] = values.sum(axis=1)
        frame["labelled_count"] = w.sum(axis=1).astype(int)
    return frame


def ask(sums: pd.DataFrame, steps: Steps) -> pd.DataFrame:
    """Apply steps of SQL, in the order of the rows."""
    with duckdb.connect() as connection:
        connection.register("step_0", sums.reset_index(drop=True).reset_index(names="row"))
        for number, step in enumerate(steps):
            columns = ", ".join(f"{sql} AS {name}" for name, sql in step.items())
            connection.execute(f"CREATE VIEW step_{number + 1} AS SELECT *, {columns} FROM step_{number}")
        return connection.sql(f"SELECT * FROM step_{len(steps)} ORDER BY row").df()


def covered(estimates: pd.DataFrame, truth: Any) -> float:
    """Share of the intervals that hold the truth."""
    inside = (estimates["estimated_share_low"] <= truth) & (truth <= estimates["estimated_share_high"])
    return round(float(inside.mean()), 4)


if __name__ == "__main__":
    main()
