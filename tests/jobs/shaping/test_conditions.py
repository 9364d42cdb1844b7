"""`--where` against an oracle in plain Python: the grammar, the types, and what must stay data."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.shaping.conditions import parse_condition
from jobs.shaping.filtering import filtered
from sentiment_core.errors import InputError, UsageError

OPERATORS = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROWS: dict[str, list[Any]] = {
    "b": [True, False, None, True],
    "i8": [-128, 0, 127, None],
    "i64": [9007199254740993, 9007199254740992, None, -5],
    "f32": [0.1, -1.5, None, 3e30],
    "f64": [0.1, 1e300, -0.0, None],
    "dec": [Decimal("1.10"), Decimal("-99.99"), None, Decimal("0.00")],
    "s": ["it's", "' or '1'='1", "", None],
    "d": [date(2026, 11, 1), date(1999, 12, 31), None, date(2026, 11, 23)],
    "at": [NOON, datetime(2026, 11, 22, 23, 30, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)],
    "local": [datetime(2026, 11, 23, 12), None, datetime(2026, 11, 22), datetime(1970, 1, 1)],
    "odd `name`": [1, 2, 3, None],
    "array": [[1], [], None, [2, 3]],
}
TYPES = {
    "b": pa.bool_(), "i8": pa.int8(), "i64": pa.int64(), "f32": pa.float32(), "f64": pa.float64(),
    "dec": pa.decimal128(10, 2), "s": pa.string(), "d": pa.date32(), "at": pa.timestamp("us", "UTC"),
    "local": pa.timestamp("us"), "odd `name`": pa.int32(), "array": pa.list_(pa.int64()),
}  # fmt: skip


@pytest.fixture(scope="module")
def table(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    path = tmp_path_factory.mktemp("conditions") / "in.parquet"
    columns = {name: pa.array(values, TYPES[name]) for name, values in ROWS.items()}
    pq.write_table(pa.table({"row": pa.array(range(4), pa.int32()), **columns}), path)
    return spark.read.parquet(str(path)).cache()


def rows_where(table: DataFrame, *texts: str) -> list[list[int]]:
    """The rows for which each condition holds, of all conditions at once: a query for each would take much longer."""
    conditions = [parse_condition(text).of(table.schema).alias(str(place)) for place, text in enumerate(texts)]
    rows = sorted(table.select("row", *conditions).collect())
    return [[row["row"] for row in rows if row[str(place)]] for place in range(len(texts))]


def written(value: Any) -> str:
    """A value as the grammar writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


@pytest.mark.parametrize("name", [name for name in ROWS if name != "array"])
def test_comparisons_are_those_of_the_columns_type(table: DataFrame, name: str) -> None:
    values = ROWS[name]
    quoted = "`" + name.replace("`", "``") + "`"
    expected: dict[str, list[int]] = {}
    for wanted in values:
        if wanted is None:
            continue
        for sign, compare in OPERATORS.items():
            if name == "b" and sign not in ("=", "!="):
                continue
            expected[f"{quoted}{sign}{written(wanted)}"] = [
                row for row, value in enumerate(values) if value is not None and compare(value, wanted)
            ]
    known = [value for value in values if value is not None][:2]
    among = ", ".join(map(written, known))
    expected[f"{quoted} IN ({among})"] = [row for row, value in enumerate(values) if value in known]
    expected[f"{quoted} is null"] = [row for row, value in enumerate(values) if value is None]
    expected[f"{quoted} Is Not Null"] = [row for row, value in enumerate(values) if value is not None]
    assert dict(zip(expected, rows_where(table, *expected))) == expected
    # As a filter, which Spark may hand on to the reader, a condition selects the same rows.
    filtered = table.where(parse_condition(f"{quoted} IN ({among})").of(table.schema)).select("row").collect()
    assert sorted(row["row"] for row in filtered) == expected[f"{quoted} IN ({among})"]


def test_a_time_may_name_its_zone(table: DataFrame) -> None:
    conditions = ("at = '2026-11-23T13:00:00+01:00'", "at >= '2026-11-23'", "array is not null")
    assert rows_where(table, *conditions) == [[0], [0], [0, 1, 3]]


@given(text=st.text())
@settings(max_examples=25)
def test_a_text_selects_the_rows_that_hold_it_whatever_it_says(spark: SparkSession, text: str) -> None:
    """Quotes, backslashes, comments and NUL are data; a selection of one value never matches another."""
    rows = [text, text + "'", "\\" + text, "' or '1'='1", "x"]
    table = spark.createDataFrame(pa.table({"s": pa.array(rows, pa.string())}))
    condition = parse_condition("s = " + written(text)).of(table.schema)
    assert [row["s"] for row in table.where(condition).collect()] == [row for row in rows if row == text]


@given(text=st.text(st.sampled_from("ab='`()<>!;-*/ \\%\n\0\"1.,ISinulotr"), max_size=30) | st.text(max_size=30))
@settings(max_examples=2_000)
def test_any_text_is_a_condition_of_the_grammar_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    again = parse_condition(str(condition))
    assert again == condition
    assert condition.operator in {*OPERATORS, "in", "is null", "is not null"}
    # Nothing but the column and literals is left of what was written.
    rest = text
    for literal in condition.literals:
        rest = rest.replace(literal, "", 1)
    for part in ("`" + condition.name.replace("`", "``") + "`", condition.name):
        rest = rest.replace(part, "", 1)
    assert not set(rest.lower()) - set("`=!<>(), \t\n\r\f\v\x1c\x1d\x1e\x1f\x85\xa0") - set("inisnotnull"), rest


