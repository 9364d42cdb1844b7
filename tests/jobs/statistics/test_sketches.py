from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.statistics.sketches import collect_sketch, length_bin, length_of, percentiles, probability_bin, probability_of

PERCENTS = (1, 10, 50, 90, 99)


@pytest.fixture(scope="module")
def values() -> pd.DataFrame:
    """Groups of many sizes, with the ends of both ranges."""
    rng = np.random.default_rng(1)
    sizes = [1, 2, 3, 9, 10, 11, 100, 3000]
    parts = [
        pd.DataFrame({"group": size, "probability": rng.beta(0.3, 0.3, size), "length": rng.integers(1, 20_000, size)})
        for size in sizes
    ]
    ends = pd.DataFrame({"group": 0, "probability": [0.0, 1.0, 0.5, 0.001, 0.999999], "length": [1, 2, 3, 10**6, 51]})
    return pd.concat([*parts, ends], ignore_index=True)


@pytest.mark.parametrize("kind", ["probability", "length"])
def test_percentiles_are_those_of_the_values_within_half_a_step(
    spark: SparkSession, values: pd.DataFrame, kind: str
) -> None:
    to_bin, value = (probability_bin, probability_of) if kind == "probability" else (length_bin, length_of)
    counts = spark.createDataFrame(values).groupBy("group", to_bin(F.col(kind)).alias("bin")).count()
    sketches = counts.groupBy("group").agg(collect_sketch(F.col("bin"), F.col("count")).alias("sketch"), F.sum("count"))
    ends = percentiles(F.col("sketch"), F.col("sum(count)"), percents=PERCENTS, value=value)
    for row in sketches.select("group", "sketch", *ends).collect():
        group = values.loc[values["group"] == row["group"], kind]
        expected = np.percentile(group, PERCENTS, method="inverted_cdf")
        if kind == "probability":
            np.testing.assert_allclose(row[2:], expected, atol=0.0005 + 1e-9)
        else:
            np.testing.assert_allclose(row[2:], expected, rtol=0.01)
        bins = [entry["bin"] for entry in row["sketch"]]
        assert bins == sorted(set(bins))
        assert sum(entry["reviews"] for entry in row["sketch"]) == len(group)


def test_an_empty_sketch_has_no_percentile(spark: SparkSession) -> None:
    nothing = spark.range(1).select(probability_bin(F.lit(None).cast("double")).alias("bin"))
    row = nothing.agg(collect_sketch(F.col("bin"), F.lit(1)).alias("sketch")).select(
        "sketch", *percentiles(F.col("sketch"), F.lit(0), percents=(50,), value=probability_of)
    )
    assert tuple(row.collect()[0]) == ([], None)
