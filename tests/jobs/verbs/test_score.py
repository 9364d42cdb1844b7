from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import cli
from jobs.executor import score_group
from jobs.tables.scores import SCORE_FIELDS, WORKER_FIELDS
from sentiment_core.artifact import Model
from sentiment_core.scoring.status import STATUSES
from tests.support.packages import needs_mxnet
from tests.support.reference import reference_probability

Score = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def score(
    spark: SparkSession, model_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> Score:
    """Run the verb in the tests' session: exit code and report; the closing sentence is ``report['sentence']``."""
    monkeypatch.setattr(cli, "stop_spark", lambda: None)

    def run(source: Path | str, *options: str) -> tuple[int, dict[str, Any]]:
        given = ["score", "--input", str(source), "--output", str(tmp_path / "scores"), "--run-date", "2026-11-23"]
        if "--model" not in options:
            given += ["--model", str(model_path)]
        code = cli.main([*given, *options])
        captured = capfd.readouterr()
        report = json.loads(captured.out) if captured.out else {}
        return code, report | {"sentence": captured.err.strip().splitlines()[-1]}

    return run


@pytest.fixture
def source(reviews: pa.Table, tmp_path: Path) -> Path:
    path = tmp_path / "reviews.parquet"
    pq.write_table(reviews, path)
    return path


@pytest.fixture(scope="module")
def published_once(spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path_factory: Any) -> Path:
    """A folder with reviews and their scores; not to be changed."""
    root: Path = tmp_path_factory.mktemp("published")
    pq.write_table(reviews, root / "reviews.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "stop_spark", lambda: None)
        places = ["--input", root / "reviews.parquet", "--output", root / "scores", "--model", model_path]
        assert cli.main(["score", *map(str, places), "--run-date", "2026-11-23"]) == 0
    return root


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Path:
    """A copy of them, to change; its folder ``scores`` is where `score` writes."""
    shutil.copytree(published_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "reviews.parquet"


def scores_of(tmp_path: Path) -> pa.Table:
    """The published table as a reader without Spark sees it, by id."""
    return ds.dataset(tmp_path / "scores", partitioning="hive").to_table().sort_by("review_id")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("options", "engine", "most"),
    [
        (["--precision", "float32"], "onnx float32", 1e-5),
        pytest.param(["--engine", "mxnet"], "mxnet float32", 1e-5, marks=[needs_mxnet, pytest.mark.slow]),
        ([], "onnx int8", 0.05),  # six units of random weights average no rounding away
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_review_comes_out_once_with_the_oracles_probability(
    score: Score,
    source: Path,
    reviews: pa.Table,
    model: Model,
    tmp_path: Path,
    options: list[str],
    engine: str,
    most: float,
) -> None:
    code, report = score(source, "--keep-columns", "product_id,stars", *options)
    assert code == 0
    table = scores_of(tmp_path)
    assert table["review_id"].to_pylist() == sorted(reviews["review_id"].to_pylist())
    expected = reference_probability(model, reviews.sort_by("review_id")["text"].to_pylist())
    found = table["positive_probability"].to_numpy()
    np.testing.assert_allclose(found, expected, atol=most)  # NaN where there is no token, in both
    for row in table.to_pylist():
        assert (row["score_status"] == "empty") == (row["n_tokens"] == 0) == (row["sentiment"] is None)
        assert (row["score_status"] == "truncated") == (row["n_tokens"] > 60)
        assert row["model_sha256"] == model.sha256
        assert row["run_id"] == report["run_id"]
        assert str(row["run_date"]) == "2026-11-23"
    assert report["counts"]["rows"] == len(reviews)
    assert sum(report["counts"][name] for name in STATUSES) == len(reviews)
    assert (report["engines"], report["devices"]) == ([engine], ["cpu"])
    assert {tuple(worker["engines"]) for worker in report["workers"].values()} == {(engine,)}


def test_the_output_has_the_columns_of_the_contract(
    score: Score, source: Path, spark: SparkSession, tmp_path: Path
) -> None:
    score(source)
    table = spark.read.parquet(str(tmp_path / "scores"))
    types = {field.name: field.dataType.simpleString() for field in table.schema}
    expected = {field.name: field.dataType.simpleString() for field in SCORE_FIELDS}
    assert types == {"review_id": "bigint"} | expected | {"run_date": "string"}  # a partition's type is the reader's
    assert not any(name in types for name in ("text", "stars"))


def test_the_run_report_is_beside_the_data_and_holds_no_text(
    score: Score, source: Path, reviews: pa.Table, tmp_path: Path
) -> None:
    _, report = score(source)
    stored = json.loads((tmp_path / "scores" / "_runs" / f"{report['run_id']}.json").read_text())
    assert stored["counts"] == report["counts"]
    assert stored["input"]["rows"] == len(reviews)
    assert set(stored["seconds"]) >= {"read_input", "score", "audit"}
    assert stored["throughput"]["reviews_per_second"] > 0
    shown = json.dumps(report)
    assert not any(text in shown for text in reviews["text"].to_pylist() if text and len(text) > 10)


def test_a_second_run_changes_nothing(score: Score, source: Path, tmp_path: Path) -> None:
    _, first = score(source)
    before = scores_of(tmp_path)
    code, second = score(source)
    assert (code, second["status"], second["run_id"]) == (0, "unchanged", first["run_id"])
    assert "is published" in second["sentence"]
    assert scores_of(tmp_path).equals(before)
    assert not (tmp_path / "scores" / "_staging").exists()


def test_another_date_leaves_the_published_partition_alone(score: Score, published: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path / "scores" / "run_date=2026-11-23")
    code, _ = score(published, "--run-date", "2026-11-24")
    assert code == 0
    assert snapshot(tmp_path / "scores" / "run_date=2026-11-23") == before
    assert (tmp_path / "scores" / "run_date=2026-11-24").is_dir()


def awkward_columns() -> dict[str, pa.Array]:
    """Columns of the kinds that pandas, a float64 or a careless name would change."""
    big = 2**53
    years = [date(1, 1, 1), date(9999, 12, 31), None, date(1582, 10, 10)]
    return {
        "review_id": pa.array([big + 1, None, big + 3, -(2**63)], pa.int64()),
        "text": pa.array(["good", "bad", None, "so so"]),
        "a.dot": pa.array([big + 1, None, 7, 2**63 - 1], pa.int64()),
        "back`tick": pa.array(["x", None, "", "\u0000"]),
        "with space, comma": pa.array([1.5, float("nan"), None, -0.0]),
        "decimal": pa.array([1, None, 3, 4], pa.int64()).cast(pa.decimal128(38, 10)),
        "instant": pa.array([253402300799999999, None, -62135596800000000, 1], pa.timestamp("us", tz="UTC")),
        "wall_clock": pa.array([253402300799999999, None, 0, 1], pa.timestamp("us")),
        "day": pa.array(years, pa.date32()),
        "raw": pa.array([b"\xff\xfe", None, b"", b"\x00"], pa.binary()),
        "flag": pa.array([True, None, False, True]),
        "small": pa.array([1, None, -128, 127], pa.int8()),
        "list": pa.array([[1, None], None, [], [2]], pa.list_(pa.int64())),
        "nested": pa.array([{"a": {"b": [big + 1]}}, None, {"a": None}, {"a": {"b": None}}]),
        "map": pa.array([[("k", big + 1)], None, [], [("k", None)]], pa.map_(pa.string(), pa.int64())),
    }


def test_kept_columns_come_out_bit_for_bit(score: Score, tmp_path: Path, spark: SparkSession) -> None:
    table = pa.table(awkward_columns())
    pq.write_table(table, tmp_path / "awkward.parquet")
    code, report = score(tmp_path / "awkward.parquet", "--keep-columns", "all")
    assert code == 0, report["sentence"]
    kept = [name for name in table.column_names if name != "text"]

    published = ds.dataset(tmp_path / "scores" / "run_date=2026-11-23").to_table().select(kept)
    assert sorted(map(repr, published.to_pylist())) == sorted(map(repr, table.select(kept).to_pylist()))
    original = spark.read.parquet(str(tmp_path / "awkward.parquet"))
    types = {field.name: field.dataType for field in spark.read.parquet(str(tmp_path / "scores")).schema}
    assert all(types[field.name] == field.dataType for field in original.schema if field.name in kept)


def test_the_text_is_kept_when_it_is_named(score: Score, tmp_path: Path) -> None:
    texts = pa.array(["plain", "caf\u00e9 \U0001f600", None])
    pq.write_table(pa.table({"review_id": ["a", "b", "c"], "text": texts}), tmp_path / "in.parquet")
    assert score(tmp_path / "in.parquet", "--keep-columns", "text")[0] == 0
    assert scores_of(tmp_path)["text"].to_pylist() == texts.to_pylist()


@pytest.mark.slow
def test_an_input_of_one_partition_is_spread_over_even_groups(
    score: Score, source: Path, spark: SparkSession, tmp_path: Path
) -> None:
    assert spark.read.parquet(str(source)).rdd.getNumPartitions() == 1
    _, report = score(source, "--groups", "4")
    files = list((tmp_path / "scores" / "run_date=2026-11-23").glob("*.parquet"))
    sizes = [pq.read_metadata(file).num_rows for file in files]
    assert len(sizes) == 4
    assert sum(sizes) == 300
    assert min(sizes) > 40
    assert sum(worker["groups"] for worker in report["workers"].values()) == 4


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_text_formats_give_the_scores_of_parquet(
    score: Score, published: Path, reviews: pa.Table, tmp_path: Path, suffix: str
) -> None:
    expected = scores_of(tmp_path)["positive_probability"].to_pylist()
    frame = reviews.select(["review_id", "text"]).to_pandas()
    frame["text"] = frame["text"].str.replace("\r", " ")
    path = tmp_path / f"reviews.{suffix}"
    if suffix == "csv":
        # Quotes around each text: NUL, which one of them holds, is damage outside quotes.
        frame.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    code, report = score(path)
    assert code == 0, report["sentence"]
    found = scores_of(tmp_path)["positive_probability"].to_pylist()
    assert [value is None for value in found] == [value is None for value in expected]
    np.testing.assert_allclose(
        [value for value in found if value is not None], [value for value in expected if value is not None], atol=1e-6
    )


@pytest.mark.parametrize("form", ["parquet", "orc"])
def test_a_catalog_table_is_scored(score: Score, source: Path, spark: SparkSession, tmp_path: Path, form: str) -> None:
    spark.read.parquet(str(source)).write.format(form).save(str(tmp_path / "warehouse"))
    spark.read.format(form).load(str(tmp_path / "warehouse")).createOrReplaceTempView("reviews_to_score")
    assert score("reviews_to_score")[0] == 0
    assert len(scores_of(tmp_path)) == 300


@pytest.mark.slow
def test_every_parquet_file_below_a_directory_is_scored(score: Score, reviews: pa.Table, tmp_path: Path) -> None:
    for index, folder in enumerate(("in", "in/a", "in/a/b")):
        (tmp_path / folder).mkdir()
        pq.write_table(reviews.slice(index * 100, 100), tmp_path / folder / "part.parquet")
    (tmp_path / "in" / "_SUCCESS").touch()
    assert score(tmp_path / "in")[0] == 0
    assert len(scores_of(tmp_path)) == 300


def test_partition_values_stay_strings(score: Score, reviews: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "in" / "shop=00123").mkdir(parents=True)
    pq.write_table(reviews.slice(0, 20), tmp_path / "in" / "shop=00123" / "part.parquet")
    assert score(tmp_path / "in", "--partition-by", "shop")[0] == 0
    assert (tmp_path / "scores" / "shop=00123").is_dir()


def test_a_partition_column_is_kept_and_replaced_alone(score: Score, source: Path, tmp_path: Path) -> None:
    code, report = score(source, "--partition-by", "product_id")
    assert code == 0, report["sentence"]
    kettle = tmp_path / "scores" / "product_id=kettle-k2"
    others = snapshot(tmp_path / "scores" / "product_id=desk-lamp")
    pq.write_table(pq.read_table(source).filter(pc.field("product_id") == "kettle-k2"), tmp_path / "kettle.parquet")
    code, report = score(tmp_path / "kettle.parquet", "--partition-by", "product_id", "--run-date", "2026-11-24")
    assert report["output"]["partitions"] == ["product_id=kettle-k2"]
    assert {str(day) for day in ds.dataset(kettle).to_table()["run_date"].to_pylist()} == {"2026-11-24"}
    assert snapshot(tmp_path / "scores" / "product_id=desk-lamp") == others


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


def table_at(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def text_at(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def partly_partitioned(folder: Path) -> Path:
    (folder / "shop=1").mkdir(parents=True)
    table_at(folder / "shop=1" / "x.parquet", review_id=[1], text=["x"])
    table_at(folder / "y.parquet", review_id=[2], text=["y"])
    return folder


NANOSECOND = pa.array([1], pa.timestamp("ns"))
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
BY_SHOP = ["--partition-by", "shop"]


@pytest.mark.parametrize(
    ("make", "options", "code", "says"),
    [
        (lambda tmp, good: tmp / "nothing", [], 3, "no such path or table"),
        (lambda tmp, good: "no_such_table", [], 3, "no such path or table"),
        (lambda tmp, good: good, ["--id-column", "review_idd"], 3, "did you mean 'review_id'"),
        (lambda tmp, good: good, ["--text-column", "body"], 3, "'body' is missing"),
        (lambda tmp, good: good, ["--keep-columns", "stars,colour"], 3, "'colour' is missing"),
        (lambda tmp, good: table_at(tmp / "a", review_id=[0.5], text=["x"]), [], 3, "has the type double"),
        (lambda tmp, good: table_at(tmp / "b", review_id=[1], text=[5]), [], 3, "has the type bigint"),
        (
            lambda tmp, good: table_at(tmp / "c", review_id=[1], text=["x"], n_tokens=[1]),
            ["--keep-columns", "all"],
            3,
            "'n_tokens' twice",
        ),
        (lambda tmp, good: truncated(good), [], 3, "cannot be read"),
        (lambda tmp, good: text_at(tmp / "d.parquet", "no parquet at all"), [], 3, "cannot be read"),
        (
            lambda tmp, good: text_at(tmp / "e.csv", "review_id,text\n1,a\n2,b,c\n"),
            [],
            3,
            "1 of 2 records are malformed",
        ),
        (lambda tmp, good: text_at(tmp / "f.jsonl", '{"review_id":1,"text":"a"}\n{oops\n'), [], 3, "malformed"),
        (lambda tmp, good: good, ["--partition-by", "product_id"], 2, "holds run_date="),
        (lambda tmp, good: good.parent, [], 2, "the same folder"),
        (lambda tmp, good: partly_partitioned(tmp / "h"), [], 3, "in and beside column=value folders"),
        (lambda tmp, good: table_at(tmp / "j", review_id=[1], Text=["x"], text=["y"]), [], 3, "differ in case"),
        (
            lambda tmp, good: table_at(tmp / "k", review_id=[1], text=["x"], at=NANOSECOND),
            ["--keep-columns", "at"],
            3,
            "TIMESTAMP(NANOS,false)",
        ),
        (lambda tmp, good: text_at(tmp / "l.csv", "17,Dr Smith is bad\n"), [], 3, "the input has 2 others"),
        (lambda tmp, good: "nosuch://host/x", [], 3, "no path that this Spark can open"),
        (lambda tmp, good: "", [], 3, "no path that this Spark can open"),
        (lambda tmp, good: good, ["--device", "gpu"], 6, "no GPU"),
        (lambda tmp, good: good, ["--run-date", "yesterday"], 2, "2026-11-23"),
        (lambda tmp, good: good, ["--groups", "0"], 2, "--groups"),
        (lambda tmp, good: good, ["--max-failed-ratio", "2"], 2, "--max-failed-ratio"),
    ],
)
def test_wrong_input_gets_a_sentence_and_its_code_and_leaves_the_output(
    score: Score, published: Path, tmp_path: Path, make: Any, options: list[str], code: int, says: str
) -> None:
    before = snapshot(tmp_path / "scores")
    assert any(name.endswith(".parquet") for name in before)
    found, report = score(make(tmp_path, published), *options)
    assert (found, says in report["sentence"]) == (code, True), report["sentence"]
    assert report["sentence"].startswith("sentiment score: failed: ")
    assert snapshot(tmp_path / "scores") == before


@pytest.mark.parametrize("value", ["", HIVE_NULL])
def test_a_value_that_partitions_reserve_is_refused(score: Score, tmp_path: Path, value: str) -> None:
    code, report = score(table_at(tmp_path / "g", review_id=[1], text=["x"], shop=[value]), *BY_SHOP)
    assert (code, "reserved 'shop'" in report["sentence"]) == (3, True), report["sentence"]
    assert not list((tmp_path / "scores").rglob("*.parquet"))


def test_a_model_with_one_flipped_byte_is_refused(score: Score, source: Path, model_path: Path, tmp_path: Path) -> None:
    flipped = tmp_path / "flipped"
    flipped.mkdir()
    for file in model_path.iterdir():
        (flipped / file.name).write_bytes(file.read_bytes())
    weights = bytearray((flipped / "weights.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (flipped / "weights.safetensors").write_bytes(weights)
    code, report = score(source, "--model", str(flipped))
    assert code == 3
    assert "weights.safetensors: its content does not match its digest" in report["sentence"]
    assert not (tmp_path / "scores").exists()


def test_an_unknown_option_is_wrong_usage(sentiment: Any) -> None:
    code, _, sentence = sentiment("score", "--input", "in", "--output", "out", "--colour", "red")
    assert code == 2
    assert sentence.startswith("sentiment score: failed: unrecognized arguments: --colour red")


def test_the_sentence_never_quotes_a_review(score: Score, tmp_path: Path) -> None:
    path = text_at(tmp_path / "headless.csv", "17,Dr Smith ruined my teeth\n")
    assert "Smith" not in score(path)[1]["sentence"]


def test_clusters_defaults_do_not_make_damaged_files_vanish(
    score: Score, reviews: pa.Table, spark: SparkSession, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(reviews, tmp_path / "in" / "good.parquet")
    pq.write_table(reviews, tmp_path / "in" / "damaged.parquet", compression="none", write_page_checksum=True)
    content = bytearray((tmp_path / "in" / "damaged.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "in" / "damaged.parquet").write_bytes(content)
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")
    try:
        code, report = score(tmp_path / "in")
    finally:
        spark.conf.set("spark.sql.files.ignoreCorruptFiles", "false")
    assert code == 3, report["sentence"]


@pytest.mark.slow
def test_a_relative_directory_with_a_space_is_found(
    score: Score, reviews: pa.Table, tmp_path: Path, spark: SparkSession
) -> None:
    (tmp_path / "my reviews").mkdir()
    pq.write_table(reviews, tmp_path / "my reviews" / "part.parquet")
    relative = os.path.relpath(tmp_path / "my reviews", str(spark._jvm.java.lang.System.getProperty("user.dir")))
    assert score(relative)[0] == 0


def test_a_table_is_not_written_into_its_own_files(
    score: Score, reviews: pa.Table, spark: SparkSession, tmp_path: Path
) -> None:
    pq.write_table(reviews, tmp_path / "in.parquet")
    spark.read.parquet(str(tmp_path / "in.parquet")).write.parquet(str(tmp_path / "scores"))
    spark.read.parquet(str(tmp_path / "scores")).createOrReplaceTempView("own_files")
    code, report = score("own_files")
    assert (code, "the same folder" in report["sentence"]) == (2, True)


def test_rows_without_an_id_are_spread_over_the_groups(score: Score, reviews: pa.Table, tmp_path: Path) -> None:
    ids = pa.nulls(300, pa.int64())
    pq.write_table(reviews.set_column(0, "review_id", ids), tmp_path / "in.parquet")
    code, report = score(tmp_path / "in.parquet", "--groups", "4")
    assert (code, report["counts"]["rows"]) == (0, 300), report["sentence"]
    assert len(list((tmp_path / "scores" / "run_date=2026-11-23").glob("*.parquet"))) == 4


@pytest.mark.slow
def test_a_partition_column_whose_name_needs_escapes_is_replaced_again(score: Score, tmp_path: Path) -> None:
    table_at(tmp_path / "in.parquet", review_id=[1, 2], text=["x", "y"], **{"shop:id": ["a/b", "c d"]})
    for day in ("2026-11-23", "2026-11-24"):
        code, report = score(tmp_path / "in.parquet", "--partition-by", "shop:id", "--run-date", day)
        assert (code, report["status"]) == (0, "published"), report["sentence"]
    assert len(report["output"]["partitions"]) == 2


def test_lost_rows_stop_the_run(score: Score, source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import jobs.scoring.run as job

    complete = job.score_table
    monkeypatch.setattr(job, "score_table", lambda *a, **k: complete(*a, **k).where("review_id % 50 != 1"))
    code, report = score(source)
    assert code == 4, report["sentence"]
    assert "nothing was published" in report["sentence"]
    assert not list((tmp_path / "scores").glob("run_date=*"))
    assert not (tmp_path / "scores" / "_staging").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda frame: frame.union(frame.limit(1)),
        pytest.param(
            lambda frame: frame.withColumn(
                "stars", F.when(F.col("stars") == 1, 2).otherwise(F.col("stars")).cast("byte")
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda frame: frame.withColumn("positive_probability", F.col("positive_probability") + 1),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda frame: frame.withColumn("sentiment", F.lit(None).cast("string")), marks=pytest.mark.slow),
        pytest.param(lambda frame: frame.withColumn("score_status", F.lit("fine")), marks=pytest.mark.slow),
    ],
    ids=["doubled", "changed", "outside", "unlabelled", "unnamed"],
)
def test_damaged_rows_stop_the_run(score: Score, source: Path, monkeypatch: Any, damage: Any) -> None:
    import jobs.scoring.run as job

    complete = job.score_table
    monkeypatch.setattr(job, "score_table", lambda *a, **k: damage(complete(*a, **k)))
    assert score(source, "--keep-columns", "stars")[0] == 4


def test_a_dry_run_writes_nothing(score: Score, source: Path, tmp_path: Path) -> None:
    code, report = score(source, "--dry-run")
    assert (code, report["status"], report["input"]["rows"]) == (0, "dry-run", 300)
    assert not (tmp_path / "scores").exists()


def test_no_rows_are_scored_to_no_rows(score: Score, published: Path, reviews: pa.Table, tmp_path: Path) -> None:
    pq.write_table(reviews.slice(0, 0), tmp_path / "none.parquet")
    assert list((tmp_path / "scores").rglob("*.parquet"))
    before = snapshot(tmp_path / "scores")
    code, report = score(tmp_path / "none.parquet")
    assert (code, "--allow-empty" in report["sentence"]) == (3, True), report["sentence"]
    assert snapshot(tmp_path / "scores") == before
    code, report = score(tmp_path / "none.parquet", "--allow-empty")
    assert (code, report["counts"]["rows"]) == (0, 0), report["sentence"]
    assert not list((tmp_path / "scores").rglob("*.parquet"))  # nor does an older run's partition stay


def test_score_group_gives_the_jobs_numbers_in_user_code(
    published: Path, spark: SparkSession, model: Model, tmp_path: Path
) -> None:
    expected = {row["review_id"]: row["positive_probability"] for row in scores_of(tmp_path).to_pylist()}
    shared = spark.sparkContext.broadcast(model.to_bytes())

    def score_product(group: Any) -> Any:
        return score_group(group[["review_id", "text"]], model=shared)

    fields = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in WORKER_FIELDS)
    frame = spark.read.parquet(str(published)).groupBy("product_id")
    rows = frame.applyInPandas(score_product, schema=f"review_id long, {fields}").collect()
    assert len(rows) == 300
    for row in rows:
        wanted = expected[row["review_id"]]
        assert row["positive_probability"] == (None if wanted is None else pytest.approx(wanted, abs=1e-6))
