"""Dates as people have them: one rule for every verb, and no date that stops the marts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.tables.dates import DateForms, date_format
from sentiment_core.errors import UsageError
from tests.support.scored import MODELS, made_up_scores

Verb = Callable[..., tuple[int, list[dict[str, Any]], str]]
DATES = {
    "2026-11-01": date(2026, 11, 1),
    "2026-11-2": date(2026, 11, 2),
    " 2026-11-03 ": date(2026, 11, 3),
    "2026-11-02 23:30:00-05:00": date(2026, 11, 2),
    "2026-11-02T23:30:00Z": date(2026, 11, 2),
    "9999-12-31": date(9999, 12, 31),
    "0202-03-01": date(202, 3, 1),
}
NO_DATES = ["2026-11", "2026", "11/02/2026", "2026-13-01", "2026-02-30", "2026-11-02 or so", "20261102", "12026-01-01"]


def test_a_text_is_a_date_if_it_is_a_whole_one(spark: SparkSession) -> None:
    texts = [*DATES, *NO_DATES, "", "  ", None]
    frame = spark.createDataFrame(pa.table({"d": pa.array(texts, pa.string())}))
    forms = DateForms()
    parts = (forms.day(frame.schema, "d"), forms.is_blank(frame.schema, "d"), forms.is_no_date(frame.schema, "d"))
    found = [tuple(row) for row in frame.select(*parts).collect()]
    expected = [(day, False, False) for day in DATES.values()] + [(None, False, True)] * len(NO_DATES)
    assert found == [*expected, *[(None, True, False)] * 3]


def test_patterns_read_other_forms_the_first_that_fits(spark: SparkSession) -> None:
    frame = spark.createDataFrame(pa.table({"d": ["11/02/2026", "25/02/2026", "2 Nov 2026", "2026-11-02", "2/3"]}))
    forms = DateForms(patterns=("MM/dd/yyyy", "dd/MM/yyyy", "d MMM yyyy"))
    forms.check(spark)
    found = [row[0] for row in frame.select(forms.day(frame.schema, "d")).collect()]
    assert found == [date(2026, 11, 2), date(2026, 2, 25), date(2026, 11, 2), date(2026, 11, 2), None]


def test_a_times_day_is_that_in_utc(spark: SparkSession) -> None:
    late = datetime(2026, 11, 2, 23, 30, tzinfo=UTC)
    frame = spark.createDataFrame(pa.table({"d": pa.array([late], pa.timestamp("us", "UTC"))}))
    assert frame.select(DateForms().day(frame.schema, "d")).collect()[0][0] == date(2026, 11, 2)


@pytest.mark.parametrize("pattern", ["%m/%d/%Y", "yyyy-MM", "yyyy", "HH:mm", "'yyyy' MM dd"])
def test_a_pattern_of_a_part_is_wrong_usage(pattern: str) -> None:
    with pytest.raises(UsageError, match="--date-format"):
        date_format(pattern)
    assert date_format("yyyy-DDD") == "yyyy-DDD"


def test_a_pattern_that_spark_does_not_know_is_wrong_usage(spark: SparkSession) -> None:
    with pytest.raises(UsageError, match="no pattern of Spark"):
        DateForms(patterns=("yyyy-MM-ddJJ",)).check(spark)


@pytest.fixture
def backfill(spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path) -> Verb:
    def run(source: Path, *options: object) -> tuple[int, list[dict[str, Any]], str]:
        given = ["--input", source, "--output", tmp_path / "scores", "--model", model_path, "--precision", "float32"]
        given += ["--from", "2026-11-01", "--to", "2026-11-02", "--date-column", "d"]
        result: tuple[int, list[dict[str, Any]], str] = sentiment("backfill", *given, *options)
        return result

    return run


@pytest.mark.slow
def test_backfill_refuses_what_is_no_whole_date_and_reads_given_forms(backfill: Verb, tmp_path: Path) -> None:
    lines = ["1,Good,2026-11-01", "2,Bad,2026-11", "3,Fine,11/02/2026", "4,Nice,2026-11-02 23:30:00-05:00", "5,Ok,"]
    source = tmp_path / "in.csv"
    source.write_text("\n".join(["review_id,text,d", *lines]) + "\n")
    code, reports, sentence = backfill(source, "--date-format", "MM/dd/yyyy")
    assert (code, reports, "1 rows have a 'd' that is no whole date" in sentence) == (3, [], True), sentence
    assert "2 rows" in backfill(source)[2]
    rest = ["--where", "review_id != 2", "--date-format", "MM/dd/yyyy", "--keep-columns", "d"]
    code, reports, sentence = backfill(source, *rest)
    assert code == 0, sentence
    assert [report["counts"]["rows"] for report in reports] == [1, 2]
    assert "1 rows have no d and belong to no date" in sentence
    assert backfill(source, "--date-format", "yyyy-MM")[0] == 2


@pytest.fixture
def summarize(spark: SparkSession, sentiment: Any, tmp_path: Path) -> Verb:
    def run(*options: object) -> tuple[int, list[dict[str, Any]], str]:
        given = ("--scores", tmp_path / "scores", "--output", tmp_path / "marts", *options)
        result: tuple[int, list[dict[str, Any]], str] = sentiment("summarize", *given)
        return result

    return run


def write_dated(
    tmp_path: Path, days: list[Any], *, run_date: str = "2026-11-22", kind: pa.DataType | None = None
) -> None:
    """Scores of one run with these review dates."""
    scores = made_up_scores(date.fromisoformat(run_date), n_rows=len(days), model=MODELS[0])
    scores = scores.set_column(1, "product_id", pa.array(["kettle"] * len(days)))
    folder = tmp_path / "scores" / f"run_date={run_date}"
    folder.mkdir(parents=True)
    pq.write_table(scores.append_column("review_date", pa.array(days, kind)), folder / "part-0.parquet")


def mart(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    partition = ds.partitioning(pa.schema([("month", pa.string())]), flavor="hive")
    rows: list[dict[str, Any]] = ds.dataset(tmp_path / "marts" / name, partitioning=partition).to_table().to_pylist()
    return rows


ODD = [date(9999, 12, 31), date(1, 1, 1), date(202, 3, 1), date(1989, 12, 31), date(2026, 11, 24)]


@pytest.mark.parametrize("as_text", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_date_stops_the_marts(summarize: Verb, tmp_path: Path, as_text: bool) -> None:
    good = [date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 23), date(1990, 1, 1)]
    days = [*good, *ODD, None]
    write_dated(tmp_path, [None if day is None else str(day) for day in days] if as_text else days)
    code, (report,), sentence = summarize("--date-column", "review_date")
    assert code == 0, sentence
    assert (report["rows"], report["undated_rows"], report["misdated_rows"]) == (10, 1, 5)
    assert "5 rows have a date outside 1990-01-01 to the day after the run date and are left out" in sentence
    assert sorted({row["day"] for row in mart(tmp_path, "model_daily")}) == sorted(good)
    (quality,) = mart(tmp_path, "data_quality")
    assert quality == {
        "run_date": date(2026, 11, 22), "reviews": 10, "undated": 1, "misdated": 5, "month": "2026-11"
    }  # fmt: skip
    assert summarize("--date-column", "review_date")[1][0]["days"] == []


@pytest.mark.slow
def test_the_window_is_moved_by_options_and_kept_by_the_marts(summarize: Verb, tmp_path: Path) -> None:
    write_dated(tmp_path, [*ODD, date(2026, 11, 20)])
    wide = ["--date-column", "review_date", "--earliest-date", "0001-01-01", "--latest-date", "9999-12-31"]
    code, (report,), sentence = summarize(*wide)
    assert code == 0, sentence
    assert report["misdated_rows"] == 0
    assert {row["day"] for row in mart(tmp_path, "sentiment_daily")} == {*ODD, date(2026, 11, 20)}
    code, _, sentence = summarize("--date-column", "review_date")
    assert (code, "--earliest-date" in sentence) == (2, True), sentence
    assert summarize(*wide)[0] == 0
    assert summarize("--date-column", "review_date", "--latest-date", "1980-01-01")[0] == 2


@pytest.mark.slow
def test_a_run_date_far_off_stops_nothing_either(summarize: Verb, tmp_path: Path) -> None:
    write_dated(tmp_path, [date(2026, 11, 20)], run_date="9999-12-31")
    write_dated(tmp_path, [date(2026, 11, 20)], run_date="0202-03-01")
    code, (report,), sentence = summarize()
    assert code == 0, sentence
    assert (report["days"], report["misdated_rows"]) == (["9999-12-31"], 1)
    assert sorted(row["month"] for row in mart(tmp_path, "data_quality")) == ["0202-03", "9999-12"]


@pytest.mark.slow
def test_a_replaced_partition_is_counted_anew(summarize: Verb, tmp_path: Path) -> None:
    by_date = ["--date-column", "review_date"]
    write_dated(tmp_path, [date(2026, 11, 20), None])
    write_dated(tmp_path, [date(2026, 10, 20), ODD[0]], run_date="2026-10-20")
    assert summarize(*by_date)[0] == 0
    (tmp_path / "scores" / "run_date=2026-11-22" / "part-0.parquet").unlink()
    (tmp_path / "scores" / "run_date=2026-11-22").rmdir()
    write_dated(tmp_path, [date(2026, 11, 20), date(2026, 11, 21), ODD[0]])
    assert summarize(*by_date)[0] == 0
    found = {
        str(row["run_date"]): (row["reviews"], row["undated"], row["misdated"])
        for row in mart(tmp_path, "data_quality")
    }
    assert found == {"2026-10-20": (2, 0, 1), "2026-11-22": (3, 0, 1)}
    (tmp_path / "scores" / "run_date=2026-10-20" / "part-0.parquet").unlink()
    assert summarize(*by_date)[0] == 0
    assert [str(row["run_date"]) for row in mart(tmp_path, "data_quality")] == ["2026-11-22"]


def test_texts_that_are_no_whole_dates_are_refused_by_their_number(summarize: Verb, tmp_path: Path) -> None:
    write_dated(tmp_path, ["2026-11-20", "2026-11", "11/21/2026", " "])
    code, _, sentence = summarize("--date-column", "review_date")
    assert (code, "2 rows have a 'review_date' that is no whole date" in sentence) == (3, True), sentence
    code, _, sentence = summarize("--date-column", "review_date", "--date-format", "MM/dd/yyyy")
    assert (code, "1 rows have" in sentence) == (3, True), sentence
