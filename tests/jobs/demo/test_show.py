"""Tests of the rows that the demo shows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.demo.show import describe_estimate, describe_scores
from sentiment_core.errors import InputError
from tests.support.made_marts import write_marts


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Eleven rows in falling order of probability 1.0, 0.9, ..., 0.1, and one without."""
    probabilities = [step / 10 for step in range(10, 0, -1)] + [None]
    table = pa.table(
        {
            "review_id": [2**53 + 1 + row for row in range(11)],
            "stars": [5] * 11,
            "positive_probability": pa.array(probabilities, pa.float64()),
            "sentiment": ["positive"] * 5 + ["negative"] * 5 + [None],
            "score_status": ["ok"] * 9 + ["truncated", "empty"],
        }
    )
    partition = tmp_path / "scores" / "run_date=2026-11-01"
    partition.mkdir(parents=True)
    pq.write_table(table, partition / "part-0.parquet")
    return tmp_path / "scores"


def test_rows_are_spread_from_the_most_negative_to_those_without_a_probability(scores: Path) -> None:
    assert describe_scores(scores, n_rows=3) == [
        "review_id         positive_probability  sentiment  score_status",
        "9007199254741002  0.100                 negative   truncated",
        "9007199254740997  0.600                 positive   ok",
        "9007199254741003  -                     -          empty",
        "",
        "11 rows (1 empty, 1 truncated, 9 ok)",
        f"Parquet: {scores}",
    ]


@pytest.mark.parametrize(("n_rows", "shown"), [(1, 1), (2, 2), (11, 11), (500, 11)])
def test_no_row_is_shown_twice(scores: Path, n_rows: int, shown: int) -> None:
    ids = [line.split()[0] for line in describe_scores(scores, n_rows=n_rows)[1:-3]]
    assert len(ids) == len(set(ids)) == shown


def test_a_table_without_rows_is_described(tmp_path: Path) -> None:
    schema = {"id": pa.string(), "positive_probability": pa.float64(), "sentiment": pa.string()}
    pq.write_table(pa.schema(schema | {"score_status": pa.string()}).empty_table(), tmp_path / "part-0.parquet")
    assert describe_scores(tmp_path)[0].split() == ["id", "positive_probability", "sentiment", "score_status"]
    assert describe_scores(tmp_path)[-2] == "0 rows"


def test_the_speed_is_shown_where_it_is_known(scores: Path) -> None:
    summary = describe_scores(scores, reviews_per_second=1234.5)[-2]
    assert summary == "11 rows (1 empty, 1 truncated, 9 ok), 1,234 reviews/s"


def test_what_is_no_scores_table_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="is no scores table"):
            describe_scores(path)


def test_the_estimate_of_marts_is_a_sentence(tmp_path: Path) -> None:
    marts = write_marts(tmp_path / "marts")
    last = pq.read_table(marts / "sentiment_overall").to_pandas().sort_values("day").iloc[-1]
    share, low, high = (f"{100 * last[f'estimated_share_28d{end}']:.1f} %" for end in ("", "_low", "_high"))
    assert describe_estimate(marts) == (
        f"Estimated share of positive reviews in the 28 days to {last['day']}: {share}, 95 % interval {low} to "
        f"{high}, from the texts alone"
    )
    with pytest.raises(InputError, match="no review of these marts could be scored"):
        describe_estimate(write_marts(tmp_path / "none", products=[], n_days=0))
