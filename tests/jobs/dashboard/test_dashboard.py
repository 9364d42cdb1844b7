"""The verb `dashboard`: what the page says, against the marts; what it refuses; and that it is one whole file."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from statsmodels.stats.proportion import proportion_confint

from jobs.dashboard.card import read_cards
from jobs.marts.drift import DriftLimits
from sentiment_core.artifact import bundled_model_path, load_model, save_model
from tests.support.made_marts import MODEL, write_last_day, write_marts
from tests.support.models import tiny_model
from tests.support.runs import fill_disk

ROOT = Path(__file__).parents[3]


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script shows."""
    packed = re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', page.read_text())
    assert packed is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed[1])))
    return data


def thousandths(values: Any) -> list[int | None]:
    return [None if value is None else round(value * 1000) for value in values]


@pytest.fixture(scope="module")
def marts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marts(tmp_path_factory.mktemp("made") / "marts", products=["kettle", "<lamp>", "sofa & co", None])


def test_every_number_of_a_product_is_that_of_the_marts(sentiment: Any, marts: Path, tmp_path: Path) -> None:
    code, [report], sentence = sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")
    daily = pq.read_table(marts / "sentiment_daily").to_pandas()
    assert code == 0, sentence
    assert report["products"] == 4
    assert report["reviews"] == daily["reviews"].sum()
    assert report["bytes"] == (tmp_path / "page.html").stat().st_size
    data = data_of(tmp_path / "page.html")["products"]
    names = data["totals"]["name"]
    assert names == ["<lamp>", "kettle", "sofa & co", None]
    first_day = daily["day"].min()
    for place, name in enumerate(names):
        rows = daily[daily["product"].isna() if name is None else daily["product"] == name].sort_values("day")
        total = {column: values[place] for column, values in data["totals"].items()}
        scored, positive = int(rows["scored"].sum()), int(rows["positive"].sum())
        low, high = proportion_confint(positive, scored, method="wilson")
        assert total["reviews"] == rows["reviews"].sum()
        assert [total[one] for one in ("negative", "neutral", "positive", "scored")] == [
            *(rows[one].sum() for one in ("negative", "neutral", "positive")),
            scored,
        ]
        assert [total["share"], total["low"], total["high"]] == thousandths([positive / scored, low, high])
        assert total["labelled"] == scored  # each has a label, and the texts of positive ones a probability of 3/4
        assert [total["by_label"], total["by_text"]] == thousandths([positive / scored, 0.75 * positive / scored])
        last = rows.iloc[-1]
        assert [total["change"], total["change_low"], total["change_high"], total["share_7d"]] == thousandths(
            [last["change_7d"], last["change_7d_low"], last["change_7d_high"], last["estimated_share_7d"]]
        )
        start, end = data["course"]["start"][place : place + 2]
        assert data["step"] == 1
        assert data["course"]["day"][start:end] == [(day - first_day).days for day in rows["day"]]
        for window in ("7d", "28d"):
            assert data["course"][f"scored_{window}"][start:end] == list(rows[f"scored_{window}"])
            for ours, theirs in (("share", ""), ("low", "_low"), ("high", "_high")):
                found = data["course"][f"{ours}_{window}"][start:end]
                assert found == thousandths(rows[f"estimated_share_{window}{theirs}"])


