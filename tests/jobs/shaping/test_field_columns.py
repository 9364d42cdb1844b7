"""Tables as people have them: columns that change from run to run, ids, conditions, links."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.shaping.casts import cast_columns, parse_cast
from jobs.shaping.checks import count_columns, flag_columns, refuse_counted
from jobs.tables.dates import ISO_DATES
from sentiment_core.errors import InputError

Run = Callable[..., tuple[int, dict[str, Any], str]]

TEXTS = ["Great kettle, boils fast.", "It leaked.", "Does what it should.", "Never again!", "Fine", "Good lamp"]


@pytest.fixture
def score(spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path) -> Run:
    """Run a verb that scores into ``scores``: exit code, last report, closing sentence."""

    def run(source: Path, *options: object, verb: str = "score", night: int = 1) -> tuple[int, dict[str, Any], str]:
        given = ["--input", source, "--output", tmp_path / "scores", "--model", model_path, "--precision", "float32"]
        if verb == "score":
            given += ["--run-date", f"2026-11-{night:02}"]
        code, reports, sentence = sentiment(verb, *given, *options)
        return code, reports[-1] if reports else {}, sentence

    return run


def write(path: Path, **columns: Any) -> Path:
    table = pa.table(columns)
    pq.write_table(table.append_column("text", pa.array(TEXTS[: table.num_rows])), path)
    return path


def write_csv(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def table(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(tmp_path / "scores", partitioning="hive").to_table().to_pylist()
    return rows


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


OTHER_COLUMNS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "a whole number with gaps": (
        {"review_id": [7, 8], "stars": [5.0, None]},
        "all",
        ["'stars'", "bigint", "double", "--cast stars=bigint"],
    ),
    "an id as text": ({"review_id": ["7", "8"], "stars": [5, 1]}, "all", ["'review_id'", "bigint", "string", "--cast"]),
    "one column less": ({"review_id": [7, 8]}, "all", ["'stars'", "bigint", "--keep-columns"]),
    "one column more": (
        {"review_id": [7, 8], "stars": [5, 1], "shop": ["a", "b"]},
        "all",
        ["'shop'", "string", "leave it out of --keep-columns"],
    ),
    "kept no more": ({"review_id": [7, 8], "stars": [5, 1]}, "", ["'stars'", "add stars to --keep-columns"]),
    "nested": ({"review_id": [7, 8], "stars": [[5], [1]]}, "all", ["array<bigint>", "write the input's column as"]),
    "a number of another width": (
        {"review_id": pa.array([7, 8], pa.int32()), "stars": [5, 1]},
        "all",
        ["'review_id'", "--cast review_id=bigint"],
    ),
}


@pytest.fixture(scope="module")
def first_night(spark: SparkSession, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of one night, not to be changed."""
    from jobs import cli

    root = tmp_path_factory.mktemp("first")
    source = write(root / "day1.parquet", review_id=[1, 2], stars=[5, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "stop_spark", lambda: None)
        given = ["--input", source, "--output", root / "scores", "--model", model_path, "--precision", "float32"]
        assert cli.main(["score", *map(str, given), "--run-date", "2026-11-01", "--keep-columns", "all"]) == 0
    return root / "scores"


@pytest.mark.parametrize("case", OTHER_COLUMNS)
def test_a_run_with_other_columns_than_the_table_is_refused_before_it_scores(
    score: Run, first_night: Path, tmp_path: Path, case: str
) -> None:
    columns, kept, says = OTHER_COLUMNS[case]
    shutil.copytree(first_night, tmp_path / "scores")
    second = write(tmp_path / "day2.parquet", **columns)
    for options in ([], ["--only-new"], ["--dry-run"]):
        code, _, sentence = score(second, "--keep-columns", kept, *options, night=2)
        assert code == 3, sentence
        assert all(part in sentence for part in says), sentence
        assert "--output" in sentence
    assert snapshot(tmp_path / "scores") == snapshot(first_night)


@pytest.mark.slow
def test_other_columns_are_found_in_any_format_and_by_backfill(score: Run, first_night: Path, tmp_path: Path) -> None:
    shutil.copytree(first_night, tmp_path / "scores")
    lines = write_csv(tmp_path / "day2.csv", "review_id,text,stars,day", "3,Good,5,2026-11-02", "4,Bad,,2026-11-03")
    json_lines = tmp_path / "day2.jsonl"
    json_lines.write_text('{"review_id": 3, "text": "Good", "stars": 2.5}\n')
    for source in (lines, json_lines):
        code, _, sentence = score(source, "--keep-columns", "stars", night=2)
        assert (code, "bigint" in sentence) == (3, True), sentence
    dates = ["--from", "2026-11-02", "--to", "2026-11-03", "--date-column", "day"]
    code, _, sentence = score(lines, "--keep-columns", "stars", *dates, verb="backfill")
    assert (code, "--cast review_id=bigint" in sentence) == (3, True), sentence

    casts = ["--cast", "review_id=bigint", "--cast", "stars=BIGINT"]
    code, _, sentence = score(lines, "--keep-columns", "stars", *casts, *dates, verb="backfill")
    assert code == 0, sentence
    found = {(row["review_id"], row["stars"]) for row in table(tmp_path)}
    assert found == {(1, 5), (2, 1), (3, 5), (4, None)}


@pytest.mark.slow
def test_the_same_date_may_have_other_columns_if_nothing_else_lies_there(score: Run, tmp_path: Path) -> None:
    assert score(write(tmp_path / "a.parquet", review_id=[1, 2], stars=[5, 1]), "--keep-columns", "all")[0] == 0
    assert score(write(tmp_path / "b.parquet", review_id=[1, 2], stars=[5.5, 1]), "--keep-columns", "all")[0] == 0
    assert sorted(row["stars"] for row in table(tmp_path)) == [1.0, 5.5]


@pytest.mark.slow
def test_the_type_of_the_partition_column_counts(score: Run, tmp_path: Path) -> None:
    by_shop = ["--partition-by", "shop"]
    assert score(write(tmp_path / "a.parquet", review_id=[1, 2], shop=[1, 2]), *by_shop)[0] == 0
    second = write(tmp_path / "b.parquet", review_id=[3], shop=["B"])
    code, _, sentence = score(second, *by_shop)
    assert (code, "'shop'" in sentence, "bigint" in sentence) == (3, True, True), sentence
    code, _, sentence = score(
        write(tmp_path / "c.parquet", review_id=[3], shop=["7"]), *by_shop, "--cast", "shop=bigint"
    )
    assert code == 0, sentence


@pytest.mark.parametrize(
    ("values", "cast", "kept", "refused"),
    [
        ([5.0, None], "bigint", [5, None], 0),
        ([5.5, 4.0], "bigint", None, 1),
        (["5.0", "4"], "int", [5, 4], 0),
        (["5.7", "many"], "int", None, 2),
        (["5", " "], "int", [5, None], 0),
        ([2**53 + 1, 3], "double", None, 1),
        (["1.239", "2"], "decimal(5,2)", None, 1),
        ([5, 1], "string", ["5", "1"], 0),
        (["2026-11-02", "2026-11"], "date", None, 1),
        (["2026-11-2", None], "date", [date(2026, 11, 2), None], 0),
        ([300, 1], "tinyint", None, 1),
    ],
)
def test_a_cast_changes_no_value(
    spark: SparkSession, values: list[Any], cast: str, kept: list[Any] | None, refused: int
) -> None:
    frame = spark.createDataFrame(pa.table({"n": [1, 2], "x": values}))
    found, checks, _ = cast_columns(frame, [parse_cast(f"x={cast}")], dates=ISO_DATES)
    counts = found.select("*", *flag_columns(checks)).agg(*count_columns(checks)).collect()[0]
    if refused:
        with pytest.raises(InputError, match=f"^{refused} rows have a 'x' "):
            refuse_counted(checks, counts)
    else:
        refuse_counted(checks, counts)
        assert [row["x"] for row in found.orderBy("n").collect()] == kept


@pytest.mark.parametrize("cast", ["x", "x=", "=int", "x=varchar", "x=decimal(39,2)", "x=array<int>"])
def test_a_cast_that_is_none_is_wrong_usage(score: Run, tmp_path: Path, cast: str) -> None:
    source = write(tmp_path / "in.parquet", review_id=[1])
    assert score(source, "--cast", cast)[0] == 2
    assert score(source, "--cast", "y=int")[0] == 3


def test_repeated_and_missing_ids_are_counted_in_report_and_sentence(score: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", review_id=[1, 1, 2, None, None, 3])
    code, report, sentence = score(source)
    assert code == 0
    counts = {name: report["input"][name] for name in ("repeated_ids", "rows_of_repeated_ids", "rows_without_id")}
    assert counts == {"repeated_ids": 1, "rows_of_repeated_ids": 2, "rows_without_id": 2}
    assert "1 ids are repeated (2 rows have them); 2 rows have no id" in sentence
    clean = write(tmp_path / "clean.parquet", review_id=[1, 2])
    assert "ids are repeated" not in score(clean, night=2)[2]


@pytest.mark.slow
def test_only_new_replaces_no_other_review_in_silence(score: Run, tmp_path: Path) -> None:
    one = write_csv(tmp_path / "1.csv", "review_id,text", "5.70306E+17,Lasts", "5.70306E+17,Cracked", "5.7E+17,Fine")
    two = write_csv(tmp_path / "2.csv", "review_id,text", "5.70306E+17,No charger", "5.70399E+17,Lovely")
    assert score(one, "--only-new")[0] == 0
    before = snapshot(tmp_path / "scores")
    code, _, sentence = score(two, "--only-new")
    assert (code, "1 ids stand for more rows" in sentence) == (3, True), sentence
    assert snapshot(tmp_path / "scores") == before
    edited = write_csv(tmp_path / "3.csv", "review_id,text", "5.7E+17,Not fine any more")
    code, report, sentence = score(edited, "--only-new")
    assert (code, report["output"]["replaced_rows"]) == (0, 1)
    assert "1 published rows with the ids of new ones were replaced" in sentence
    assert len(table(tmp_path)) == 3


def test_an_input_without_rows_replaces_nothing_unless_it_is_allowed(score: Run, tmp_path: Path) -> None:
    full = write_csv(tmp_path / "full.csv", "review_id,text", "1,Good lamp", "2,Bad lamp")
    empty = write_csv(tmp_path / "empty.csv", "review_id,text")
    assert score(empty)[0] == 0  # nothing lies there
    assert score(full)[0] == 0
    before = snapshot(tmp_path / "scores")
    for options in ([], ["--dry-run"], ["--where", "review_id = 'x'"]):
        code, _, sentence = score(full if "--where" in options else empty, *options)
        assert (code, "--allow-empty" in sentence) == (3, True), sentence
    assert snapshot(tmp_path / "scores") == before
    assert score(empty, "--allow-empty")[0] == 0
    assert not [path for path in (tmp_path / "scores" / "run_date=2026-11-01").iterdir() if path.suffix == ".parquet"]


@pytest.mark.parametrize("where", ["stars >= 4", "stars >4.0", "stars in (10, 9)"])
def test_numbers_are_compared_as_numbers_in_a_column_of_texts(score: Run, tmp_path: Path, where: str) -> None:
    source = write_csv(tmp_path / "in.csv", "review_id,text,stars", "1,Good,10", "2,Bad,2", "3,Fine,9", "4,Well,")
    assert score(source, "--where", where)[0] == 0
    assert sorted(row["review_id"] for row in table(tmp_path)) == ["1", "3"]


def test_what_is_no_number_is_an_error_with_its_count(score: Run, tmp_path: Path) -> None:
    lines = ["1,Good,10,en", "2,Bad,five,en", "3,Fine,n/a,de", "4,Well,12345678901234567890123,en"]
    source = write_csv(tmp_path / "in.csv", "review_id,text,stars,lang", *lines)
    code, _, sentence = score(source, "--where", "stars >= 4")
    assert (code, "3 rows have a 'stars' that is no number" in sentence) == (3, True), sentence
    code, _, sentence = score(source, "--where", "stars >= 4", "--where", "lang = 'de'")
    assert (code, "1 rows have a 'stars'" in sentence) == (3, True), sentence
    wanted = [
        "--where",
        "stars >= 4",
        "--where",
        "lang = 'en'",
        "--where",
        "review_id != '2'",
        "--where",
        "review_id < 4",
    ]
    code, _, sentence = score(source, *wanted)
    assert code == 0, sentence
    code, _, sentence = score(source, "--where", "stars >= '4'")
    assert (code, "without quotes" in sentence) == (3, True), sentence


@pytest.mark.parametrize("layout", ["the same", "inside", "a link in the input", "around"])
def test_an_output_that_is_the_input_by_another_name_is_refused(score: Run, tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "in" / "reviews"
    folder.mkdir(parents=True)
    write(folder / "a.parquet", review_id=[1, 2])
    source = folder
    if layout == "the same":
        (tmp_path / "scores").symlink_to(folder, target_is_directory=True)
    elif layout == "inside":
        (tmp_path / "scores").symlink_to(folder / "x", target_is_directory=True)
    elif layout == "around":
        (tmp_path / "scores").symlink_to(folder.parent, target_is_directory=True)
    else:
        (tmp_path / "scores").mkdir()
        (folder / "more").symlink_to(tmp_path / "scores", target_is_directory=True)
    before = snapshot(tmp_path / "in")
    code, _, sentence = score(source)
    assert (code, "the same folder" in sentence) == (2, True), sentence
    assert snapshot(tmp_path / "in") == before


@pytest.mark.parametrize(
    ("value", "says"),
    [("p" * 300, "longer than the name of a folder"), ("é" * 126, None), ("/" * 85, "longer"), ("a\0b", "NUL")],
)
def test_a_partition_value_that_no_folder_can_be_named_after_is_refused_before_scoring(
    score: Run, tmp_path: Path, value: str, says: str | None
) -> None:
    source = write(tmp_path / "in.parquet", review_id=[1, 2], p=[value, "b"])
    code, _, sentence = score(source, "--partition-by", "p", *([] if says is None else ["--dry-run"]))
    assert code == (0 if says is None else 3), sentence
    if says is not None:
        assert "1 rows have a 'p'" in sentence
        assert says in sentence


def test_rows_without_an_id_get_one_of_their_content(score: Run, tmp_path: Path) -> None:
    lines = ["A warm book,5", "Bad,1", "Bad,1", "Bad,2"]
    first = write_csv(tmp_path / "a.csv", "text,stars", *lines)
    code, report, sentence = score(first, "--id-column", "none", "--keep-columns", "stars")
    assert code == 0, sentence
    assert "repeated" not in sentence
    ids = {row["review_id"]: row["stars"] for row in table(tmp_path)}
    assert len(ids) == 4
    assert sorted(name[-2:] for name in ids) == ["-1", "-1", "-1", "-2"]
    assert all(len(name) == 34 for name in ids)
    assert report["input"]["id_column"] == "review_id"
    # In another order, in two files, the same rows have the same ids.
    (tmp_path / "b").mkdir()
    write_csv(tmp_path / "b" / "x.csv", "text,stars", *lines[:0:-1])
    write_csv(tmp_path / "b" / "y.csv", "text,stars", lines[0])
    both = ["--input-format", "csv", "--id-column", "none", "--keep-columns", "stars"]
    code, _, sentence = score(tmp_path / "b", *both)
    assert (code, "nothing to do" in sentence) == (0, True), sentence
    # Only what is new is scored: one more equal row, and one of which anything changed.
    more = write_csv(tmp_path / "c.csv", "text,stars", *lines, "Bad,1", "A warm book,4")
    code, report, sentence = score(more, "--id-column", "none", "--keep-columns", "stars", "--only-new")
    assert (code, report["input"]["new_rows"], report["output"]["kept_rows"]) == (0, 2, 4), sentence


def test_an_id_of_the_content_stands_beside_an_id_of_the_input(score: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", review_id=[5, 5, None], x=[1, 1, 1])
    code, _, sentence = score(source, "--id-column", "none", "--keep-columns", "all")
    assert (code, "review_id:OTHER" in sentence) == (3, True), sentence
    code, _, sentence = score(source, "--id-column", "none", "--keep-columns", "all,review_id:shop_id")
    assert code == 0, sentence
    rows = table(tmp_path)
    assert sorted(str(row["shop_id"]) for row in rows) == ["5", "5", "None"]
    assert len({row["review_id"] for row in rows}) == 3
    literal = write(tmp_path / "none.parquet", none=[1, 2])
    assert score(literal, "--id-column", "none")[0] == 3


@pytest.mark.slow
def test_a_kept_column_may_have_another_name(score: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", review_id=[1, 2], sentiment=["good", "bad"], **{"a:b": [1, 2]})
    code, _, sentence = score(source, "--keep-columns", "sentiment")
    assert (code, "--keep-columns sentiment:OTHER" in sentence) == (3, True), sentence
    code, report, sentence = score(source, "--keep-columns", "sentiment:label,a:b")
    assert code == 0, sentence
    rows = sorted(table(tmp_path), key=lambda row: row["review_id"])
    assert [(row["label"], row["a:b"]) for row in rows] == [("good", 1), ("bad", 2)]
    assert report["input"]["renamed"] == {"label": "sentiment"}
    assert score(source, "--keep-columns", "all,sentiment:label")[0] == 0
    for kept, says in (("sentiment:Text", "has a column 'Text' already"), ("no:x", "'no' is missing")):
        code, _, sentence = score(source, "--keep-columns", kept)
        assert (code, says in sentence) == (3, True), sentence
