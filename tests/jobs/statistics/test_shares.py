from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy import stats

from jobs.statistics.shares import DaySums, share, slope, slope_z, two_sided_p


def test_the_tail_of_the_normal_distribution(spark: SparkSession) -> None:
    z = np.concatenate([np.linspace(-37, 37, 2001), [0.0]])
    found = spark.createDataFrame(pd.DataFrame({"z": z})).select(two_sided_p(F.col("z")).alias("p")).toPandas()["p"]
    np.testing.assert_allclose(found, 2 * stats.norm.sf(np.abs(z)), rtol=1e-8)


def test_slope_and_its_test_are_those_of_scipy_over_the_reviews(spark: SparkSession) -> None:
    rng = np.random.default_rng(4)
    sums, expected = [], []
    for size in (2, 3, 10, 500, 2000):
        for _ in range(12):
            days, values = rng.integers(-27, 1, size), rng.beta(0.5, 0.5, size)
            if size == 10:
                values = np.full(size, 0.7)
            if len(set(days)) < 2:
                continue
            sums.append([size, values.sum(), (values**2).sum(), days.sum(), (days**2).sum(), (days * values).sum()])
            line = stats.linregress(days, values)
            p = 1.0 if size == 10 else 2 * stats.norm.sf(abs(line.rvalue) * np.sqrt(size - 1))
            expected.append((line.slope, p))
    names = ["trials", "values", "squares", "days", "days_squared", "values_days"]
    frame = spark.createDataFrame(pd.DataFrame(sums, columns=names))
    columns = DaySums(*map(F.col, names))
    z = frame.select(slope(columns).alias("slope"), slope_z(columns).alias("z"))
    found = z.select("slope", two_sided_p(F.col("z")).alias("p")).toPandas()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_without_trials_everything_is_null(spark: SparkSession) -> None:
    nothing = F.lit(0).cast("bigint")
    sums = DaySums(nothing, nothing, nothing, nothing, nothing, nothing)
    same_day = DaySums(F.lit(3), F.lit(1.0), F.lit(0.5), F.lit(0), F.lit(0), F.lit(0.0))
    row = spark.range(1).select(
        share(nothing, nothing), slope(sums), slope_z(sums), slope(same_day), slope_z(same_day),
        two_sided_p(F.lit(None).cast("double")),
    ).collect()[0]  # fmt: skip
    assert set(row) == {None}
