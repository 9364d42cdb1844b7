"""`sentiment sample`: the reviews that it draws, their weights and texts, and the way of a label back to the marts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sentiment_core.dataset.sample import BINS
from sentiment_core.scoring.status import COUNTED
from tests.support.scored import FIRST_DAY, made_up_scores, write_day

N_ROWS = 900
N_DRAWN = 120


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Scores of which some rows share an id and some have none; ids of more than 15 digits."""
    table = made_up_scores(FIRST_DAY, n_rows=N_ROWS)
    ids = [2**53 + 3 * number for number in range(N_ROWS)]
    ids[10:14], ids[20:23] = [7] * 4, [None] * 3
    return table.set_column(0, "review_id", pa.array(ids, pa.int64()))


@pytest.fixture(scope="module")
def scores(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sampled") / "scores"
    write_day(path, FIRST_DAY, table)
    return path


@pytest.fixture
def sample(sentiment: Any, spark: SparkSession, scores: Path, tmp_path: Path) -> Callable[..., Any]:
    def sample(*options: Any, name: str = "sheet.csv", scores: Path = scores) -> tuple[int, list[Any], str]:
        return sentiment("sample", "--scores", scores, "--n", N_DRAWN, "--output", tmp_path / name, *options)

    return sample


def rows_of(sheet: Path) -> list[dict[str, str]]:
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def frame_of(table: pa.Table) -> Any:
    """The reviews that can be drawn, from the single rows."""
    rows = table.to_pandas().assign(review_id=pd.Series(table["review_id"].to_pylist(), dtype=object))
    counted = rows[rows["score_status"].isin(COUNTED)]
    single = counted[counted["review_id"].notna() & ~counted["review_id"].duplicated(keep=False)]
    return counted, single.assign(bin=np.minimum((single["positive_probability"] * BINS).astype(int), BINS - 1))


def test_a_sheet_holds_a_weighted_sample_of_the_scored_reviews(sample: Any, table: pa.Table, tmp_path: Path) -> None:
    code, [report], sentence = sample()
    assert code == 0, sentence
    rows, (counted, single) = rows_of(tmp_path / "sheet.csv"), frame_of(table)
    assert list(rows[0]) == ["review_id", "label", "product_id", "weight", "probability_bin"]
    assert {row["label"] for row in rows} == {""}
    assert all(row["review_id"].startswith("'9") for row in rows)  # more digits than a spreadsheet program keeps
    known = {row["review_id"]: row for _, row in single.iterrows()}
    drawn = [known[int(row["review_id"].removeprefix("'"))] for row in rows]
    assert len({row["review_id"] for row in drawn}) == len(rows) == N_DRAWN == report["reviews"]
    weights = np.array([float(row["weight"]) for row in rows])
    assert weights.sum() == pytest.approx(len(single), rel=1e-12)
    assert (report["scored"], report["weights_sum"]) == (len(single), pytest.approx(len(single)))
    for step in range(BINS):
        inside = np.array([row["bin"] == step for row in drawn])
        in_scores = int((single["bin"] == step).sum())
        assert weights[inside] == pytest.approx(in_scores / max(1, inside.sum()))
        assert {row["probability_bin"] for row, one in zip(rows, inside) if one} <= {
            f"{step / BINS:g} to {(step + 1) / BINS:g}"
        }
    for row, of_scores in zip(rows, drawn):
        assert row["product_id"] == ("" if pd.isna(of_scores["product_id"]) else of_scores["product_id"])
    lost = len(counted) - len(single)
    assert report["without_id"] + report["ids_of_several"] == lost > 0
    assert f"{lost} others have no id or share one and cannot be drawn" in sentence
    assert "without texts: name the reviews with --input" in sentence


def test_the_sample_follows_from_scores_and_seed_alone(sample: Any, table: pa.Table, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled"
    order = np.random.default_rng(1).permutation(len(table))
    for part, rows in enumerate(np.array_split(order, 3)):
        (shuffled / "run_date=2026-01-27").mkdir(parents=True, exist_ok=True)
        pq.write_table(table.take(pa.array(rows)), shuffled / "run_date=2026-01-27" / f"part-{part}.parquet")
    assert sample(name="a.csv")[0] == sample(name="b.csv", scores=shuffled)[0] == 0
    assert sample("--seed", 2, name="c.csv")[0] == 0
    contents = [(tmp_path / f"{name}.csv").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.slow
def test_texts_come_from_the_reviews_and_cannot_be_run(sample: Any, table: pa.Table, tmp_path: Path) -> None:
    ids = table["review_id"].to_pylist()
    texts = [None if number % 9 == 0 else f'=HYPERLINK("{number}")\n"quoted", and more' for number in range(len(ids))]
    reviews = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"review_id": pa.array(map(str, ids)), "body": texts}), reviews)
    code, [report], sentence = sample("--input", reviews, "--text-column", "body")
    assert code == 0, sentence
    rows = rows_of(tmp_path / "sheet.csv")
    wanted = {str(one): text for one, text in zip(ids, texts)}
    found = {row["review_id"].removeprefix("'"): row["text"] for row in rows}
    assert found == {one: "'" + wanted[one] if wanted[one] else "" for one in found}
    missing = sum(wanted[one] is None for one in found)
    assert report["without_text"] == missing
    assert f"{missing} of them without a text" in sentence
    pq.write_table(pa.table({"review_id": [1, 2], "body": ["x", "y"]}), reviews)
    code, _, sentence = sample("--input", reviews, "--text-column", "body", name="other.csv")
    assert code == 3
    assert "none of the drawn reviews has a text there" in sentence
    code, _, sentence = sample("--input", reviews, name="other.csv")
    assert code == 3
    assert "the column 'text' is missing, the input has: review_id, body; name it with --text-column" in sentence
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.slow
def test_a_filled_sheet_goes_back_into_the_marts(
    sample: Any, sentiment: Any, scores: Path, table: pa.Table, tmp_path: Path
) -> None:
    assert sample()[0] == 0
    rows = rows_of(tmp_path / "sheet.csv")
    with (tmp_path / "filled.csv").open("w", encoding="cp1252", newline="") as stream:  # as Excel saves it in Europe
        writer = csv.DictWriter(stream, rows[0], delimiter=";")
        writer.writeheader()
        for number, row in enumerate(rows):
            label = ["positive", "0", "1"][number % 3] if number else ""
            writer.writerow({**row, "label": label, "weight": row["weight"].replace(".", ",")})
    marts = tmp_path / "marts"
    where = ["--scores", scores, "--output", marts]
    code, [report], sentence = sentiment("summarize", *where, "--labels", tmp_path / "filled.csv")
    assert code == 0, sentence
    assert report["labelled_rows"] == N_DRAWN - 1
    found = pq.read_table(marts / "sentiment_product")["labelled_count"].to_pylist()
    assert sum(found) == N_DRAWN - 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--n", 19], 2, "--n must be from 20 to 100,000, not 19"),
        (["--output", "sheet.txt"], 2, "name a file that ends in .csv with --output"),
        (["--seed", -1], 2, "--seed must be 0 or more, not -1"),
        (["--id-column", "nope"], 3, "the column 'nope' is missing, the table has: review_id, "),
        (["--id-column", "drivers"], 3, "the id column 'drivers' is of type array<"),
        (["--id-column", "model_sha256"], 3, "no review has an id of its own, so none can be labelled"),
    ],
)
def test_what_cannot_be_drawn_is_refused(sample: Any, tmp_path: Path, options: list[Any], code: int, says: str) -> None:
    found, results, sentence = sample(*options)
    assert (found, results) == (code, []), sentence
    assert says in sentence
    assert not (tmp_path / "sheet.csv").exists()


def test_a_file_that_may_hold_labels_is_kept(sample: Any, tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text("hours of work")
    code, _, sentence = sample()
    assert code == 2
    assert "exists and may hold labels; name another file with --output" in sentence
    assert (tmp_path / "sheet.csv").read_text() == "hours of work"


def test_more_than_there_are_draws_all_and_products_may_be_unknown(
    sample: Any, table: pa.Table, tmp_path: Path
) -> None:
    _, single = frame_of(table)
    code, [report], sentence = sample("--n", 5000, "--product-column", "shop")
    assert code == 0, sentence
    rows = rows_of(tmp_path / "sheet.csv")
    assert len(rows) == len(single) == report["scored"]
    assert {row["weight"] for row in rows} == {"1.0"}
    assert list(rows[0]) == ["review_id", "label", "weight", "probability_bin"]
    assert "products are not looked at (shop is not in the scores, or has too many values)" in sentence
