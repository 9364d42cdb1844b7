"""Files and folders as people have them: columns without a Spark type, odd folders, names and locales."""

from __future__ import annotations

import datetime
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.tables.footers import inspect_parquet
from jobs.tables.reading import open_input, open_table, refusing_unreadable
from jobs.tables.scores import require_column
from sentiment_core.errors import InputError

Run = Callable[..., tuple[int, dict[str, Any], str]]
NOON = datetime.time(12, 0)
# Columns that Spark has no type for, and what Parquet calls them.
UNREADABLE: dict[str, tuple[pa.Array, str]] = {
    "time in microseconds": (pa.array([NOON, None], pa.time64("us")), "TIME(MICROS"),
    "time in milliseconds": (pa.array([NOON, None], pa.time32("ms")), "TIME(MILLIS"),
    "wide decimal": (pa.array([Decimal("1.50"), None], pa.decimal256(50, 2)), "DECIMAL(50,2)"),
    "nanoseconds": (pa.array([1, None], pa.timestamp("ns")), "TIMESTAMP(NANOS"),
    "half": (pa.array([np.float16(1.5), None], pa.float16()), "FLOAT16"),
    "inside": (pa.array([{"at": NOON}, None], pa.struct([("at", pa.time64("us"))])), "a group"),
}


@pytest.fixture
def score(spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path) -> Run:
    def run(
        source: object, *options: object, output: object = None, verb: str = "score"
    ) -> tuple[int, dict[str, Any], str]:
        given = ["--input", source, "--output", output or tmp_path / "scores", "--model", model_path]
        code, reports, sentence = sentiment(
            verb, *given, "--precision", "float32", "--run-date", "2026-11-01", *options
        )
        return code, reports[-1] if reports else {}, sentence

    return run


def reviews(**columns: Any) -> pa.Table:
    return pa.table({"review_id": [1, 2], "text": ["Good lamp", "Bad lamp"], **columns})


