"""What a worker holds follows the bytes of a batch, whatever the length of the reviews and the size of their group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.scoring.grouping import score_table
from jobs.tables.scores import KEPT, TEXT, ScoreColumns

_SETTING = "spark.sql.execution.arrow.maxBytesPerBatch"


def measuring() -> Any:
    """Instead of a scorer: each row's ``n_tokens`` is the bytes of the texts of its batch."""

    # Inside, so that it is sent by value: workers have no tests.
    def measure(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows, size = len(batch), batch[TEXT].nbytes
            columns: dict[str, Any] = {KEPT: batch[KEPT], "positive_probability": pa.nulls(rows, pa.float64())}
            columns |= {name: pa.nulls(rows, pa.string()) for name in ("sentiment", "score_status")}
            columns |= {"n_tokens": pa.array([size] * rows, pa.int32()), "n_unknown": pa.nulls(rows, pa.int32())}
            yield pa.RecordBatch.from_pydict(columns)

    return measure


@pytest.mark.parametrize("review_bytes", [200, 20_000, 200_000])
def test_a_batch_has_no_more_bytes_than_the_setting_says(spark: SparkSession, review_bytes: int) -> None:
    """One group of 8 MB, in batches of half a megabyte."""
    n_rows, most = 8_000_000 // review_bytes, 500_000
    text = F.rpad(F.col("id").cast("string"), review_bytes, "x")
    can_be_null = F.when(F.col("id") >= 0, F.col("id"))
    frame = spark.range(n_rows).select(can_be_null.alias("review_id"), text.alias("text"))
    columns = ScoreColumns(id="review_id", text="text", kept=("review_id",), partition="run_date")
    before = spark.conf.get(_SETTING)
    spark.conf.set(_SETTING, str(most))
    try:
        sizes = score_table(frame, columns=columns, scorer=measuring(), groups=1).agg(F.max("n_tokens"), F.count("*"))
        largest, rows = sizes.collect()[0]
    finally:
        spark.conf.set(_SETTING, before)
    assert rows == n_rows
    assert largest <= most + review_bytes + 16


def test_the_jobs_own_setting_bounds_bytes_and_rows(spark: SparkSession) -> None:
    assert int(spark.conf.get(_SETTING) or 0) <= 32 << 20
    assert int(spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch") or 0) <= 10_000
