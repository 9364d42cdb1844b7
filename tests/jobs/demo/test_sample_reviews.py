"""Tests of the demo review generator."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.demo.sample_reviews import (
    FIRST_DAY,
    N_DAYS,
    ODD_KINDS,
    PRODUCTS,
    SCHEMA,
    generate_reviews,
    main,
    write_reviews,
)
from tests.support.csv_files import look_at, read_rows

LEAK_DAY = date(2026, 10, 5)

LOOKS_LIKE: dict[str, Callable[[str | None], object]] = {
    "null": lambda text: text is None,
    "empty": lambda text: text == "",
    "blank": lambda text: text and text.isspace(),
    "html": lambda text: text and "<br />" in text and "&amp;" in text and "&quot;" in text,
    "emoji": lambda text: text and re.search("[\U0001f600-\U0001f64f]", text),
    "zwj": lambda text: text and re.search("\u200d[\U0001f000-\U0001ffff]", text),
    "flags": lambda text: text and re.search("[\U0001f1e6-\U0001f1ff]{2}", text),
    "spanish": lambda text: text and ("¿" in text or "¡" in text),
    "french": lambda text: text and "« " in text,
    "german": lambda text: text and ("„" in text or "\u201a" in text),
    "chinese": lambda text: text and re.search("[\u4e00-\u9fff]", text) and "。" in text,
    "arabic": lambda text: text and re.search("[\u0600-\u06ff]", text) and re.search("[\u200e\u202c\u2069]", text),
    "greek": lambda text: text and re.search("[\u037e\u0387]", text),
    "control": lambda text: text and re.search("[\x00-\x08\x7f]", text),
    "unknown": lambda text: text and re.search("Zorblat|Xqzt|Brundle", text),
    "zero_width": lambda text: text and text.startswith("\ufeff") and "\u2060" in text,
    "newlines": lambda text: text and "\n\t" in text and "\r\n" in text,
    "csv": lambda text: text and '""' in text and "," in text,
    "fullwidth": lambda text: text and re.search("[\uff21-\uff5a]{3}", text),
    "long_word": lambda text: text and 5_000 < len(text) < 50_000 and len(text.split()) == 1,
    "huge": lambda text: text and 200_000 <= len(text.encode()) < 205_000,
}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return generate_reviews()


@pytest.fixture(scope="module")
def plain_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = generate_reviews(2_000, odd_texts=False).to_pylist()
    return rows


def mean_stars(rows: list[dict[str, Any]], slug: str, first: date, last: date) -> float:
    return mean(float(r["stars"]) for r in rows if r["product_id"] == slug and first <= r["review_date"] <= last)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(n_reviews=st.integers(0, 99), seed=st.integers(), odd_texts=st.booleans())
def test_any_arguments_give_a_valid_and_repeatable_table(n_reviews: int, seed: int, odd_texts: bool) -> None:
    table = generate_reviews(n_reviews, seed=seed, odd_texts=odd_texts)
    assert table.schema == SCHEMA
    assert table.num_rows == n_reviews
    assert table.equals(generate_reviews(n_reviews, seed=seed, odd_texts=odd_texts))
    table.validate(full=True)
    for row in table.to_pylist():
        assert row["review_id"] > 2**53
        assert FIRST_DAY <= row["review_date"] < FIRST_DAY + timedelta(days=N_DAYS)
        assert row["stars"] in (None, 1, 2, 3, 4, 5)
    assert table["stars"].null_count == (round(0.04 * n_reviews) if odd_texts else 0)


def test_the_seed_matters() -> None:
    assert len({str(generate_reviews(20, seed=seed).to_pydict()) for seed in (-7, 0, 7, 8)}) == 4


def test_ids_are_unique_and_do_not_survive_float64(table: pa.Table) -> None:
    ids = table["review_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert ids[0] == 2**53 + 1
    assert any(int(float(number)) != number for number in ids)


def test_the_dates_span_eight_weeks(table: pa.Table) -> None:
    dates = table["review_date"].to_pylist()
    assert dates == sorted(dates)
    assert (dates[0], dates[-1]) == (date(2026, 9, 1), date(2026, 10, 26))


def test_the_kettle_falls_when_the_leaking_batch_arrives(plain_rows: list[dict[str, Any]]) -> None:
    end = FIRST_DAY + timedelta(days=N_DAYS - 1)
    assert mean_stars(plain_rows, "kettle-k2", FIRST_DAY, LEAK_DAY - timedelta(days=1)) > 4
    assert mean_stars(plain_rows, "kettle-k2", LEAK_DAY, end) < 2
    complaints = [r for r in plain_rows if re.search(r"\bleak|\brust", r["text"], re.IGNORECASE)]
    assert len(complaints) > 50
    assert {r["product_id"] for r in complaints} == {"kettle-k2"}
    assert all(r["review_date"] >= LEAK_DAY and r["stars"] < 3 for r in complaints)


def test_the_vacuum_rises_and_the_others_are_stable(plain_rows: list[dict[str, Any]]) -> None:
    half = FIRST_DAY + timedelta(days=N_DAYS // 2)
    change = {
        product.slug: mean_stars(plain_rows, product.slug, half, date.max)
        - mean_stars(plain_rows, product.slug, FIRST_DAY, half - timedelta(days=1))
        for product in PRODUCTS
    }
    assert change.pop("robot-vacuum") > 0.7
    assert change.pop("kettle-k2") < -1
    assert all(abs(difference) < 0.35 for difference in change.values()), change


def test_normal_texts_are_varied_and_complete(plain_rows: list[dict[str, Any]]) -> None:
    texts = [row["text"] for row in plain_rows]
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) > 0.97 * len(texts)
    assert min(lengths) >= 5
    assert 120 < max(lengths) < 180
    assert not [text for text in texts if re.search(r"[{}]|  |\.\.|(?:^|[.!?] )[a-z]|[^.!?]$", text)]


def test_ratings_in_the_text_agree_with_the_stars(plain_rows: list[dict[str, Any]]) -> None:
    scores = [(int(m[1]), row["stars"]) for row in plain_rows if (m := re.search(r"(\d+)/10", row["text"]))]
    assert {score for score, _ in scores} == set(range(1, 11))
    assert all((score + 1) // 2 == stars for score, stars in scores)


def test_a_part_of_the_reviews_keeps_its_stars_and_nothing_else_changes() -> None:
    whole, part = generate_reviews(600), generate_reviews(600, star_share=0.3)
    assert part.drop_columns(["stars"]) == whole.drop_columns(["stars"])
    kept = part["stars"].is_valid().to_pylist()
    assert 150 < sum(kept) < 210
    assert [one for one, keeps in zip(whole["stars"].to_pylist(), kept) if keeps] == part[
        "stars"
    ].drop_null().to_pylist()
    assert generate_reviews(50, star_share=0)["stars"].null_count == 50
    with pytest.raises(ValueError, match=r"share of stars must be from 0 to 1, but it is 1\.5"):
        generate_reviews(5, star_share=1.5)


@pytest.mark.parametrize("n_reviews", [100, 600])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_each_odd_kind_occurs_and_has_no_stars(kind: str, n_reviews: int, table: pa.Table) -> None:
    odd = (table if n_reviews == 600 else generate_reviews(n_reviews)).filter(pc.field("stars").is_null())
    assert any(LOOKS_LIKE[kind](text) for text in odd["text"].to_pylist())


def test_odd_rows_are_few_and_leave_the_others_alone(table: pa.Table) -> None:
    plain = generate_reviews(odd_texts=False)
    assert table["stars"].null_count == 24
    assert plain["stars"].null_count == plain["text"].null_count == 0
    normal = pc.is_valid(table["stars"])
    assert table.filter(normal).equals(plain.filter(normal))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 0 or more, but it is -1"):
        generate_reviews(-1)


def test_parquet_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "reviews.parquet"
    write_reviews(path, n_reviews=120, seed=3)
    assert pq.read_table(path).equals(generate_reviews(120, seed=3))
    assert pq.ParquetFile(path).metadata.row_group(0).column(4).compression == "ZSTD"


def test_a_csv_is_what_a_shop_exports(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    write_reviews(path, n_reviews=120, seed=3)
    file = look_at(path, path.read_bytes(), wanted=("review_id", "text"))
    assert file.layout.dialect.delimiter == ";"
    table = generate_reviews(120, seed=3)
    assert file.layout.names == tuple(table.column_names)
    written = [tuple("" if value is None else str(value) for value in row.values()) for row in table.to_pylist()]
    assert read_rows(file)[0] == written


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reviews.parquet"
    assert main([str(path), "--rows", "30", "--seed", "5"]) == 0
    assert pq.read_table(path).equals(generate_reviews(30, seed=5))
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        main([str(path), "--rows", "-1"])