@pytest.mark.slow
def test_a_column_without_a_spark_type_matters_only_to_who_asks_for_it(
    score: Run, spark: SparkSession, tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    for kind, (values, called) in UNREADABLE.items():
        pq.write_table(reviews(odd=values, stars=[5, 1]), source)
        frame = open_table(spark, str(source))
        assert frame.columns == ["review_id", "text", "odd", "stars"], kind
        assert [row["stars"] for row in frame.select("stars").collect()] == [5, 1], kind
        for options in (["--keep-columns", "odd"], ["--keep-columns", "all"], ["--where", "odd is null"]):
            code, _, sentence = score(source, *options, "--dry-run")
            assert (code, "'odd'" in sentence, called in sentence) == (3, True, True), (kind, sentence)
    assert score(source, "--keep-columns", "stars")[0] == 0


def test_only_some_files_may_have_such_a_column(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(reviews(odd=UNREADABLE["half"][0]), tmp_path / "a.parquet")
    pq.write_table(reviews(), tmp_path / "b.parquet")
    assert open_table(spark, str(tmp_path)).select("review_id").count() == 4


def test_a_folder_without_a_value_is_an_empty_text(spark: SparkSession, tmp_path: Path) -> None:
    values = {
        "": "",
        "__HIVE_DEFAULT_PARTITION__": None,
        "en": "en",
        "a%2Fb+c": "a/b+c",
        "100%25": "100%",
        "é [x]": "é [x]",
    }
    for folder in values:
        (tmp_path / "in" / f"lang={folder}").mkdir(parents=True)
        pq.write_table(reviews(), tmp_path / "in" / f"lang={folder}" / "a.parquet")
    rows = open_table(spark, str(tmp_path / "in")).select("lang").distinct().collect()
    assert {row["lang"] for row in rows} == set(values.values())


def test_a_file_may_repeat_its_folders_value_but_not_contradict_it(score: Run, tmp_path: Path) -> None:
    for name, product, shop in (("A", "A", 1), ("B", "B", 2)):
        (tmp_path / "in" / f"product={name}" / f"shop=0{shop}").mkdir(parents=True)
        table = reviews(Product=[product] * 2, shop=pa.array([shop] * 2))
        pq.write_table(table, tmp_path / "in" / f"product={name}" / f"shop=0{shop}" / "a.parquet")
    assert score(tmp_path / "in", "--keep-columns", "all", "--dry-run")[0] == 0
    other = reviews(Product=["X", None], shop=[2, 2])
    pq.write_table(other, tmp_path / "in" / "product=B" / "shop=02" / "b.parquet")
    code, _, sentence = score(tmp_path / "in", "--keep-columns", "all", "--dry-run")
    assert (code, "2 rows have another 'Product'" in sentence) == (3, True), sentence


def test_lines_of_json_may_not_contradict_their_folder_either(score: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "lang=en" / "shop=1"
    folder.mkdir(parents=True)
    same = ['{"review_id": 1, "text": "Good lamp", "lang": "en", "shop": 1}', '{"review_id": 2, "text": "Bad lamp"}']
    (folder / "a.jsonl").write_text("\n".join(same))
    assert score(tmp_path / "in", "--keep-columns", "all", "--dry-run")[0] == 0
    (folder / "b.jsonl").write_text('{"review_id": 3, "text": "A lamp", "lang": "fr"}')
    code, _, sentence = score(tmp_path / "in", "--keep-columns", "all", "--dry-run")
    assert (code, f"{tmp_path / 'in'}: 1 rows have another 'lang'" in sentence) == (3, True), sentence


@pytest.mark.slow
def test_names_are_no_patterns_and_no_schemes(
    score: Run, sentiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = reviews(product_id=["a:b [c]*?{d}", "é 100%"], day=["2026-11-01", "2026-11-01"])
    odd = tmp_path / "in {1,2}: été #?"
    odd.mkdir()
    pq.write_table(table, odd / "reviews [x]*.parquet")
    output = tmp_path / "scores [final]: 100%"
    options = ["--partition-by", "product_id", "--keep-columns", "day", "--only-new"]
    code, _, sentence = score(odd, *options, output=output)
    assert code == 0, sentence
    pq.write_table(
        pa.concat_tables([table, table.set_column(0, "review_id", pa.array([3, 4]))]), odd / "reviews [x]*.parquet"
    )
    code, report, sentence = score(odd, *options, output=output)
    assert (code, report["output"]["kept_rows"]) == (0, 2), sentence
    found = ds.dataset(output, partitioning="hive").to_table().to_pylist()
    assert sorted({row["product_id"] for row in found}) == ["a:b [c]*?{d}", "é 100%"]
    marts = ["--output", tmp_path / "marts [1]: x", "--date-column", "day"]
    for _night in range(2):
        code, _, sentence = sentiment("summarize", "--scores", output, *marts)
        assert code == 0, sentence
    assert sentiment("dashboard", "--marts", tmp_path / "marts [1]: x", "--output", tmp_path / "a [b].html")[0] == 0


def test_a_colon_in_the_name_of_a_parquet_file_is_named(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(reviews(), tmp_path / "re:views.parquet")
    with pytest.raises(InputError, match=r"re:views\.parquet: Hadoop opens no file with a colon"):
        open_table(spark, str(tmp_path))


def test_a_locale_without_letters_opens_and_writes_every_name(model_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "avis_été.parquet"
    pq.write_table(reviews(product=["Crêpe", "中文"]), source)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYSPARK_"))
    }
    command = [sys.executable, "-m", "jobs.cli", "score", "--input", source, "--output", tmp_path / "été"]
    command += ["--model", model_path, "--partition-by", "product"]
    given = environment | {"LC_ALL": "C", "PYSPARK_SUBMIT_ARGS": "--master local[1] pyspark-shell"}
    done = subprocess.run(list(map(str, command)), env=given, cwd=Path(__file__).parents[3], capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in (tmp_path / "été").glob("product=*")} == {"product=Crêpe", "product=中文"}


def test_a_file_that_lacks_the_text_of_the_others_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """Spark would read its reviews as NULL, and they would be scored as empty."""
    files = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    pq.write_table(reviews(), files[0])
    pq.write_table(reviews().rename_columns(["Review_ID", "text"]), files[1])
    pq.write_table(reviews().slice(0, 0).drop_columns(["text"]), files[2])
    names = [file.as_uri() for file in files]
    assert inspect_parquet(spark, names, needed=["review_id", "text", "folder"]).files == 3
    pq.write_table(reviews().rename_columns(["review_id", "body"]), files[1])
    with pytest.raises(InputError, match=r"b\.parquet: has no column 'text', which .*a\.parquet has"):
        inspect_parquet(spark, names, needed=["review_id", "text"])


def test_pages_of_a_codec_that_spark_lacks_are_named() -> None:
    said = "[FAILED_READ_FILE.NO_HINT] ... Class org.apache.hadoop.io.compress.BrotliCodec was not found"
    named = r"in\.parquet: is compressed with Brotli, which this Spark cannot read; write it with zstd"
    with pytest.raises(InputError, match=named), refusing_unreadable("in.parquet"):
        raise PySparkException(said)


def test_json_numbers_that_spark_would_round_matter_only_to_who_asks_for_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"review_id": 9007199254740993, "text": "a", "k": {"n": 9007199254740993}}\n'
        '{"review_id": 9007199254740992, "text": "b", "k": {"n": 1.5}}\n'
    )
    frame = open_table(spark, str(source))
    assert sorted(row.review_id for row in frame.collect()) == [9007199254740992, 9007199254740993]
    with pytest.raises(InputError, match=r"the kept column 'k' has whole numbers beyond 2\^53 beside fractions"):
        require_column(frame.schema, "k", "the kept", "--keep-columns")


def test_a_file_is_not_read_twice_by_two_names(spark: SparkSession, tmp_path: Path) -> None:
    day = tmp_path / "in" / "day.parquet"
    day.parent.mkdir()
    pq.write_table(reviews(), day)
    (tmp_path / "latest.parquet").symlink_to(day)
    for sources in ([day.parent, day], [day, tmp_path / "latest.parquet"], [day, f"{tmp_path}/./in/day.parquet"]):
        with pytest.raises(InputError, match="are the same file, whose rows would be scored twice"):
            open_input(spark, [*map(str, sources)])
    (day.parent / "latest.parquet").symlink_to(day)
    with pytest.raises(InputError, match=r"latest\.parquet and .*day\.parquet are the same file"):
        open_table(spark, str(day.parent))


def test_a_link_to_nothing_loses_no_day_in_silence(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(reviews(), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").symlink_to(tmp_path / "unmounted" / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: links to .*, which is not there; mount it or remove"):
        open_table(spark, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("reviews.zip", b"PK\x03\x04...", "is a file of the kind zip, which cannot be read; unpack it"),
        ("reviews.gz", gzip.compress(b"id,text\n1,Good\n", mtime=0), "is packed with gzip, and is no Parquet file"),
        ("reviews", b"id,text\n1,Good\n", "is no Parquet file, and its name does not say what it is; name its format"),
        ("reviews.dat", b"", "is no Parquet file"),
    ],
    ids=["zip", "gzip", "text", "empty"],
)
def test_a_file_whose_name_tells_no_format_is_told_by_its_bytes(
    spark: SparkSession, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=re.escape(f"{name}: {said}")):
            open_table(spark, str(source))
    pq.write_table(reviews(), tmp_path / name)
    assert open_table(spark, str(tmp_path / name)).count() == 2
