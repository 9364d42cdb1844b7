"""Names that are markup and scripts, from the review table through every verb to the page: text, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect
from pyspark.sql import SparkSession

from tests.support.browser import Watched, opened_browser
from tests.support.made_marts import write_mart, write_marts
from tests.support.payloads import PAYLOADS

PAGE_ROWS = 25
DAYS = [date(2026, 10, 1) + timedelta(number) for number in (0, 9, 25, 31)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as browser:
        yield browser


def hash_of(name: str, it: Page) -> str:
    return f"#product={it.evaluate('encodeURIComponent', name)}"


def assert_shown_as_text(watched: Watched, names: tuple[str, ...], *, terms: bool) -> None:
    """Each name in the table and on a page of its own, where its terms are too, as it was."""
    it = watched.page
    shown = it.locator("#product-table tbody th bdi")
    listed: list[str] = []
    for first in range(1, len(names) + 1, PAGE_ROWS):
        last = min(first + PAGE_ROWS - 1, len(names))
        expect(it.locator("#page")).to_have_text(f"{first} to {last}")
        expect(shown).to_have_count(last - first + 1)
        listed += shown.all_text_contents()
        if last < len(names):
            it.locator("#next").click()
    expect(it.locator("#next")).to_be_disabled()
    assert sorted(listed) == sorted(names)
    for name in names:
        it.evaluate("hash => { location.hash = hash; }", hash_of(name, it))
        it.wait_for_function(
            "name => document.querySelector('#product-title bdi')?.textContent === name"
            " && document.querySelector('#chart-course svg')",
            arg=name,
        )
        if terms:
            it.locator("#drivers tbody th").first.hover()
            expect(it.locator("#drivers tbody th bdi")).to_have_count(24)
            assert set(it.locator("#drivers tbody th bdi").all_text_contents()) <= set(PAYLOADS)
    hostile = it.locator("main script, main img, main iframe, main object, main base, main link, main style")
    expect(hostile).to_have_count(0)
    assert "owned" not in it.evaluate("document.title").replace("document.title='owned'", "")
    watched.assert_quiet()


def test_there_are_60_of_them() -> None:
    assert len(set(PAYLOADS)) == 60


@pytest.mark.slow
def test_payloads_go_through_the_whole_pipeline_as_text(
    spark: SparkSession, sentiment: Any, browser: Browser, model_path: Path, tmp_path: Path
) -> None:
    rows = [(name, day) for name in PAYLOADS for day in DAYS]
    reviews = pa.table(
        {
            "review_id": range(len(rows)),
            "product_id": [name for name, _ in rows],
            "review_date": [day for _, day in rows],
            "text": [f"{name} is good, it leaks {name}" for name, _ in rows],
        }
    )
    pq.write_table(reviews, tmp_path / "reviews.parquet")
    scores, marts, page = (tmp_path / name for name in ("scores", "marts", "page.html"))
    kept = ("--keep-columns", "product_id,review_date", "--run-date", "2026-11-01")
    for verb, *options in (
        ("score", "--input", tmp_path / "reviews.parquet", "--output", scores, "--model", model_path, *kept),
        ("summarize", "--scores", scores, "--output", marts, "--date-column", "review_date"),
        ("dashboard", "--marts", marts, "--output", page, "--model", model_path),
    ):
        code, _, sentence = sentiment(verb, *options)
        assert code == 0, sentence
    with Watched(browser, page) as watched:
        assert_shown_as_text(watched, PAYLOADS, terms=False)


def test_payloads_as_terms_and_runs_are_text(
    sentiment: Any, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.dashboard.run.RUNS_LISTED", len(PAYLOADS))
    marts = write_marts(tmp_path / "marts", products=PAYLOADS[:3], terms=PAYLOADS, n_runs=0)
    runs = {name: list(PAYLOADS) for name in ("run_id", "engine", "precision", "devices")}
    runs |= {"run_date": [DAYS[0]] * len(PAYLOADS), "model_sha256": ["cd" * 32] * len(PAYLOADS)}
    runs["reviews_per_second"] = [60.0] * len(PAYLOADS)
    write_mart(marts, "run_history", runs, months=["2026-10"] * len(PAYLOADS))
    code, _, sentence = sentiment(
        "dashboard", "--marts", marts, "--output", tmp_path / "page.html", "--title", PAYLOADS[0]
    )
    assert code == 0, sentence
    with Watched(browser, tmp_path / "page.html") as watched:
        table = watched.page.locator("#runs table").first
        for cells in (table.locator("tbody th code"), table.locator("tbody td:nth-child(7)")):
            expect(cells).to_have_count(len(PAYLOADS))
            assert sorted(cells.all_text_contents()) == sorted(PAYLOADS)
        assert watched.page.locator(".title").text_content() == PAYLOADS[0]
        watched.page.locator("#chart-runs summary").click()
        drawn = watched.page.locator("#chart-runs tbody td:first-child")
        expect(drawn).to_have_count(len(PAYLOADS))
        assert set(drawn.all_text_contents()) == set(PAYLOADS)
        assert_shown_as_text(watched, PAYLOADS[:3], terms=True)
