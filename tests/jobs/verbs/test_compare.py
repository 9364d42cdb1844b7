"""`compare` against pandas, scikit-learn's way of counting and statsmodels, on made-up scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from statsmodels.stats.contingency_tables import mcnemar

from jobs.statistics.estimates import estimate_steps, pool_prior
from tests.support.estimated import ESTIMATE, ask, sums_of

CUT_OFFS = {"champion": (0.3, 0.7), "challenger": (0.4, 0.55)}
LABELS = ["negative", "neutral", "positive"]
Compare = Callable[..., tuple[int, dict[str, Any], str]]


def made_up(n_rows: int, *, seed: int) -> pd.DataFrame:
    """Two models that mostly agree; some rows have one probability or none, some no label."""
    rng = np.random.default_rng(seed)
    champion = rng.beta(0.5, 0.5, n_rows)
    challenger = np.clip(champion + rng.normal(0.01, 0.2, n_rows), 0, 1)
    stars = np.where(
        rng.random(n_rows) < 0.1, np.nan, np.clip(np.round(1 + 4 * champion + rng.normal(0, 1, n_rows)), 1, 5)
    )
    champion[rng.random(n_rows) < 0.05] = np.nan
    challenger[rng.random(n_rows) < 0.03] = np.nan
    return pd.DataFrame(
        {"review_id": np.arange(n_rows), "stars": stars, "champion": champion, "challenger": challenger}
    )


def publish(scores: Path, rows: pd.DataFrame, *, day: str, names: tuple[str, ...], sha256: str = "a" * 64) -> None:
    """A partition as `score` writes it, and its report."""
    run_id = f"{day}-{names[0][:6]}{len(names)}"
    columns: dict[str, Any] = {
        "review_id": rows["review_id"],
        "stars": pa.array(rows["stars"], from_pandas=True),
        "liked": pa.array([None if value != value else value > 3 for value in rows["stars"]]),
        "positive_probability": pa.array(rows[names[0]], from_pandas=True),
        "run_id": [run_id] * len(rows),
    }
    columns |= {
        f"positive_probability_{name}": pa.array(rows[name], from_pandas=True) for name in names[: 3 * (len(names) > 1)]
    }
    (scores / f"run_date={day}").mkdir(parents=True)
    pq.write_table(pa.table(columns), scores / f"run_date={day}" / "part-0.parquet")
    models = [
        {"name": name, "sha256": sha256[:-1] + str(place), "negative_below": low, "positive_from": high}
        for place, name in enumerate(names)
        for low, high in [CUT_OFFS.get(name, (0.5, 0.5))]
    ]
    report = {"run_id": run_id, "run_date": day, "model": {"sha256": sha256}, "counts": {"rows": len(rows)}}
    (scores / "_runs").mkdir(exist_ok=True)
    (scores / "_runs" / f"{run_id}.json").write_text(
        json.dumps(report | ({"models": models} if len(names) > 1 else {}))
    )


@pytest.fixture
def compare(spark: SparkSession, sentiment: Any, tmp_path: Path) -> Compare:
    def run(*options: object) -> tuple[int, dict[str, Any], str]:
        code, results, sentence = sentiment("compare", "--scores", tmp_path / "scores", *options)
        return code, results[0] if results else {}, sentence

    return run


BOTH = ("champion", "challenger")


def labels_of(probability: pd.Series, name: str) -> pd.Series:
    low, high = CUT_OFFS[name]
    return pd.Series(np.select([probability < low, probability >= high], [LABELS[0], LABELS[2]], LABELS[1]))


def test_it_is_what_pandas_and_statsmodels_make_of_the_rows(compare: Compare, tmp_path: Path) -> None:
    parts = [made_up(700, seed=1), made_up(500, seed=2).assign(review_id=lambda rows: rows["review_id"] + 10_000)]
    for number, part in enumerate(parts):
        publish(tmp_path / "scores", part, day=f"2026-11-2{number}", names=BOTH)
    # Scored by one model alone: in no comparison.
    publish(tmp_path / "scores", made_up(30, seed=3), day="2026-11-23", names=("champion",))
    code, found, sentence = compare("--label-column", "stars", "--positive-above", 3)
    assert code == 0, sentence
    rows = pd.concat(parts, ignore_index=True)
    both = rows.dropna(subset=list(BOTH)).reset_index(drop=True)
    assert [found["models"][side]["name"] for side in BOTH] == list(BOTH)
    assert found["rows"] == len(rows) + 30
    assert found["scored_by_both"] == len(both)
    assert found["by_champion_only"] == (rows["champion"].notna() & rows["challenger"].isna()).sum()
    assert found["by_challenger_only"] == (rows["champion"].isna() & rows["challenger"].notna()).sum()

    first, second = (labels_of(both[name], name) for name in BOTH)
    table = pd.crosstab(first, second).reindex(index=LABELS, columns=LABELS, fill_value=0)
    assert found["confusion"] == {label: table.loc[label].to_dict() for label in LABELS}
    assert found["agreement"] == pytest.approx((first == second).mean())

    difference = both["challenger"] - both["champion"]
    half = 1.959963984540054 * difference.sem()
    assert found["difference"]["mean"] == pytest.approx(difference.mean(), abs=1e-8)
    assert found["difference"]["mean_low"] == pytest.approx(difference.mean() - half, abs=1e-7)
    assert found["difference"]["mean_high"] == pytest.approx(difference.mean() + half, abs=1e-7)
    assert found["difference"]["mean_absolute"] == pytest.approx(difference.abs().mean(), abs=1e-8)
    assert found["difference"]["largest_absolute"] == pytest.approx(difference.abs().max())
    for percent in (1, 5, 25, 50, 75, 95, 99):
        expected = np.percentile(difference, percent, method="inverted_cdf")
        assert found["difference"][f"p{percent:02}"] == pytest.approx(expected, abs=0.0005 + 1e-9)
    farthest = both.loc[difference.abs().sort_values(ascending=False).index[:20]]
    assert [row["id"] for row in found["largest"]] == farthest["review_id"].tolist()
    assert [row["champion"] for row in found["largest"]] == farthest["champion"].tolist()

    judged = both.dropna(subset=["stars"])
    right = [(judged[name] >= 0.5) == (judged["stars"] > 3) for name in BOTH]
    labels = found["labels"]
    assert (labels["n"], labels["positive"]) == (len(judged), (judged["stars"] > 3).sum())
    assert [labels[f"{name}_accuracy"] for name in BOTH] == [pytest.approx(of.mean()) for of in right]
    assert labels["accuracy_difference"] == pytest.approx(right[1].mean() - right[0].mean())
    assert labels["accuracy_difference_low"] < labels["accuracy_difference"] < labels["accuracy_difference_high"]
    counts = pd.crosstab(right[0], right[1])
    assert labels["both_wrong"] == counts.loc[False, False]
    assert labels["mcnemar_p"] == pytest.approx(mcnemar(counts.to_numpy(), exact=True).pvalue)
    assert f"on {len(both):,} reviews: the same sentiment in" in sentence
    weight = both["stars"].notna().to_numpy(float)
    positive = (both["stars"] > 3).to_numpy(float)
    sums = [sums_of(both[name].to_numpy(float), positive, weight, spread=0.08) for name in BOTH]
    shares = ask(sums, estimate_steps(pool_prior(), labelled=True))
    for number, name in enumerate(BOTH):
        assert [found["shares"][name][one] for one in ESTIMATE] == pytest.approx(shares[ESTIMATE].iloc[number].tolist())
        assert found["shares"][name]["labelled_count"] == len(judged)
    # Labels as booleans say the same, and the other way round the difference turns its sign.
    code, again, sentence = compare("--label-column", "liked", "--champion", "challenger", "--largest", 0)
    assert code == 0, sentence
    assert again["labels"]["accuracy_difference"] == pytest.approx(-labels["accuracy_difference"])
    assert again["labels"]["mcnemar_p"] == labels["mcnemar_p"]
    assert again["largest"] == []
    one_run = compare("--run-id", "2026-11-20-champi2")[1]
    assert one_run["rows"] == 700


@pytest.mark.parametrize(
    ("names", "options", "code", "said"),
    [
        (("champion",), (), 3, "its runs name no two models"),
        (BOTH, ("--challenger", "third"), 3, "no run has a model named 'third'; name one with --challenger"),
        (BOTH, ("--champion", "challenger", "--challenger", "challenger"), 2, "are both 'challenger'"),
        ((*BOTH, "third"), (), 2, "choose with --champion and --challenger"),
        (BOTH, ("--label-column", "grade"), 3, "the column 'grade' is missing"),
        (BOTH, ("--label-column", "run_id"), 3, "has the type string; name the positive one with --positive-label"),
        (BOTH, ("--id-column", "id"), 3, "the column 'id' is missing"),
        (BOTH, ("--run-id", "2026-01-01-none"), 3, "its runs name no two models"),
        (BOTH, ("--largest", "-1"), 2, "--largest must be from 0 to 10,000"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(
    compare: Compare, tmp_path: Path, names: tuple[str, ...], options: tuple[str, ...], code: int, said: str
) -> None:
    publish(tmp_path / "scores", made_up(20, seed=4).assign(third=0.5), day="2026-11-20", names=names)
    found, results, sentence = compare(*options)
    assert (found, results) == (code, {}), sentence
    assert said in sentence


@pytest.mark.slow
def test_two_models_of_one_name_are_not_mixed(compare: Compare, tmp_path: Path) -> None:
    publish(tmp_path / "scores", made_up(20, seed=5), day="2026-11-20", names=BOTH)
    other = made_up(20, seed=6).assign(review_id=lambda rows: rows["review_id"] + 100)
    publish(tmp_path / "scores", other, day="2026-11-21", names=BOTH, sha256="b" * 64)
    code, _, sentence = compare()
    assert code == 3
    assert (
        "'champion' was 2 different models, aaaaaaaaaaaa and bbbbbbbbbbbb; name the runs of one with --run-id"
        in sentence
    )
    assert compare("--run-id", "2026-11-21-champi2")[0] == 0


@pytest.mark.slow
def test_a_review_that_two_runs_scored_counts_once_or_not_at_all(compare: Compare, tmp_path: Path) -> None:
    rows = made_up(40, seed=8)
    for day in ("2026-11-20", "2026-11-21"):
        publish(tmp_path / "scores", rows, day=day, names=BOTH)
    code, results, sentence = compare()
    pairs = len(rows.dropna(subset=list(BOTH)))
    assert (code, results) == (3, {})
    assert f"{pairs} reviews were scored by more than one run and would count twice; name one run" in sentence
    assert compare("--run-id", "2026-11-21-champi2")[1]["rows"] == 40


def test_without_a_label_or_a_pair_there_is_nothing_to_compare(compare: Compare, tmp_path: Path) -> None:
    rows = made_up(20, seed=7).assign(stars=np.nan, champion=np.nan)
    publish(tmp_path / "scores", rows, day="2026-11-20", names=BOTH)
    code, _, sentence = compare()
    assert code == 3
    assert "no review has a probability of both models" in sentence
    publish(tmp_path / "scores", rows.assign(champion=0.5), day="2026-11-21", names=BOTH)
    code, _, sentence = compare("--label-column", "stars")
    assert code == 3
    assert "no review that both models scored has a 'stars'" in sentence