def test_many_days_become_the_last_of_each_week(sentiment: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("jobs.dashboard.products.MOST_POINTS", 30)
    marts = write_marts(tmp_path / "marts", products=["kettle", "lamp"], n_days=30)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    data = data_of(tmp_path / "page.html")["products"]
    assert data["step"] == 7
    assert data["course"]["day"] == [1, 8, 15, 22, 29] * 2
    assert "one point in 7 days" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_the_same_marts_give_the_same_bytes(marts: Path, tmp_path: Path) -> None:
    pages = []
    for seed in ("1", "2"):
        command = [
            sys.executable,
            "-m",
            "jobs.cli",
            "dashboard",
            "--marts",
            str(marts),
            "--output",
            str(tmp_path / seed),
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        pages.append((tmp_path / seed).read_bytes())
    assert pages[0] == pages[1]


def test_a_page_is_one_file_that_allows_itself_and_nothing_else(sentiment: Any, marts: Path, tmp_path: Path) -> None:
    sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html", "--title", "</title><script>alert(1)")
    text = (tmp_path / "page.html").read_text()
    assert "<title>&lt;/title&gt;&lt;script&gt;alert(1)</title>" in text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    allowed = dict(part.split(" ", 1) for part in policy[1].replace("&#39;", "'").split("; "))
    assert allowed["default-src"] == "'none'"
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", allowed["script-src"])) == 2
    assert "unsafe" not in allowed["script-src"] + allowed["style-src-elem"]
    assert not re.search(r"<(?:link|img|iframe|object|embed)\b|@import|url\(", text.partition("<script>")[0])
    script = "".join(path.read_text() for path in (ROOT / "jobs" / "dashboard" / "page").glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)


@pytest.mark.slow
def test_a_year_of_1000_products_with_drivers_stays_below_3_mb(sentiment: Any, tmp_path: Path) -> None:
    products, terms = ([f"{kind}-{n:04d}" for n in range(size)] for kind, size in (("product", 1000), ("term", 60)))
    marts = write_marts(tmp_path / "marts", products=products, n_days=365, n_runs=365, terms=terms)
    code, [report], sentence = sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")
    assert code == 0, sentence
    assert report["products"] == 1000
    assert report["bytes"] < 3_000_000


def test_drivers_are_the_strongest_of_the_last_month_beside_the_month_before(sentiment: Any, tmp_path: Path) -> None:
    terms = [f"term {number}" for number in range(40)]
    marts = write_marts(tmp_path / "marts", products=["kettle", None], terms=terms)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    drivers = data_of(tmp_path / "page.html")["drivers"]
    mart = pq.read_table(marts / "sentiment_drivers").to_pandas().set_index(["product", "kind", "term", "month"])
    assert drivers["start"] == [0, 48, 96]
    for place, product in enumerate(["kettle", None]):
        rows = range(*drivers["start"][place : place + 2])
        for row in rows:
            kind = "pair" if drivers["pair"][row] else "word"
            term = drivers["terms"][drivers["term"][row]]
            now = mart[mart.index.get_level_values("product").isna()] if product is None else mart.loc[[product]]
            now, before = (
                now[(now.index.get_level_values("kind") == kind) & (now.index.get_level_values("term") == term)]
                .xs(month, level="month")
                .iloc[0]
                for month in ("2026-10", "2026-09")
            )
            assert drivers["month"][row] == 2026 * 12 + 9
            assert min(now["rank_positive"], now["rank_negative"], key=lambda rank: rank if rank == rank else 99) <= 12
            assert drivers["sum"][row] == round(100 * now["contribution"])
            assert drivers["sum_before"][row] == round(100 * before["contribution"])
            assert drivers["share_before"][row] == round(1000 * before["review_share"])
            low = drivers["low"][row]
            assert (low is None) == (now["reviews"] == 1)
            assert low is None or low == round(100 * now["contribution_low"])


@pytest.mark.parametrize(("products", "n_days", "n_runs"), [([], 0, 0), ([], 0, 2), (["one"], 1, 1)])
def test_hardly_any_rows(sentiment: Any, tmp_path: Path, products: list[str], n_days: int, n_runs: int) -> None:
    marts = write_marts(tmp_path / "marts", products=products, n_days=max(n_days, n_runs), n_runs=n_runs)
    code, [report], sentence = sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")
    assert (code, report["products"]) == (0, len(products)), sentence


def test_the_card_is_that_of_a_model_that_scored(sentiment: Any, tmp_path: Path) -> None:
    bundled = load_model(bundled_model_path())
    marts = write_marts(tmp_path / "marts", model=bundled.sha256)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    text = (tmp_path / "page.html").read_text()
    assert "<h5>Intended use and limits</h5>" in text
    assert "<td" in text.partition("Quality by slice")[2]
    reliability = data_of(tmp_path / "page.html")["figures"]["reliability"]
    table = bundled.metrics["calibration_table"]
    assert [row["n"] for row in reliability] == [row["n"] for row in table]
    for row in reliability:
        interval = proportion_confint(round(row["positive_share"] * row["n"]), row["n"], method="wilson")
        assert (row["low"], row["high"]) == pytest.approx(interval, abs=1e-6)


def test_a_card_is_no_html(tmp_path: Path) -> None:
    model = tiny_model()
    hostile = "# <script>alert(1)</script>\n\n[a](javascript:alert(1)) ![b](x.svg)\n\n<img src=x onerror=alert(1)>\n"
    object.__setattr__(model, "card", hostile)
    save_model(model, tmp_path / "model")
    [card] = read_cards([tmp_path / "model"], models=[model.sha256])
    assert "<script" not in card.html
    assert "<img" not in card.html
    assert "href" not in card.html
    assert "&lt;img src=x onerror=alert(1)&gt;" in card.html


def drift_sentences(page: Path) -> list[str]:
    """The paragraphs below the heading, as a reader sees them."""
    part = page.read_text().partition("<h3>Drift</h3>")[2].partition("<figure")[0]
    return [" ".join(re.sub("<[^>]*>", "", one).split()) for one in re.findall(r"<p>(.*?)</p>", part, re.DOTALL)]


def test_each_model_of_the_last_day_is_judged_by_name_the_worst_first(sentiment: Any, tmp_path: Path) -> None:
    marts = write_marts(tmp_path / "marts")
    small = {"scored": 700, "week_scored": 480, "psi_week": 0.4}
    rows = {
        "a" * 64: small,
        "b" * 64: {"scored": 900, "week_scored": 9000, "psi_week": 0.01},
        "c" * 64: {"scored": 600, "week_scored": 9000, "psi_week": 0.3},
        "d" * 64: {"scored": 40, "week_scored": None, "psi_week": None},
        "e" * 64: {"scored": 800, "week_scored": 9000, "psi_week": 0.12},
    }
    write_last_day(marts, rows)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    subject = "On 2026-10-31 the stability index of {} against the 7 days before was"
    too_much = "at or above the limit of 0.25: the reviews or the model are others than before."
    too_few = "not judged, since 480 reviews in the 7 days before are too few (500 on both sides are needed)."
    assert drift_sentences(tmp_path / "page.html") == [
        f"{subject.format('c' * 12)} 0.300: {too_much}",
        f"{subject.format('e' * 12)} 0.120: at or above the warning at 0.1.",
        f"{subject.format('b' * 12)} 0.010: below the warning at 0.1.",
        f"{subject.format('a' * 12)} 0.400: {too_few}",
        f"{subject.format('d' * 12)} not known: the model had scored nothing in them.",
    ]
    assert data_of(tmp_path / "page.html")["figures"]["histogram"]["model_sha256"] == "c" * 64
    assert f"Scores of the last 7 days by probability (model {'c' * 12})" in (tmp_path / "page.html").read_text()
    write_last_day(marts, {MODEL: small})
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    assert drift_sentences(tmp_path / "page.html") == [f"{subject.replace(' of {}', '')} 0.400: {too_few}"]


@pytest.mark.slow
def test_the_reliability_is_that_of_the_model_whose_scores_are_drawn(sentiment: Any, tmp_path: Path) -> None:
    bundled, tiny = load_model(bundled_model_path()), tiny_model()
    save_model(tiny, tmp_path / "tiny")
    marts = write_marts(tmp_path / "marts", model=bundled.sha256)
    judged = {"scored": 600, "week_scored": 9000}
    for drifted, shown in ((bundled.sha256, True), (tiny.sha256, False)):
        levels = {sha256: judged | {"psi_week": 0.3 * (sha256 == drifted)} for sha256 in (bundled.sha256, tiny.sha256)}
        write_last_day(marts, levels)
        for models in ([bundled_model_path()], [tmp_path / "tiny", bundled_model_path()]):
            options = [part for path in models for part in ("--model", path)]
            assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html", *options)[0] == 0
            figures = data_of(tmp_path / "page.html")["figures"]
            assert figures["histogram"]["model_sha256"] == drifted
            # The tiny model's card has no calibration table.
            table = bundled.metrics["calibration_table"] if shown else []
            assert [row["n"] for row in figures["reliability"]] == [row["n"] for row in table]
            assert ('id="chart-reliability"' in (tmp_path / "page.html").read_text()) == shown


def test_the_drift_query_judges_by_the_limits_of_the_gate() -> None:
    query, limits = (ROOT / "jobs" / "marts" / "queries" / "drift.sql").read_text(), DriftLimits()
    assert f"psi_week >= {limits.fail} THEN 'fail'" in query
    assert f"psi_week >= {limits.warn} THEN 'warn'" in query
    assert f"least(scored, week_scored) < {limits.min_rows} " in query


def broken_marts(fault: str, root: Path) -> Path:
    marts = write_marts(root / "marts")
    part = next((marts / "sentiment_daily").rglob("*.parquet"))
    match fault:
        case "nothing":
            return root / "nowhere"
        case "no state":
            (marts / "_state.json").unlink()
        case "damaged state":
            (marts / "_state.json").write_text("{")
        case "another version":
            state = json.loads((marts / "_state.json").read_text())
            (marts / "_state.json").write_text(json.dumps(state | {"version": 99}))
        case "missing column":
            for path in (marts / "sentiment_daily").rglob("*.parquet"):
                pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["change_7d"]), path)
        case "another type":
            for path in (marts / "model_daily").rglob("*.parquet"):
                table = pq.read_table(path, partitioning=None)
                place = table.schema.get_field_index("tokens")
                pq.write_table(table.set_column(place, "tokens", table["tokens"].cast("string")), path)
        case "damaged file":
            content = bytearray(part.read_bytes())
            content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
            part.write_bytes(content)
        case "no Parquet":
            part.write_bytes(b"nothing")
    return marts


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nothing", "no marts there; make them with `sentiment summarize --output"),
        ("no state", "no marts there"),
        ("damaged state", "_state.json is damaged"),
        ("another version", "holds marts of version 99"),
        ("missing column", "sentiment_daily: the column 'change_7d' is missing"),
        ("another type", "model_daily: the column 'tokens' is string, expected int64"),
        ("damaged file", "cannot be read"),
        ("no Parquet", "cannot be read"),
    ],
)
def test_marts_that_are_none_are_refused_in_one_sentence(sentiment: Any, tmp_path: Path, fault: str, says: str) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>the old page")
    code, results, sentence = sentiment("dashboard", "--marts", broken_marts(fault, tmp_path), "--output", page)
    assert (code, results) == (3, [])
    assert says in sentence
    assert page.read_text() == "<!doctype html>the old page"
    assert not list(tmp_path.glob(".page*"))


def test_what_cannot_be_opened_or_written_is_refused(sentiment: Any, marts: Path, tmp_path: Path) -> None:
    def refused(*options: object) -> tuple[int, str]:
        code, results, sentence = sentiment("dashboard", *options)
        assert results == []
        return code, sentence

    (tmp_path / "notes.txt").write_text("mine")
    for output, expected, says in (
        (tmp_path, 2, "is a directory; name a file in it, like"),
        (tmp_path / "notes.txt", 2, "exists and is no HTML page"),
        (marts / "_state.json", 2, "exists and is no HTML page"),
        (tmp_path / "notes.txt" / "page.html", 2, "notes.txt is no directory"),
        (tmp_path / ("x" * 300), 3, "cannot be written (File name too long)"),
    ):
        code, sentence = refused("--marts", marts, "--output", output)
        assert (code, says in sentence) == (expected, True), sentence
    code, sentence = refused("--marts", "gopher://host/marts", "--output", tmp_path / "page.html")
    assert (code, "pyarrow cannot open that" in sentence) == (3, True), sentence
    code, sentence = refused("--marts", marts, "--output", tmp_path / "page.html", "--model", bundled_model_path())
    assert (code, f"scored nothing in these marts; models there: {MODEL[:12]}" in sentence) == (3, True), sentence
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_page_that_cannot_be_finished_leaves_the_old_one(
    sentiment: Any, marts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE HTML>the old page")

    fill_disk(monkeypatch, failing="write")
    code, _, sentence = sentiment("dashboard", "--marts", marts, "--output", page)
    monkeypatch.undo()
    assert (code, "No space left on device" in sentence) == (3, True)
    assert page.read_text() == "<!DOCTYPE HTML>the old page"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_uri_is_read_as_the_path_is(sentiment: Any, marts: Path, tmp_path: Path) -> None:
    for name, location in (("path", marts), ("uri", marts.resolve().as_uri())):
        assert sentiment("dashboard", "--marts", location, "--output", tmp_path / name)[0] == 0
    assert (tmp_path / "path").read_bytes() == (tmp_path / "uri").read_bytes()
