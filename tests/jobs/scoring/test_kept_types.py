"""Kept columns of each type that Spark stores, with no null, nulls first, nulls late and nothing else: bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.support.campaign import Campaign

ROWS = 250
# Rows of a batch on the way to the worker: nulls of one batch must not change the values of another.
BATCH = 100
# As Spark SQL of a row's number `id`, which pandas, a float64 or a careless writer would change.
TYPES = {
    "boolean": "id % 3 = 0",
    "byte": "cast(id % 256 - 128 as byte)",
    "short": "cast(id * 257 - 32768 as short)",
    "int": "cast(id * 17179869 - 2147483648 as int)",
    "long": "9007199254740993 + id",
    "float": "cast(CASE id % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0.0' WHEN 2 THEN 'Infinity' ELSE id / 3 END as float)",
    "double": "cast(CASE id % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0.0' WHEN 2 THEN '4.9E-324' ELSE id / 3 END as double)",
    "decimal(9,2)": "cast(id - 0.01 as decimal(9,2))",
    "decimal(18,6)": "cast(-999999999999.999999 + id as decimal(18,6))",
    "decimal(38,18)": "cast('99999999999999999999.999999999999999999' as decimal(38,18)) - id",
    "string": "CASE id % 4 WHEN 0 THEN '' WHEN 1 THEN cast(x'66FF80C0' as string) WHEN 2 THEN char(0) ELSE 'é' END",
    "binary": "unhex(lpad(hex(id), id % 7 * 2, 'FF'))",
    "date": "date_add(date'0001-01-01', cast(id * 14600 as int))",
    "timestamp": "timestamp_micros(-62135596800000000 + id * 1000000000000001)",
    "timestamp_ntz": "cast(timestamp_micros(-62135596800000000 + id * 1000000000000001) as timestamp_ntz)",
    "interval day to second": "make_dt_interval(cast(id * 1000 as int), 23, 59, 59.999999)",
    "array": "CASE WHEN id % 3 = 0 THEN array() ELSE array(9007199254740993 + id, NULL) END",
    "map": "CASE WHEN id % 3 = 0 THEN map() ELSE map('a', 9007199254740993 + id, 'b', NULL) END",
    "struct": "named_struct('a', named_struct('b', array(9007199254740993 + id)), 'c', cast(NULL as int))",
    "array of maps": "array(map(id, array(named_struct('x', cast('NaN' as double)))), map())",
}
NULLS = {"no null": "false", "null first": f"id < {BATCH + 10}", "null late": f"id >= {ROWS - 40}", "all null": "true"}

# Only a plan that is compiled reads Parquet in columns, as a user's does.
pytestmark = pytest.mark.usefixtures("compiling")


def bits(table: pa.Table) -> dict[str, str]:
    """Each column as text that is equal only if every bit of it is."""
    plain = {pa.float32(): pa.int32(), pa.float64(): pa.int64(), pa.date32(): pa.int32(), pa.string(): pa.binary()}
    found = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        kind = pa.int64() if pa.types.is_timestamp(column.type) else plain.get(column.type)
        inner = str(column.type).replace(" not null", "")  # no reader of Parquet keeps it
        found[name] = f"{inner}: {(column if kind is None else column.view(kind)).to_pylist()!r}"
    return found


@pytest.fixture
def small_batches(spark: SparkSession) -> Any:
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(name)
    spark.conf.set(name, str(BATCH))
    yield
    spark.conf.set(name, before)


@pytest.mark.integrity
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "nulls", ["null late", *(pytest.param(name, marks=pytest.mark.slow) for name in NULLS if name != "null late")]
)
def test_kept_columns_of_every_type_are_bit_equal(
    campaign: Campaign, sentiment: Any, spark: SparkSession, model_path: Path, tmp_path: Path, nulls: str
) -> None:
    columns = [F.expr(f"CASE WHEN {NULLS[nulls]} THEN NULL ELSE {sql} END").alias(name) for name, sql in TYPES.items()]
    frame = spark.range(ROWS).select(F.col("id").alias("review_id"), F.lit("good film").alias("text"), *columns)
    source, output = tmp_path / "reviews", tmp_path / "scores"
    frame.coalesce(1).write.parquet(str(source))
    code, _, sentence = sentiment(
        "score", "--input", source, "--output", output, "--model", model_path, "--run-date", "2026-11-23",
        "--keep-columns", "all", "--groups", "1",
    )  # fmt: skip
    assert code == 0, sentence
    kept = ["review_id", *TYPES]
    given = ds.dataset(source).to_table().select(kept).sort_by("review_id")
    published = ds.dataset(output / "run_date=2026-11-23").to_table().select(kept).sort_by("review_id")
    wanted = bits(given)
    assert [name for name, content in bits(published).items() if content != wanted[name]] == []
    types, wanted_types = (
        {field.name: field.dataType for field in spark.read.parquet(str(path)).schema} for path in (output, source)
    )
    assert {name: types[name] for name in kept} == {name: wanted_types[name] for name in kept}
    n_nulls = {"no null": 0, "null first": BATCH + 10, "null late": 40, "all null": ROWS}[nulls]
    assert [name for name in TYPES if given[name].null_count != n_nulls] == []
    campaign.record(f"types, {nulls}", types=len(TYPES), rows=ROWS, bit_equal=len(TYPES))
    shutil.rmtree(source)


def test_equal_bits_means_every_bit() -> None:
    """What a comparison of values would take for equal, and what it would not."""
    zero, minus_zero, nan = ({"x": pa.array([value])} for value in (0.0, -0.0, float("nan")))
    assert bits(pa.table(zero)) != bits(pa.table(minus_zero))
    assert bits(pa.table(nan)) == bits(pa.table(nan))
    assert bits(pa.table({"x": pa.array([1], pa.int32())})) != bits(pa.table({"x": pa.array([1], pa.int64())}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: F.expr("make_ym_interval(1, 2)"),
        lambda: F.lit(None),
        lambda: F.expr("array(make_ym_interval(1, 2))"),
    ],
    ids=["interval year to month", "void", "array of intervals"],
)
def test_types_that_arrow_cannot_carry_are_refused_by_name(
    sentiment: Any, spark: SparkSession, model_path: Path, tmp_path: Path, make: Callable[[], Any]
) -> None:
    frame = spark.range(3).select(F.col("id").alias("review_id"), F.lit("good").alias("text"), make().alias("odd"))
    frame.createOrReplaceTempView("odd_types")
    code, _, sentence = sentiment(
        "score", "--input", "odd_types", "--output", tmp_path / "scores", "--model", model_path, "--keep-columns", "all"
    )
    assert (code, "column 'odd' has the type" in sentence) == (3, True), sentence
    assert not (tmp_path / "scores").exists()
