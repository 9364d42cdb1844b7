"""Staged files that were damaged, one fault at a time, are found before anything is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from jobs.publishing.staging import Staging
from jobs.scoring import only_new

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture
def score(sentiment: Any, spark: Any, model_path: Path, tmp_path: Path, reviews: pa.Table) -> Any:
    """Score the reviews."""
    pq.write_table(reviews, tmp_path / "reviews.parquet")

    def run(*options: str) -> tuple[int, list[dict[str, Any]], str]:
        return sentiment(  # type: ignore[no-any-return]
            "score", "--input", tmp_path / "reviews.parquet", "--output", tmp_path / "scores", "--model", model_path,
            "--run-date", "2026-11-23", "--keep-columns", "stars,product_id", "--groups", "2", *options,
        )  # fmt: skip

    return run


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Let something happen to the first staged file of scores as soon as it is written."""

    def arrange(change: Callable[[Path], None], kind: str = "scores") -> None:
        append = Staging.append

        def damaging(staging: Staging, written: str, rows: DataFrame) -> None:
            append(staging, written, rows)
            if written == kind:
                folder = "data" if kind == "scores" else kind
                change(min((tmp_path / "scores" / "_staging").glob(f"*/*/{folder}/*/*.parquet")))

        monkeypatch.setattr(Staging, "append", damaging)

    return arrange


def rewritten(change: Change) -> Callable[[Path], None]:
    """As another writer would write the changed rows, so that no checksum tells."""

    def rewrite(file: Path) -> None:
        table = pq.ParquetFile(file).read()
        (file.parent / f".{file.name}.crc").unlink(missing_ok=True)
        pq.write_table(change(table).replace_schema_metadata(None), file)

    return rewrite


def with_value(name: str, value: Any) -> Change:
    """With another value in the first row that was scored."""

    def change(table: pa.Table) -> pa.Table:
        row = table["score_status"].to_pylist().index("ok")
        field = table.schema.field(name).with_nullable(True)
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))

    return change


def retyped(name: str, kind: pa.DataType) -> Change:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))


def refused(score: Any, tmp_path: Path, says: str, *options: str) -> None:
    code, reports, sentence = score(*options)
    assert (code, reports, says in sentence) == (4, [], True), sentence
    assert "nothing was published" in sentence
    assert sorted((tmp_path / "scores").iterdir()) == []


