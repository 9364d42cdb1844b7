from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from jobs.proportions import DaySums, Interval, newcombe, score_z, share, slope, slope_z, two_sided_p, wilson


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    """Random counts of all sizes, and every pair of small ones."""
    rng = np.random.default_rng(2)
    n = np.exp(rng.uniform(0, 14, (300, 2))).astype(int)
    k = rng.binomial(n, rng.random((300, 2)))
    small = [(i, n, j, m) for n in (1, 2, 5) for i in range(n + 1) for m in (1, 4) for j in range(m + 1)]
    rows = np.concatenate([np.stack([k[:, 0], n[:, 0], k[:, 1], n[:, 1]], axis=1), small])
    return pd.DataFrame(rows, columns=["k", "n", "j", "m"])


@pytest.fixture(scope="module")
def found(spark: SparkSession, cases: pd.DataFrame) -> pd.DataFrame:
    k, n, j, m = (F.col(name) for name in cases.columns)
    low, high = wilson(k, n)
    then_low, then_high = wilson(j, m)
    frame = spark.createDataFrame(cases).select(
        "*", low.alias("low"), high.alias("high"), then_low.alias("then_low"), then_high.alias("then_high"),
        share(k, n).alias("share"), share(j, m).alias("then"), score_z(k, n, j, m).alias("z"),
    )  # fmt: skip
    now = Interval(F.col("share"), F.col("low"), F.col("high"))
    change_low, change_high = newcombe(now, Interval(F.col("then"), F.col("then_low"), F.col("then_high")))
    p = two_sided_p(F.col("z"))
    return frame.select("*", change_low.alias("change_low"), change_high.alias("change_high"), p.alias("p")).toPandas()


def test_wilsons_interval_is_that_of_statsmodels(found: pd.DataFrame) -> None:
    low, high = proportion_confint(found["k"], found["n"], method="wilson")
    np.testing.assert_allclose(found["low"], low, atol=1e-12)
    np.testing.assert_allclose(found["high"], high, atol=1e-12)
    assert ((found["low"] >= 0) & (found["low"] <= found["share"])).all()
    assert ((found["high"] <= 1) & (found["high"] >= found["share"])).all()


def test_newcombes_interval_is_that_of_statsmodels(found: pd.DataFrame) -> None:
    expected = [
        confint_proportions_2indep(row.k, row.n, row.j, row.m, method="newcomb", compare="diff")
        for row in found.itertuples()
    ]
    np.testing.assert_allclose(found[["change_low", "change_high"]], expected, atol=1e-12)


def test_the_score_test_is_that_of_statsmodels(found: pd.DataFrame) -> None:
    mixed = found[(found["k"] + found["j"]).between(1, found["n"] + found["m"] - 1)]
    expected = [proportions_ztest([row.k, row.j], [row.n, row.m]) for row in mixed.itertuples()]
    np.testing.assert_allclose(mixed[["z", "p"]], expected, rtol=1e-6, atol=1e-300)
    alike = found.drop(mixed.index)
    assert len(alike)
    np.testing.assert_allclose(alike["p"], 1.0, atol=1e-8)


def test_the_tail_of_the_normal_distribution(spark: SparkSession) -> None:
    z = np.concatenate([np.linspace(-37, 37, 2001), [0.0]])
    found = spark.createDataFrame(pd.DataFrame({"z": z})).select(two_sided_p(F.col("z")).alias("p")).toPandas()["p"]
    np.testing.assert_allclose(found, 2 * stats.norm.sf(np.abs(z)), rtol=1e-8)


def test_slope_and_its_test_are_those_of_scipy_over_the_reviews(spark: SparkSession) -> None:
    rng = np.random.default_rng(4)
    sums, expected = [], []
    for size in (2, 3, 10, 500, 2000):
        for _ in range(12):
            days, positive = rng.integers(-27, 1, size), (rng.random(size) < rng.random()).astype(int)
            if len(set(days)) < 2:
                continue
            sums.append([size, positive.sum(), days.sum(), (days**2).sum(), days[positive == 1].sum()])
            line = stats.linregress(days, positive)
            mixed = 0 < positive.sum() < size
            p = stats.chi2.sf(size * line.rvalue**2, 1) if mixed else 1.0
            expected.append((line.slope, p))
    names = ["trials", "successes", "days", "days_squared", "successes_days"]
    frame = spark.createDataFrame(pd.DataFrame(sums, columns=names))
    columns = DaySums(*map(F.col, names))
    z = frame.select(slope(columns).alias("slope"), slope_z(columns).alias("z"))
    found = z.select("slope", two_sided_p(F.col("z")).alias("p")).toPandas()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_without_trials_everything_is_null(spark: SparkSession) -> None:
    nothing, one = F.lit(0).cast("bigint"), F.lit(1).cast("bigint")
    low, high = wilson(nothing, nothing)
    sums = DaySums(nothing, nothing, nothing, nothing, nothing)
    same_day = DaySums(F.lit(3), F.lit(1), F.lit(0), F.lit(0), F.lit(0))
    row = spark.range(1).select(
        low, high, share(nothing, nothing), score_z(nothing, nothing, one, one), score_z(one, one, nothing, nothing),
        slope(sums), slope_z(sums), slope(same_day), slope_z(same_day),
        two_sided_p(F.lit(None).cast("double")),
    ).collect()[0]  # fmt: skip
    assert set(row) == {None}