@pytest.mark.parametrize(
    "text",
    [
        "", "stars", "stars = ", "= 3", "stars == 3", "stars <> 3", "stars = 3 or 1 = 1", "stars = 3; drop table x",
        "stars = 3 -- ", "stars = (select 1)", "stars = stars", "stars = 'a' 'b'", "stars = 'it's'", "stars in ()",
        "stars in (1, null)", "stars in (1 2)", "stars = null", "stars = 0x10", "stars = 1e9999", "stars = nan",
        "stars = ١", "lower(stars) = 'x'", "t.stars = 1", "stars like '%'", "stars between 1 and 2", "not stars = 1",
        "stars = \"x\"", "stars = 'x' union select 1", "stars is not", "stars = '\\' or 1=1 --'x", "1 = 1",
        "a = 1, b = 2",
        "`stars = 1", "stars = exp(1)", "stars rlike 'x'", "x" * 100_001 + " = 1",
    ],
)  # fmt: skip
def test_everything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="is no condition; write COLUMN = 'text'"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b > true", "have no order"),
        ("b = 1", "write true or false"),
        ("i8 = 128", "a whole number in its range"),
        ("i8 = 1.5", "a whole number in its range"),
        ("i64 = '5'", "a whole number in its range"),
        ("f64 = 1e309", "write a number"),
        ("f64 = true", "write a number"),
        ("dec = 1e39", "at most 38 digits"),
        ("s = true", "a text in single quotes"),
        ("s > '5'", "without quotes"),
        ("s = 1e20", "or a number of at most 20 digits"),
        ("d = '2026-13-01'", "a date like"),
        ("d = 5", "a date like"),
        ("local = '2026-11-23T12:00:00+01:00'", "a time like '2026-11-23 04:05:06'"),
        ("at = 'noon'", "a time like"),
        ("array = 1", "`is null` and `is not null`"),
        ("star = 1", "'star' is missing"),
        ("S = 'x'", "'S' is missing"),
    ],
)
def test_what_does_not_fit_the_column_is_refused(table: DataFrame, text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_condition(text).of(table.schema)
    assert says in str(refused.value)


def test_a_run_scores_the_rows_for_which_all_conditions_hold(
    sentiment: Any, spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path: Path
) -> None:
    pq.write_table(reviews, tmp_path / "in.parquet")
    options = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path]
    options += ["--run-date", "2026-11-23", "--keep-columns", "stars,product_id"]

    def score(*conditions: str) -> tuple[int, list[dict[str, Any]], str]:
        found: tuple[int, list[dict[str, Any]], str] = sentiment(
            "score", *options, *(part for text in conditions for part in ("--where", text))
        )
        return found

    code, (first,), sentence = score("stars >= 4", "product_id is not null")
    assert code == 0, sentence
    table = ds.dataset(tmp_path / "scores", partitioning="hive").to_table()
    stars, products = reviews["stars"].to_pylist(), reviews["product_id"].to_pylist()
    expected = [
        number
        for number, star, product in zip(reviews["review_id"].to_pylist(), stars, products)
        if star is not None and star >= 4 and product is not None
    ]
    assert 0 < len(expected) < len(reviews)
    assert sorted(table["review_id"].to_pylist()) == sorted(expected)
    assert first["input"]["where"] == ["`stars` >= 4", "`product_id` is not null"]
    _, (again,), _ = score("product_id is not null", "stars>=4")
    assert (again["status"], again["run_id"]) == ("unchanged", first["run_id"])
    # The same rows, asked for otherwise, are another run.
    _, (other,), _ = score("stars > 3", "product_id is not null")
    assert (other["status"], other["counts"]["rows"]) == ("published", len(expected))
    assert other["run_id"] != first["run_id"]
    for text, code, says in (("stars = 'x' or 1=1", 2, "is no condition"), ("stars = 'x'", 3, "is no value")):
        found, rows, sentence = score(text)
        assert (found, rows, says in sentence) == (code, [], True), sentence


@pytest.mark.slow
def test_backfill_takes_conditions_too(
    sentiment: Any, spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path: Path
) -> None:
    pq.write_table(reviews, tmp_path / "in.parquet")
    day = min(filter(None, reviews["review_date"].to_pylist()))
    code, (report,), sentence = sentiment(
        "backfill", "--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path,
        "--date-column", "review_date", "--from", day, "--to", day, "--where", "stars in (5, 4)",
    )  # fmt: skip
    assert code == 0, sentence
    expected = sum(
        found == day and star in (4, 5)
        for found, star in zip(reviews["review_date"].to_pylist(), reviews["stars"].to_pylist())
    )
    assert report["counts"]["rows"] == expected


def test_the_types_of_the_table_are_those_that_are_meant(table: DataFrame) -> None:
    assert isinstance(table.schema["local"].dataType, T.TimestampNTZType)
    assert isinstance(table.schema["at"].dataType, T.TimestampType)


def test_dates_in_texts_are_ordered_as_dates_and_what_is_none_is_counted(spark: SparkSession) -> None:
    values = ["2026-11-03T10:00:00Z", "2026-11-3", "2026-11-04", "11/02/2026", "", None]
    frame = spark.createDataFrame([*zip(range(6), values)], "row int, day string")
    condition = parse_condition("day <= '2026-11-03'")
    found, (check,) = filtered(frame, [condition], schema=frame.schema, also=None, always=F.lit(False))
    rows = found.select("row", check.wrong.alias("wrong")).collect()
    assert sorted((row.row, row.wrong) for row in rows) == [(0, False), (1, False), (3, True)]
    assert "that is no whole date like 2026-11-23, so --where `day` <= '2026-11-03' cannot be judged" in check.said
    assert "--date-format and --cast day=date" in check.said