# One of each kind; the others are in `make test-all`.
CHANGES: list[tuple[Change, str]] = [
    (lambda table: table.slice(1), "300 rows went in and 299 came out"),
    # As many rows as before, one of them twice and one not at all.
    (lambda table: table.take([0, *range(len(table) - 1)]), "300 rows went in and 300 came out"),
    (with_value("stars", 77), "300 rows went in and 300 came out"),
    (with_value("positive_probability", np.nan), "1 rows have a score that is out of range"),
    (with_value("model_sha256", "0" * 64), "1 rows have a score that is out of range or not of this run"),
    (lambda table: table.drop_columns(["n_unknown"]), "the staged files"),
]  # fmt: skip
MORE_CHANGES: list[tuple[Change, str]] = [
    (with_value("sentiment", None), "1 rows have a score that is out of range"),
    (lambda table: table.select([*table.column_names[1:], table.column_names[0]]), "the staged files"),
    (retyped("stars", pa.int32()), "the staged files"),
    (with_value("n_unknown", 10**6), "1 rows have a score that is out of range"),
    (with_value("score_status", "empty"), "1 rows have a score that is out of range"),
    (with_value("positive_probability", np.nextafter(1, 2)), "1 rows have a score that is out of range"),
    (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "300 rows went in and 301 came out"),
    (lambda table: table.take([*range(len(table) - 2), 0, 0]), "300 rows went in and 300 came out"),
    (with_value("review_id", 9007199254740993), "300 rows went in and 300 came out"),
    (with_value("review_id", None), "300 rows went in and 300 came out"),
    (with_value("product_id", ""), "300 rows went in and 300 came out"),
    (with_value("positive_probability", np.inf), "1 rows have a score that is out of range"),
    (with_value("positive_probability", -np.inf), "1 rows have a score that is out of range"),
    (with_value("positive_probability", -5e-324), "1 rows have a score that is out of range"),
    (with_value("positive_probability", None), "1 rows have a score that is out of range"),
    (with_value("score_status", "OK"), "1 rows have a score that is out of range"),
    (with_value("score_status", None), "1 rows have a score that is out of range"),
    (with_value("n_tokens", None), "1 rows have a score that is out of range"),
    (with_value("n_tokens", -1), "1 rows have a score that is out of range"),
    (with_value("run_id", None), "1 rows have a score that is out of range or not of this run"),
    (retyped("n_tokens", pa.int64()), "the staged files"),
    (retyped("positive_probability", pa.float32()), "the staged files"),
    (retyped("review_id", pa.string()), "the staged files"),
    (lambda table: table.append_column("more", table["stars"]), "the staged files have the columns"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"), [*CHANGES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_CHANGES)]
)
def test_a_changed_row_or_column_is_found(score: Any, damage: Any, tmp_path: Path, change: Change, says: str) -> None:
    damage(rewritten(change))
    refused(score, tmp_path, says)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def without_its_checksum(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def remove(file: Path) -> None:
        (file.parent / f".{file.name}.crc").unlink()
        change(file)

    return remove


@pytest.mark.parametrize(
    "change",
    [
        cut,
        pytest.param(flipped, marks=pytest.mark.slow),
        pytest.param(without_its_checksum(cut), marks=pytest.mark.slow),
        without_its_checksum(flipped),
    ],
)
def test_a_damaged_file_is_found(score: Any, damage: Any, tmp_path: Path, change: Callable[[Path], None]) -> None:
    damage(change)
    refused(score, tmp_path, "the staged files cannot be read back")


@pytest.mark.parametrize("change", [pytest.param(cut, marks=pytest.mark.slow), without_its_checksum(flipped)])
def test_a_damaged_file_of_keys_is_found(
    score: Any, damage: Any, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    damage(change, kind="keys")
    refused(score, tmp_path, "the staged files cannot be read back")


@pytest.mark.parametrize("change", [pytest.param(cut, marks=pytest.mark.slow), without_its_checksum(flipped)])
@pytest.mark.parametrize("folder", [pytest.param("", marks=pytest.mark.slow), "_keys"])
def test_damage_to_what_is_published_is_not_blamed_on_the_input(
    score: Any, reviews: pa.Table, tmp_path: Path, folder: str, change: Callable[[Path], None]
) -> None:
    score()
    more = reviews.set_column(0, reviews.schema.field("review_id"), pc.add(reviews["review_id"], 10**6))
    pq.write_table(pa.concat_tables([reviews, more]), tmp_path / "reviews.parquet")
    partition = tmp_path / "scores" / "run_date=2026-11-23"
    change(min((partition / folder).glob("*.parquet")))
    before = sorted((tmp_path / "scores").rglob("*"))
    code, reports, sentence = score("--only-new")
    assert (code, reports) == (4, [])
    assert f"{partition.name} is published, but cannot be read" in sentence
    assert sorted((tmp_path / "scores").rglob("*")) == before


def test_a_disk_that_fills_up_while_spark_writes_is_told_in_a_sentence(
    score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise PySparkException("Job aborted: Lost task 0.0: java.io.IOException: No space left on device")

    monkeypatch.setattr(Staging, "append", full)
    code, _, sentence = score()
    assert code == 1
    assert sentence.startswith(
        f"sentiment score: failed: {tmp_path}/scores: cannot be written (No space left on device); check permissions"
    )
    assert not list((tmp_path / "scores").iterdir())


def test_a_vanished_file_is_found(score: Any, damage: Any, tmp_path: Path) -> None:
    damage(Path.unlink)
    refused(score, tmp_path, "300 rows went in and ")


def test_a_partition_column_keeps_its_value(score: Any, damage: Any, tmp_path: Path) -> None:
    def move(file: Path) -> None:
        file.parent.rename(file.parent.with_name("product_id=elsewhere"))

    damage(move)
    refused(score, tmp_path, "300 rows went in and 300 came out", "--partition-by", "product_id")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.take([0, *range(len(table) - 1)]),
        pytest.param(lambda table: table.slice(9), marks=pytest.mark.slow),
    ],
)
def test_keys_are_those_of_the_rows(score: Any, damage: Any, tmp_path: Path, change: Change) -> None:
    damage(rewritten(change), kind="keys")
    refused(score, tmp_path, "keys of")


@pytest.mark.slow
def test_an_older_row_of_a_new_text_does_not_stay_beside_it(
    score: Any, reviews: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a partition must not hold an id that was scored again: it would be there twice."""
    score()
    texts = reviews["text"].to_pylist()
    index = reviews.schema.get_field_index("text")
    changed = reviews.set_column(index, "text", pa.array(["another text", *texts[1:]]))
    pq.write_table(changed, tmp_path / "reviews.parquet")
    before = sorted(path for path in (tmp_path / "scores").rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(only_new, "without", lambda rows, columns, *, ids: rows)
        code, _, sentence = score("--only-new")
        assert (code, "1 older rows stand beside new ones of their ids" in sentence) == (4, True), sentence
        assert sorted(path for path in (tmp_path / "scores").rglob("*")) == before
    code, (report,), sentence = score("--only-new")
    assert (code, report["output"]["kept_rows"]) == (0, 299), sentence
    table = pq.read_table(tmp_path / "scores" / "run_date=2026-11-23", columns=["review_id"])
    assert pc.count_distinct(table["review_id"]).as_py() == len(table) == 300
