"""Only what is new is scored, and what was there stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from jobs.publishing.staging import Staging
from jobs.scoring import backfill as backfill_room
from jobs.scoring import only_new
from jobs.scoring import run as scoring_run
from sentiment_core.artifact import Model, save_model
from tests.support.reference import reference_probability

Verb = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def verb(spark: SparkSession, sentiment: Any, model_path: Path, tmp_path: Path) -> Verb:
    """Run a verb on ``in.parquet`` and ``scores``: exit code, reports and the closing sentence."""

    def run(name: str, *options: Any, model: Path = model_path) -> tuple[int, list[dict[str, Any]], str]:
        places = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model]
        result: tuple[int, list[dict[str, Any]], str] = sentiment(name, *places, *options)
        return result

    return run


@pytest.fixture
def other_model(model: Model, tmp_path: Path) -> Path:
    """Of the same kind, with other weights."""
    weights = {name: tensor * np.float32(0.5) for name, tensor in model.weights.items()}
    save_model(replace(model, weights=weights), tmp_path / "other")
    return tmp_path / "other"


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    schema = pa.schema(
        [("review_id", pa.int64()), ("text", pa.string()), ("day", pa.date32()), ("product", pa.string())]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "in.parquet")


def row(review_id: int | None, text: str | None, *, day: int = 1, product: str = "a") -> dict[str, Any]:
    return {"review_id": review_id, "text": text, "day": date(2026, 11, day), "product": product}


def table(tmp_path: Path) -> list[dict[str, Any]]:
    rows = ds.dataset(tmp_path / "scores", partitioning="hive").to_table().to_pylist()
    return sorted(rows, key=lambda row: (str(row["run_date"]), row["review_id"] or 0, row["n_tokens"]))


def scored(tmp_path: Path) -> list[tuple[str, int | None]]:
    return [(str(row["run_date"]), row["review_id"]) for row in table(tmp_path)]


NIGHT = ("--run-date", "2026-11-01", "--only-new", "--precision", "float32")
NEXT_NIGHT = ("--run-date", "2026-11-02", "--only-new", "--precision", "float32")
TEXTS = ["The kettle leaks.", "Very good, 10/10!", "", "Broke after a day.", "Not bad at all."]


def test_only_rows_that_no_run_has_scored_are_scored(verb: Verb, model: Model, tmp_path: Path) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    assert verb("score", *NIGHT)[0] == 0
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1]), row(3, TEXTS[3])])
    assert "dry run: 1 rows would be scored" in verb("score", *NEXT_NIGHT, "--dry-run")[2]
    code, (report,), sentence = verb("score", *NEXT_NIGHT)
    assert code == 0, sentence
    assert (report["input"]["rows"], report["input"]["new_rows"], report["counts"]["rows"]) == (3, 1, 1)
    assert scored(tmp_path) == [("2026-11-01", 1), ("2026-11-01", 2), ("2026-11-02", 3)]
    expected = reference_probability(model, [TEXTS[0], TEXTS[1], TEXTS[3]])
    np.testing.assert_allclose([row["positive_probability"] for row in table(tmp_path)], expected, atol=1e-5)

    before = table(tmp_path)
    code, (report,), sentence = verb("score", *NEXT_NIGHT)
    assert (code, report["status"]) == (0, "unchanged")
    assert "none of the 3 rows is new" in sentence
    assert table(tmp_path) == before


@pytest.mark.slow
def test_a_partition_keeps_its_older_rows_bit_for_bit(verb: Verb, tmp_path: Path) -> None:
    options = ("--keep-columns", "day,product", *NIGHT)
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1]), row(None, TEXTS[2])])
    verb("score", *options)
    before = table(tmp_path)
    write(tmp_path, [row(4, TEXTS[4])])  # what was there need not come again
    code, (report,), sentence = verb("score", *options)
    assert code == 0, sentence
    assert report["output"]["kept_rows"] == 3
    after = table(tmp_path)
    assert [row for row in after if row["review_id"] != 4] == before
    assert {row["run_id"] for row in after} == {before[0]["run_id"], report["run_id"]}
    assert verb("score", *options)[1][0]["status"] == "unchanged"


@pytest.mark.slow
def test_a_changed_text_replaces_its_row_and_a_changed_partition_keeps_others(verb: Verb, tmp_path: Path) -> None:
    options = ("--partition-by", "product", *NIGHT)
    write(tmp_path, [row(1, "x"), row(2, "y"), row(3, "z", product="b"), row(4, "x", product="c")])
    verb("score", *options)
    untouched = (tmp_path / "scores" / "product=c").stat().st_ino
    write(tmp_path, [row(1, "x"), row(2, "changed"), row(3, "z", product="b"), row(5, "new", product="b")])
    code, (report,), sentence = verb("score", *options)
    assert code == 0, sentence
    assert report["output"]["partitions"] == ["product=a", "product=b"]
    assert report["counts"]["rows"] == 2
    assert [found[1] for found in scored(tmp_path)] == [1, 2, 3, 4, 5]
    assert (tmp_path / "scores" / "product=c").stat().st_ino == untouched


@pytest.mark.slow
def test_an_id_is_replaced_in_its_partition_and_stays_in_others(verb: Verb, tmp_path: Path, monkeypatch: Any) -> None:
    """Two products count their reviews from 1, and so do those of no product."""
    options, nothing = ("--partition-by", "product", *NIGHT), {"product": None}
    older = [row(1, "x"), row(2, "y"), row(1, "z", product="b"), row(1, "u") | nothing, row(4, "v") | nothing]
    newer = [row(1, "two words", product="b"), row(3, "w"), row(1, "two words") | nothing]
    write(tmp_path, older)
    verb("score", *options)
    before = table(tmp_path)
    write(tmp_path, newer)
    with monkeypatch.context() as patch:  # as if an id were one row in all partitions
        patch.setattr(only_new, "without", lambda rows, columns, *, ids: rows.where(F.col(rows.columns[0]) != 1))
        code, _, sentence = verb("score", *options)
        assert (code, "of 5 older rows 2 were kept and 2 replaced" in sentence) == (4, True), sentence
        assert table(tmp_path) == before
    code, (report,), sentence = verb("score", *options)
    assert (code, report["output"]["kept_rows"]) == (0, 3), sentence
    found = sorted((str(row["product"]), row["review_id"], row["n_tokens"]) for row in table(tmp_path))
    assert found == [("None", 1, 2), ("None", 4, 1), ("a", 1, 1), ("a", 2, 1), ("a", 3, 1), ("b", 1, 2)]
    write(tmp_path, older[:2] + older[4:] + newer)
    assert verb("score", *options)[1][0]["status"] == "unchanged"


@pytest.mark.slow
def test_rows_without_an_id_and_repeated_ids_are_told_apart_by_their_texts(verb: Verb, tmp_path: Path) -> None:
    rows = [row(None, "a"), row(None, "b b"), row(None, None), row(7, "c"), row(7, "d d"), row(7, "c")]
    write(tmp_path, rows)
    verb("score", *NIGHT)
    assert verb("score", *NIGHT)[1][0]["status"] == "unchanged"
    write(tmp_path, [*rows[:4], row(7, "e e e"), row(7, "c"), row(None, "f f f f")])
    code, (report,), sentence = verb("score", *NIGHT)
    assert code == 0, sentence
    assert report["counts"]["rows"] == 4  # the id 7 has a new text, so all of its rows come again
    found = [(row["review_id"], row["n_tokens"]) for row in table(tmp_path)]
    nothing = [(None, 0), (None, 1), (None, 2), (None, 4)]
    assert sorted(found, key=str) == sorted([*nothing, (7, 1), (7, 1), (7, 3)], key=str)


@pytest.mark.slow
def test_another_model_scores_all_rows_again(verb: Verb, other_model: Path, tmp_path: Path) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    verb("score", *NIGHT)
    code, (report,), sentence = verb("score", *NIGHT, model=other_model)
    assert code == 0, sentence
    assert report["counts"]["rows"] == 2
    assert {row["model_sha256"] for row in table(tmp_path)} == {report["model"]["sha256"]}
    assert len(table(tmp_path)) == 2


def failing(monkeypatch: Any, bad: Column) -> None:
    """Let the engine fail on some rows."""
    complete = scoring_run.score_table

    def score_table(*arguments: Any, **options: Any) -> Any:
        frame = complete(*arguments, **options)
        return frame.withColumns(
            {
                "score_status": F.when(bad, "failed").otherwise(F.col("score_status")),
                "positive_probability": F.when(~bad, F.col("positive_probability")),
                "sentiment": F.when(~bad, F.col("sentiment")),
            }
        )

    monkeypatch.setattr(scoring_run, "score_table", score_table)


@pytest.mark.slow
def test_rows_on_which_the_engine_failed_are_scored_again(verb: Verb, tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    with monkeypatch.context() as patch:
        failing(patch, F.col("review_id") == 2)
        verb("score", *NIGHT, "--max-failed-ratio", "1")
    code, (report,), sentence = verb("score", *NIGHT)
    assert (code, report["counts"]["rows"]) == (0, 1), sentence
    assert [row["score_status"] for row in table(tmp_path)] == ["ok", "ok"]
    runs = {row["run_id"] for row in table(tmp_path)}
    assert len(runs) == 2, "each run has its own name, and its report stays"
    assert {path.stem for path in (tmp_path / "scores" / "_runs").glob("*.json")} == runs


@pytest.mark.slow
def test_a_row_that_failed_and_was_scored_later_in_another_partition_is_scored_once(
    verb: Verb, tmp_path: Path, monkeypatch: Any
) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1]), row(None, "x"), row(None, "y")])
    with monkeypatch.context() as patch:
        failing(patch, F.coalesce(F.col("review_id"), F.lit(2)) == 2)
        verb("score", *NIGHT, "--max-failed-ratio", "1")
    code, (report,), sentence = verb("score", *NEXT_NIGHT)
    assert (code, report["counts"]["rows"]) == (0, 1), sentence  # those without an id are not tried again
    for night in ("2026-11-02", "2026-11-03"):
        assert verb("score", *NIGHT, "--run-date", night)[1][0]["status"] == "unchanged"
    assert [row["score_status"] for row in table(tmp_path) if row["review_id"] == 2] == ["failed", "ok"]


@pytest.mark.slow
def test_no_reader_sees_the_keys_or_what_is_staged(verb: Verb, spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, [row(1, TEXTS[0])])
    verb("score", *NIGHT)
    partition = tmp_path / "scores" / "run_date=2026-11-01"
    assert list(partition.glob("_keys/*.parquet"))
    staged = tmp_path / "scores" / "_staging" / "run" / "token" / "data" / partition.name
    staged.mkdir(parents=True)
    shutil.copy(next(partition.glob("*.parquet")), staged)
    assert spark.read.parquet(str(tmp_path / "scores")).count() == 1
    assert spark.read.option("recursiveFileLookup", "true").parquet(str(tmp_path / "scores")).count() == 1
    assert ds.dataset(tmp_path / "scores", partitioning="hive").count_rows() == 1
    shown = pq.read_table(next(partition.glob("_keys/*.parquet"))).to_pylist()
    assert "kettle" not in repr(shown)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.set_column(0, "review_id", pa.array(["1", "9"])), "'review_id' is bigint in the table"),
        (lambda rows: rows.append_column("stars", pa.array([1, 2])), "has no column 'stars'"),
    ],
)
def test_a_table_of_other_columns_is_refused(verb: Verb, tmp_path: Path, change: Any, says: str) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    verb("score", *NIGHT, "--keep-columns", "all")
    before = table(tmp_path)
    write(tmp_path, [row(1, TEXTS[0]), row(3, TEXTS[1])])
    pq.write_table(change(pq.read_table(tmp_path / "in.parquet")), tmp_path / "in.parquet")
    code, _, sentence = verb("score", *NIGHT, "--keep-columns", "all")
    assert (code, says in sentence) == (3, True), sentence
    assert table(tmp_path) == before


def test_an_input_that_changes_while_it_is_scored_is_not_published(
    verb: Verb, tmp_path: Path, monkeypatch: Any
) -> None:
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    columns = scoring_run.key_columns

    def changed(chosen: Any, **options: Any) -> Any:
        first, _, *others = columns(chosen, **options)
        return [first, F.lit(b"0" * 16).alias("_text_digest"), *others]

    monkeypatch.setattr(scoring_run, "key_columns", changed)
    code, _, sentence = verb("score", *NIGHT)
    assert (code, "keys of 2 rows" in sentence) == (4, True), sentence
    assert not list((tmp_path / "scores").iterdir())


@pytest.mark.slow
def test_older_rows_that_do_not_come_out_as_they_were_stop_the_run(
    verb: Verb, tmp_path: Path, monkeypatch: Any
) -> None:
    options = ("--keep-columns", "product", *NIGHT)
    write(tmp_path, [row(1, TEXTS[0]), row(2, TEXTS[1])])
    verb("score", *options)
    before = table(tmp_path)
    complete = Staging.write

    def damaged(staging: Staging, scores: Any) -> Any:
        if "3" not in repr(scores.select("review_id").collect()):
            scores = scores.withColumn("product", F.when(F.col("review_id") == 1, "b").otherwise("a"))
        return complete(staging, scores)

    monkeypatch.setattr(Staging, "write", damaged)
    write(tmp_path, [row(3, TEXTS[3])])
    code, _, sentence = verb("score", *options)
    assert (code, "1 new and 2 older rows became 3" in sentence) == (4, True), sentence
    assert table(tmp_path) == before


BACKFILL = ("--from", "2026-11-01", "--to", "2026-11-03", "--date-column", "day")


def test_a_backfill_goes_on_where_it_stopped(verb: Verb, tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, [row(number, TEXTS[number % 5], day=1 + number % 2) for number in range(6)])
    once, done = backfill_room.run_once, []

    def stopped(*arguments: Any, **options: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(options["run_date"])
        return once(*arguments, **options)

    monkeypatch.setattr(backfill_room, "run_once", stopped)
    dates = ("--from", "2026-11-01", "--to", "2026-11-02", "--date-column", "day")
    code, reports, _ = verb("backfill", *dates)
    assert (code, len(reports)) == (1, 1)
    monkeypatch.setattr(backfill_room, "run_once", once)
    code, reports, sentence = verb("backfill", *dates)
    assert (code, [report["status"] for report in reports]) == (0, ["unchanged", "published"])
    assert sentence.endswith("2 dates: 1 published, 1 unchanged")
    assert sorted(scored(tmp_path)) == sorted((f"2026-11-{1 + number % 2:02}", number) for number in range(6))


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--partition-by", "day"), ("--partition-by", "product", "--only-new")])
def test_a_backfill_by_another_partition_keeps_the_rows_of_every_date(
    verb: Verb, tmp_path: Path, options: tuple[str, ...]
) -> None:
    write(tmp_path, [row(number, TEXTS[number], day=1 + number % 3, product="ab"[number % 2]) for number in range(4)])
    code, _, sentence = verb("backfill", *BACKFILL, *options)
    assert code == 0, sentence
    assert sorted(row["review_id"] for row in table(tmp_path)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_late_rows_of_an_old_date_are_found_and_scored(verb: Verb, tmp_path: Path) -> None:
    rows = [row(number, TEXTS[number % 5], day=1 + number % 3) for number in range(6)]
    write(tmp_path, rows)
    verb("backfill", *BACKFILL)
    old = {str(row["run_date"]): row["run_id"] for row in table(tmp_path)}
    write(tmp_path, [*rows, row(10, "late", day=1), row(11, "later", day=1)])
    code, reports, sentence = verb("backfill", *BACKFILL, "--only-new")
    assert (code, [report["status"] for report in reports]) == (0, ["published", "unchanged", "unchanged"]), sentence
    assert (reports[0]["counts"]["rows"], reports[0]["output"]["kept_rows"]) == (2, 2)
    assert [found for found in scored(tmp_path) if found[0] == "2026-11-01"] == [
        ("2026-11-01", number) for number in (0, 3, 10, 11)
    ]
    assert {row["run_id"] for row in table(tmp_path) if row["review_id"] == 0} == {old["2026-11-01"]}


def test_a_backfill_with_a_new_model_replaces_partition_by_partition(
    verb: Verb, other_model: Path, tmp_path: Path
) -> None:
    write(tmp_path, [row(number, TEXTS[number % 5], day=1 + number % 2) for number in range(6)])
    dates = ("--from", "2026-11-01", "--to", "2026-11-02", "--date-column", "day")
    verb("backfill", *dates)
    code, reports, sentence = verb("backfill", *dates, model=other_model)
    assert (code, [report["status"] for report in reports]) == (0, ["published"] * 2), sentence
    assert {row["model_sha256"] for row in table(tmp_path)} == {reports[0]["model"]["sha256"]}
    for name in ("2026-11-01", "2026-11-02"):
        assert len(list((tmp_path / "scores" / "_runs").glob(f"{name}-*.json"))) == 2  # both runs are on record


@pytest.mark.slow
def test_each_date_may_have_its_own_place(verb: Verb, tmp_path: Path, sentiment: Any, model_path: Path) -> None:
    for day in (1, 2):
        write(tmp_path, [row(day, TEXTS[day])])
        (tmp_path / "in.parquet").rename(tmp_path / f"2026-11-{day:02}.parquet")
    code, reports, sentence = sentiment(
        "backfill", "--input", tmp_path / "{date}.parquet", "--output", tmp_path / "scores", "--model", model_path,
        "--from", "2026-11-01", "--to", "2026-11-02",
    )  # fmt: skip
    assert code == 0, sentence
    assert scored(tmp_path) == [("2026-11-01", 1), ("2026-11-02", 2)]
    assert json.dumps(reports[0]["input"]["source"]).endswith('2026-11-01.parquet"')


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--from", "2026-11-03", "--to", "2026-11-01", "--date-column", "day"), 2, "is after"),
        (("--from", "2026-11-01", "--to", "2026-11-01"), 2, "--date-column or by {date}"),
        (
            ("--from", "2026-11-01", "--to", "2026-11-01", "--date-column", "day", "--partition-by", "product"),
            2,
            "--partition-by product: a later date would replace",
        ),
        (("--from", "yesterday", "--to", "2026-11-01", "--date-column", "day"), 2, "--from must be a date"),
        (("--from", "2026-11-01", "--to", "2026-11-01", "--date-column", "days"), 3, "did you mean 'day'"),
        (("--from", "2026-11-01", "--to", "2026-11-01", "--date-column", "review_id"), 3, "dates are dates"),
        (("--from", "2026-11-01", "--to", "2026-11-01", "--date-column", "product"), 3, "is no whole date"),
    ],
)
def test_a_backfill_refuses_in_one_sentence(
    verb: Verb, tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    write(tmp_path, [row(1, "x")])
    found, reports, sentence = verb("backfill", *options)
    assert (found, reports, says in sentence) == (code, [], True), sentence
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
def test_rows_that_have_no_date_are_counted(verb: Verb, tmp_path: Path) -> None:
    write(tmp_path, [row(1, "x"), row(2, "y") | {"day": None}])
    _, _, sentence = verb("backfill", "--from", "2026-11-01", "--to", "2026-11-01", "--date-column", "day")
    assert "1 rows have no day" in sentence
