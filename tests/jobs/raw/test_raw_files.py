"""CSV and JSON files, several inputs and nearly alike ones, from the file to the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.raw.options import ReadingSettings
from jobs.tables.reading import open_input
from sentiment_core.errors import InputError

RUN_DATE = ["--run-date", "2026-11-23"]


def scored(output: Path) -> list[dict[str, Any]]:
    table = ds.dataset(output / "run_date=2026-11-23").to_table()
    return sorted(table.to_pylist(), key=lambda row: str(row["review_id"]))


def test_one_bad_line_of_a_night_is_set_aside_and_listed(
    spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "reviews.csv"
    records = [f'{number},"Fine, kettle {number}",{number % 5}' for number in range(3000)]
    records[1234] = '1234,"A secret text,4'
    source.write_text("review_id,text,stars\n" + "\n".join(records) + "\n")
    options = ["--model", model_path, "--input", source, "--output", tmp_path / "scores", *RUN_DATE]
    code, _, sentence = sentiment("score", *options)
    assert code == 3
    assert "1 of 3,000 records are malformed" in sentence
    assert "reviews.csv line 1,236: text follows the quote" in sentence
    assert not (tmp_path / "scores").exists()

    code, (report,), sentence = sentiment("score", *options, "--malformed-rows", "set-aside", "--keep-columns", "stars")
    assert code == 0, sentence
    assert "1 malformed record was set aside" in sentence
    assert report["counts"]["rows"] == 2999
    assert report["input"]["raw_files"]["records"] == 3000
    assert report["input"]["raw_files"]["set_aside"] == 1
    (listed,) = (tmp_path / "scores" / "_runs" / f"{report['run_id']}.malformed.jsonl").read_text().splitlines()
    assert json.loads(listed) == {
        "file": str(source),
        "line": 1236,
        "reason": "text follows the quote that ends a field",
    }
    rows = scored(tmp_path / "scores")
    assert {row["review_id"]: row["stars"] for row in rows} == {
        str(number): str(number % 5) for number in range(3000) if number != 1234
    }
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "scores").rglob("*") if path.is_file())

    code, _, sentence = sentiment("score", *options, "--malformed-rows", "set-aside", "--max-malformed-ratio", "0.0001")
    assert code == 3
    assert "more than --max-malformed-ratio 0.0001" in sentence


def test_another_encoding_is_read_and_recorded(
    spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path
) -> None:
    text = "review_id;text;product\r\n1;Très bon café, ma crème brûlée préférée;Nescafé\r\n2;Déçu;Crêpe Pan\r\n"
    (tmp_path / "reviews.CSV").write_bytes(text.encode("cp1252"))
    options = ["--model", model_path, "--input", tmp_path / "reviews.CSV", "--output", tmp_path / "scores", *RUN_DATE]
    code, (report,), sentence = sentiment("score", *options, "--keep-columns", "all")
    assert code == 0, sentence
    assert [row["product"] for row in scored(tmp_path / "scores")] == ["Nescafé", "Crêpe Pan"]
    (how,) = report["input"]["raw_files"]["read_as"]
    assert (how["encoding"], how["encoding_source"], how["delimiter"]) == ("cp1252", "detected", ";")


def test_carriage_returns_in_kept_values_stay(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'id,title\r\n1,"two\r\nlines"\r\n2,"lf\nonly"\r\n')
    frame = open_input(spark, [str(tmp_path / "in.csv")]).frame
    assert {row["id"]: row["title"] for row in frame.collect()} == {"1": "two\r\nlines", "2": "lf\nonly"}


def test_several_inputs_patterns_and_odd_names(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "a [x] b"
    folder.mkdir()
    (folder / "1.csv").write_text("id,text\n1,a\n")
    (folder / "2.tsv").write_text("text\tid\nb\t2\n")
    (folder / "README.md").write_text("no data")
    (folder / "_SUCCESS").write_text("")
    (tmp_path / "more.jsonl").write_text('{"id": "3", "text": "c", "stars": 5}\n')
    both = open_input(spark, [str(folder), str(tmp_path / "more.jsonl")])
    assert sorted(map(tuple, both.frame.select("id", "text").collect())) == [("1", "a"), ("2", "b"), ("3", "c")]
    assert open_input(spark, [f"{tmp_path}/a*/*.csv"]).frame.count() == 1
    with pytest.raises(InputError, match="no file matches"):
        open_input(spark, [f"{tmp_path}/z*.csv"])
    with pytest.raises(InputError, match="twice"):
        open_input(spark, [str(folder / "1.csv"), f"{tmp_path}/a*/1.csv"])


def test_a_name_that_exists_is_no_pattern(spark: SparkSession, tmp_path: Path) -> None:
    for number, name in enumerate(("a1", "a[12]", "a2")):
        pq.write_table(pa.table({"id": [number]}), tmp_path / f"{name}.parquet")
    assert open_input(spark, [f"{tmp_path}/a[12].parquet"]).frame.collect() == [(1,)]
    assert open_input(spark, [f"{tmp_path}/a?.parquet"]).frame.count() == 2


def test_files_in_partition_folders_keep_their_partition(spark: SparkSession, tmp_path: Path) -> None:
    for shop in ("007", "b"):
        (tmp_path / f"shop={shop}").mkdir()
        (tmp_path / f"shop={shop}" / "in.csv").write_text(f"id,text\n{shop},x\n")
    rows = open_input(spark, [str(tmp_path)]).frame.collect()
    assert sorted((row["id"], row["shop"]) for row in rows) == [("007", "007"), ("b", "b")]


@pytest.mark.parametrize("layout", ["array", "lines"])
def test_json_is_read_in_either_layout(spark: SparkSession, tmp_path: Path, layout: str) -> None:
    rows = [{"id": 9007199254740993, "text": "a\nb", "price": 1.5}, {"id": 2, "text": "é", "tags": ["x"]}]
    text = json.dumps(rows, indent=2) if layout == "array" else "\n".join(map(json.dumps, rows))
    (tmp_path / "in.JSON").write_text(text)
    found = open_input(spark, [str(tmp_path / "in.JSON")]).frame
    assert sorted((row["id"], row["text"]) for row in found.collect()) == [(2, "é"), (9007199254740993, "a\nb")]


def test_columns_are_widened_where_each_value_stays(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"id": pa.array([1], pa.int32()), "note": pa.nulls(1)}), folder / "a.parquet")
    pq.write_table(pa.table({"id": pa.array([2**60], pa.int64()), "note": ["x"]}), folder / "b.parquet")
    frame = open_input(spark, [str(folder)]).frame
    assert frame.schema.simpleString() == "struct<id:bigint,note:string>"
    assert sorted((row["id"], row["note"]) for row in frame.collect()) == [(1, None), (2**60, "x")]
    pq.write_table(pa.table({"id": ["3"], "note": ["x"]}), folder / "c.parquet")
    with pytest.raises(InputError, match=r"the column 'id' is .* in .*\.parquet and .* in .*\.parquet"):
        open_input(spark, [str(folder)])


def test_summaries_of_other_tools_are_no_data(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.table({"id": [1], "text": ["a"]})
    pq.write_table(table, tmp_path / "part.0.parquet")
    pq.write_metadata(table.schema, tmp_path / "_common_metadata")
    pq.write_metadata(table.schema, tmp_path / "_metadata")
    opened = open_input(spark, [str(tmp_path)])
    assert opened.frame.count() == 1
    assert [Path(name).name for name in opened.parquet_files] == ["part.0.parquet"]


def test_the_text_may_be_inside_a_struct(spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"review_id": 1, "review": {"body": "Great film", "stars": 5}, "shop": "a"}\n')
    options = ["--model", model_path, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "scores", *RUN_DATE]
    code, _, sentence = sentiment("score", *options, "--text-column", "review.body", "--keep-columns", "all")
    assert code == 0, sentence
    (row,) = scored(tmp_path / "scores")
    assert (row["review_id"], row["shop"], row["review.stars"]) == (1, "a", 5)
    assert "Great" not in str(row)
    assert row["n_tokens"] == 2


def test_malformed_json_is_named_by_line(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 1}\n\n{oops\n[1]\n{"id": 2} {"id": 3}\n')
    with pytest.raises(
        InputError, match=r"3 of 4 records are malformed .*line 3: it is not valid JSON.*line 4: .*line 5"
    ):
        open_input(spark, [str(tmp_path / "in.jsonl")])
    settings = ReadingSettings(malformed_rows="set-aside", max_malformed_ratio=1.0)
    opened = open_input(spark, [str(tmp_path / "in.jsonl")], settings=settings)
    assert [row["id"] for row in opened.frame.collect()] == [1]


def test_inspect_tells_what_a_run_would_find(spark: SparkSession, sentiment: Any, tmp_path: Path) -> None:
    source = tmp_path / "shop export.csv"
    lines = [
        f"{number};2026-11-{number % 28 + 1:02d};{number % 5};Fine kettle, number {number}" for number in range(40)
    ]
    source.write_bytes(("Key;Day;Stars;Comment\r\n" + "\r\n".join([*lines, "40;broken"]) + "\r\n").encode("utf-16"))
    code, (report,), sentence = sentiment("inspect", source)
    assert code == 0, sentence
    (file,) = report["files"]
    assert (file["format"], file["encoding"], file["delimiter"], file["header"]) == ("csv", "utf-16-le", ";", True)
    assert report["rows"] == 40
    assert report["malformed"] == {
        "records": 1,
        "first": [{"file": str(source), "line": 42, "reason": "it has 2 fields, not 4"}],
    }
    assert report["likely"] == {"id": "Key", "text": "Comment", "product": None, "date": "Day", "label": "Stars"}
    assert report["repeated_ids"] == 0
    assert report["dates"] == {"first": "2026-11-01", "last": "2026-11-28"}
    command = f"sentiment score --input '{source}' --output scores --id-column Key --text-column Comment"
    assert report["command"] == f"{command} --keep-columns Day,Stars"
    assert report["command"] in sentence


def test_inspect_keeps_the_product_and_counts_no_more_values_than_rows(
    spark: SparkSession, sentiment: Any, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    lines = [f"R{number},P{number % 7},2026-11-01,Fine kettle {number}" for number in range(600)]
    source.write_text("\n".join(["review_id,product_id,review_date,review_text", *lines]) + "\n")
    code, (report,), sentence = sentiment("inspect", source)
    assert code == 0, sentence
    assert report["command"].endswith(" --keep-columns product_id,review_date")
    assert report["likely"]["product"] == "product_id"
    assert all(found["distinct"] <= found["filled"] for found in report["columns"])


def test_files_that_only_hadoop_opens_are_fetched(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('id,text\n1,"a\nb"\n')
    conf: Any = spark._jsparkSession.sessionState().conf()
    key = "fs.viewfs.mounttable.reviews.link./in"
    conf.setConfString(key, (tmp_path / "in").as_uri())
    try:
        found = open_input(spark, ["viewfs://reviews/in/*.csv"])
        assert [tuple(row) for row in found.frame.collect()] == [("1", "a\nb")]
        assert found.describe()["raw_files"]["records"] == 1
    finally:
        conf.unsetConf(key)
