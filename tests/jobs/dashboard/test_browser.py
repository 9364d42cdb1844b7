"""The dashboard in a browser: it works by mouse and keyboard, for everyone, on any screen, and asks for nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.dashboard import DashboardSettings, make_dashboard
from jobs.dashboard.reader import OpenMarts
from jobs.dashboard.render import render_page
from sentiment_core.artifact import bundled_model_path, load_model
from tests.support.browser import Watched, opened_browser
from tests.support.made_marts import write_marts

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
TERMS = [*(f"term {number}" for number in range(30)), "very-" * 12, "two words"]
slow = partial(pytest.param, marks=pytest.mark.slow)
NAMES = ["kettle", "lamp", "robot vacuum", "sofa & co", "x" * 80, None]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def marts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    sha256 = load_model(bundled_model_path()).sha256
    return write_marts(root / "marts", products=NAMES, n_days=40, n_runs=12, model=sha256, terms=TERMS, labelled=True)


@pytest.fixture(scope="module")
def page(marts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    page = tmp_path_factory.mktemp("page") / "page.html"
    make_dashboard(DashboardSettings(marts=str(marts), output=page))
    return page


def expect_products(page: Page, names: list[str]) -> None:
    """The table lists these products, in this order, and no other."""
    expect(page.locator("#product-table tbody th a")).to_have_text(names)


def numbers(cells: Locator) -> list[float]:
    """The first number of each cell; what is not known is left out."""
    texts = [
        text.split("\n")[0].removesuffix(" %").replace(",", "").replace("\u2212", "-")
        for text in cells.all_inner_texts()
    ]
    return [float(text) for text in texts if text != "\u2013"]


def test_products_are_searched_sorted_chosen_and_opened(browser: Browser, page: Path, marts: Path) -> None:
    with Watched(browser, page, **VIEWS["light"]) as watched:
        it = watched.page
        expect(it.locator("#found")).to_have_text("6 of 6 products")
        for name in ("reviews", "share", "by_label", "share_7d", "change", "trend"):
            for expected in ("descending", "ascending"):
                if not (name == "reviews" and expected == "descending"):  # how it begins
                    it.locator(f"button[data-sort={name}]").click()
                head = it.locator(f"th:has(button[data-sort={name}])")
                expect(head).to_have_attribute("aria-sort", expected)
                expect(it.locator("th[aria-sort]")).to_have_count(1)
                place = head.evaluate("head => head.cellIndex")
                found = numbers(it.locator(f"#product-table tbody tr > :nth-child({place + 1})"))
                assert found == sorted(found, reverse=expected == "descending")
        it.locator("button[data-sort=name]").focus()
        it.keyboard.press("Enter")
        expect_products(it, ["kettle", "lamp", "robot vacuum", "sofa & co", "x" * 80, "without a name"])
        it.locator("#search").fill("  O")
        expect_products(it, ["robot vacuum", "sofa & co", "without a name"])
        expect(it.locator("#found")).to_have_text("3 of 6 products")
        it.locator("#search").fill("no such thing")
        expect_products(it, [])
        expect(it.locator("#page")).to_have_text("none")
        it.locator("#search").fill("")
        it.locator("#show").select_option("falling")
        daily = pq.read_table(marts / "sentiment_daily").to_pandas()
        last = daily[daily["day"] == daily["day"].max()]
        falling = int((last["change_7d_high"] < 0).sum())
        expect(it.locator("#found")).to_have_text(f"{falling} of 6 products")
        expect(it.locator("#product-table tbody th a")).to_have_count(falling)
        it.locator("#show").select_option("all")
        it.get_by_role("link", name="sofa & co").press("Enter")
        it.wait_for_selector("#chart-course svg")
        assert it.evaluate("location.hash") == "#product=sofa%20%26%20co"
        expect(it.locator("#product-title")).to_be_focused()
        expect(it).to_have_title(re.compile("^sofa & co"))
        expect(it.locator("#overview")).to_be_hidden()
        terms = it.locator("#drivers table").first.locator("tbody th")
        expect(terms).to_have_count(12)
        lowered = terms.all_inner_texts()
        it.get_by_label("pairs").check()
        expect(terms).to_have_text(lowered)
        before = it.locator("#chart-course .mark-area path").first.get_attribute("d")
        it.get_by_label("28 days").check()
        it.wait_for_function(
            "before => document.querySelector('#chart-course .mark-area path')?.getAttribute('d') !== before",
            arg=before,
        )
        it.go_back()
        expect(it.locator("#overview")).to_be_visible()
        expect(it.locator("#product")).to_be_hidden()
        expect(it.get_by_role("link", name="sofa & co")).to_be_focused()
        it.evaluate("() => { location.hash = '#product=no%such&thing'; }")
        expect(it.locator("#product")).to_contain_text("no product of this name")
        it.evaluate("() => { location.hash = '#product=sofa & co'; }")
        it.wait_for_selector("#chart-course svg")
        it.locator(".back").click()
        it.wait_for_selector("#overview", state="visible")
        watched.assert_quiet()


@pytest.mark.parametrize("section", ["overview", "runs", *map(slow, ["products", "model", "quality"])])
def test_a_link_on_a_products_page_goes_where_it_says(browser: Browser, page: Path, section: str) -> None:
    with Watched(browser, page, **VIEWS["light"]) as watched:
        it = watched.page
        it.get_by_role("link", name="sofa & co").click()
        it.wait_for_selector("#chart-course svg")
        it.locator(".skip").press("Enter")
        it.wait_for_function("() => location.hash === '#main'")
        expect(it.locator("#product-title")).to_be_visible()
        expect(it.locator("#overview")).to_be_hidden()
        expect(it).to_have_title(re.compile("^sofa & co"))
        expect(it.locator("#main")).to_be_focused()
        it.locator(f"nav a[href='#{section}']").click()
        expect(it.locator("#overview")).to_be_visible()
        expect(it.locator("#product")).to_be_hidden()
        expect(it).to_have_title("Review sentiment")
        # At the top of the window, or as far up as the end of the page lets it.
        top = f"document.getElementById('{section}').getBoundingClientRect().top"
        at_the_end = "scrollY + innerHeight >= document.documentElement.scrollHeight - 1"
        it.wait_for_function(f"() => Math.abs({top}) < 100 || ({at_the_end} && {top} > 0 && {top} < innerHeight)")
        focused = it.evaluate("document.activeElement.textContent")
        assert (focused == "sofa & co") == (section == "products")
        watched.assert_quiet()


def test_a_line_is_broken_where_no_window_reaches_and_not_by_the_thinning(
    browser: Browser, sentiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.dashboard.products.MOST_POINTS", 5)
    marts = write_marts(tmp_path / "marts", products=["kettle", "lamp"], n_days=60)  # a point in 28 days
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    with Watched(browser, tmp_path / "page.html", fragment="#product=kettle", **VIEWS["light"]) as watched:
        it = watched.page
        it.locator("#chart-course summary").click()
        expect(it.locator("#chart-course tbody tr")).to_have_count(3)
        line = it.locator("#chart-course .mark-line path").first.get_attribute("d") or ""
        assert line.count("M") == 1
        assert line.count("L") == 2
        for step, days, broken in ((1, 7, False), (1, 8, True), (7, 13, False), (7, 14, True)):
            drawn = it.evaluate(
                """([step, days]) => {
                  const row = (time) => ({ time, share: 0.5, low: 0.4, high: 0.6 });
                  const { spec } = shareOverTime({ rows: [row(0), row(days * DAY)], days: 7, step, label: "" });
                  return spec.data.values.map((one) => one.share === null || one.alone);
                }""",
                [step, days],
            )
            assert drawn == ([True] * 3 if broken else [False] * 2), (step, days)
        watched.assert_quiet()


@pytest.mark.slow
def test_a_week_without_scores_is_not_drawn(
    browser: Browser, sentiment: Any, marts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = OpenMarts.question

    def question(self: OpenMarts, name: str) -> list[dict[str, Any]]:
        nothing = {"share_before": None} if name == "moved_scores" else {}
        return [row | nothing for row in ask(self, name)]

    for before in (True, False):
        if not before:
            monkeypatch.setattr(OpenMarts, "question", question)
        assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
        with Watched(browser, tmp_path / "page.html", **VIEWS["light"]) as watched:
            chart = watched.page.locator("#chart-histogram")
            chart.locator("summary").click()
            chart.locator("tbody tr").first.wait_for()
            heads = ["Probability", "Last 7 days", *(["7 days before"] if before else []), "Validation"]
            expect(chart.locator("thead th")).to_have_text(heads)
            assert ("7 days before" in chart.locator(".legend").inner_text()) == before
            label = chart.locator("[role=graphics-document]").get_attribute("aria-label") or ""
            assert label.startswith("Share of the scored reviews")
            assert ("week before" in label) == before
            # A rule in each of 15 steps.
            expect(chart.locator("svg .mark-rule.role-mark line")).to_have_count(30 if before else 15)
            chart.locator("svg .mark-rect path").last.hover(force=True)
            tooltip = watched.page.locator("#vg-tooltip-element.visible")
            expect(tooltip).to_contain_text("last 7 days")
            assert ("7 days before" in tooltip.inner_text()) == before
            watched.assert_quiet()


@pytest.mark.parametrize("name", ["sofa & co", None, *map(slow, ["kettle", "robot vacuum", "x" * 80])])
def test_a_products_link_opens_it_and_its_table_says_what_its_chart_shows(
    browser: Browser, page: Path, marts: Path, name: str | None
) -> None:
    link = "#product-without-name" if name is None else f"#product={name.replace(' ', '%20').replace('&', '%26')}"
    with Watched(browser, page, fragment=link, **VIEWS["narrow"]) as watched:
        it = watched.page
        expect(it.locator("#product-title bdi, #product-title i").first).to_have_text(name or "without a name")
        it.locator("#chart-course summary").click()
        daily = pq.read_table(marts / "sentiment_daily").to_pandas()
        rows = daily[daily["product"].isna() if name is None else daily["product"] == name].sort_values("day")
        expect(it.locator("#chart-course tbody tr")).to_have_count(len(rows))
        shown = it.locator("#chart-course tbody tr").all_inner_texts()
        assert [line.split("\t")[0] for line in shown] == [str(day) for day in rows["day"]]
        for line, (_, row) in zip(shown, rows.iterrows()):
            low, high = row["estimated_share_7d_low"], row["estimated_share_7d_high"]
            percents = [f"{round(1000 * value) / 10:.1f}" for value in (row["estimated_share_7d"], low, high)]
            assert line.split("\t")[1:3] == [f"{percents[0]} %", f"{percents[1]} to {percents[2]} %"]
        watched.assert_quiet()


def test_hovering_says_what_a_point_is(browser: Browser, page: Path) -> None:
    with Watched(browser, page, **VIEWS["light"]) as watched:
        for chart, says in (
            ("trend", "95 % interval"),
            ("volume", "reviews"),
            ("histogram", "7 days before"),
            ("reliability", "held-out reviews"),
            ("drift", "against the week before"),
            ("runs", "reviews/s"),
        ):
            mark = watched.page.locator(
                f"#chart-{chart} svg .mark-symbol path, #chart-{chart} svg .mark-rect path"
            ).last
            mark.scroll_into_view_if_needed()
            mark.hover(force=True)
            tooltip = watched.page.locator("#vg-tooltip-element.visible")
            expect(tooltip, chart).to_contain_text(says)
            watched.page.mouse.move(1, 1)
            expect(tooltip).to_be_hidden()
        watched.assert_quiet()


@pytest.mark.parametrize(
    ("view", "fragment"),
    [("narrow", ""), ("dark", "#product=kettle"), slow("light", ""), slow("narrow", "#product=kettle")],
)
def test_the_rules_of_accessibility_hold(browser: Browser, page: Path, view: str, fragment: str) -> None:
    with Watched(browser, page, fragment=fragment, **VIEWS[view]) as watched:
        watched.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        watched.page.wait_for_selector(".as-table[open] table", state="attached")
        found = Axe().run(watched.page)
        assert found.violations_count == 0, found.generate_report()
        width = watched.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        watched.assert_quiet()


CUT = """
() => [...document.querySelectorAll('main .scroll, main table')]
  .filter((one) => one.offsetParent && one.scrollWidth > one.parentElement.clientWidth + 1)
  .map((one) => one.getAttribute('aria-label') ?? one.id)
"""


@pytest.mark.parametrize("fragment", ["", slow("#product=kettle"), slow("#product=" + "x" * 80)])
def test_no_table_is_cut_on_a_phone_or_on_paper(browser: Browser, page: Path, fragment: str) -> None:
    phone, paper = {"width": 390, "height": 844}, {"width": 718, "height": 1000}  # A4 within its margins
    for viewport in (phone, paper):
        with Watched(browser, page, fragment=fragment, viewport=viewport) as watched:
            it = watched.page
            if viewport is phone:
                it.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
                it.wait_for_selector(".as-table[open] table", state="attached")
            else:
                it.emulate_media(media="print")
            assert it.evaluate(CUT) == []
            width = it.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] <= width[1]
            if viewport is phone and not fragment:
                cell = it.locator("#runs table.stacks tbody td").first
                expect(cell).to_have_attribute("data-head", "Reviews")
            watched.assert_quiet()


def test_the_three_labels_are_one_bar_in_overview_table_and_product(browser: Browser, page: Path, marts: Path) -> None:
    daily = pq.read_table(marts / "sentiment_daily").to_pandas()
    week = daily[daily["day"] > daily["day"].max() - timedelta(7)]
    kettle = daily[daily["product"] == "kettle"]
    names = ["negative", "neutral", "positive"]

    def expect_bar(bar: Locator, rows: Any) -> None:
        widths = [float(rect.get_attribute("width") or 0) for rect in bar.locator("rect").all()]
        total = sum(rows[name].sum() for name in names)
        assert widths == pytest.approx([1000 * rows[name].sum() / total for name in names])
        assert [rect.get_attribute("class") for rect in bar.locator("rect").all()] == names

    with Watched(browser, page, **VIEWS["light"]) as watched:
        it = watched.page
        expect_bar(it.locator("#overview .bar-of-labels"), week)
        expect(it.locator("#overview .labels .legend")).to_contain_text(f"({week['neutral'].sum()})")
        row = it.locator("#product-table tbody tr", has=it.get_by_role("link", name="kettle"))
        expect_bar(row.locator(".bar-of-labels"), kettle)
        expect(row.locator(".labels-cell")).to_contain_text(f"{kettle['negative'].sum()} negative")
        row.get_by_role("link").click()
        expect_bar(it.locator("#product .bar-of-labels"), kettle)
        expect(it.locator("#product .labels .legend")).to_contain_text(f"({kettle['positive'].sum()})")
        watched.assert_quiet()


@pytest.mark.parametrize("labelled", [True, False])
def test_the_page_says_what_is_estimated_and_from_how_many_labels(
    browser: Browser, sentiment: Any, tmp_path: Path, labelled: bool
) -> None:
    marts = write_marts(tmp_path / "marts", labelled=labelled)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    daily = pq.read_table(marts / "sentiment_daily").to_pandas()
    known, of_lamp = daily["labelled_count"].sum(), daily[daily["product"] == "lamp"]
    sums = {name: float(sum(row[name] for row in of_lamp["label_sums"])) for name in ("w", "wy", "wp")}
    with Watched(browser, tmp_path / "page.html", **VIEWS["light"]) as watched:
        it = watched.page
        overview = it.locator("#overview")
        expect(overview.locator(".lead")).to_contain_text("an estimated")
        says = f"corrected by {known:,} known labels" if labelled else "no label is known"
        expect(overview.locator(".note").first).to_contain_text(re.sub(r"\s+", " ", says))
        expect(overview.get_by_text("positive by their label")).to_have_count(int(labelled))
        expect(it.locator("[data-sort=by_label]")).to_have_count(int(labelled))
        it.get_by_role("link", name="lamp").click()
        expect(it.locator("#product .lead")).to_contain_text("An estimated")
        note, facts = it.locator("#product .note").first, it.locator("#product .facts")
        if labelled:
            expect(note).to_contain_text(
                f"corrected by {of_lamp['labelled_count'].sum():,} known labels of this product"
            )
            expect(facts).to_contain_text(f"{round(1000 * sums['wy'] / sums['w']) / 10:.1f} %")
            expect(facts).to_contain_text(f"by their text {round(1000 * sums['wp'] / sums['w']) / 10:.1f} %")
        else:
            expect(note).to_contain_text("No label of this product is known")
            expect(facts).not_to_contain_text("by label")
        watched.assert_quiet()


def test_the_colours_follow_the_system_until_they_are_chosen(browser: Browser, page: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with Watched(browser, page, **VIEWS["dark"]) as watched:
        it = watched.page
        dark = it.evaluate(paper)
        it.emulate_media(color_scheme="light")
        expect(it.locator("#theme")).to_have_text("Dark colours")
        light = it.evaluate(paper)
        assert light != dark
        it.locator("#theme").click()
        expect(it.locator("#theme")).to_have_text("Light colours")
        assert it.evaluate(paper) == dark
        it.reload()
        it.wait_for_selector("html[data-ready]", state="attached")
        assert it.evaluate(paper) == dark
        it.emulate_media(media="print")
        assert it.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        expect(it.locator("#tools")).to_be_hidden()
        assert len(it.pdf(format="A4")) > 10_000
        watched.assert_quiet()


@pytest.mark.parametrize("products", [[], ["one"]], ids=["none", "one"])
def test_hardly_any_rows_are_a_page_too(browser: Browser, sentiment: Any, tmp_path: Path, products: list[str]) -> None:
    marts = write_marts(tmp_path / "marts", products=products, n_days=len(products), n_runs=len(products))
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    with Watched(browser, tmp_path / "page.html", **VIEWS["narrow"]) as watched:
        text = watched.page.locator("main").inner_text()
        assert ("The marts hold no reviews yet" in text) == (not products)
        assert "NaN" not in text
        assert "undefined" not in text
        if products:
            watched.page.get_by_role("link", name="one").click()
            watched.page.wait_for_selector("#chart-course svg")
            expect(watched.page.locator("#drivers")).to_contain_text("hold no drivers")
        assert Axe().run(watched.page).violations_count == 0
        watched.assert_quiet()


@pytest.mark.slow
def test_10000_products_stay_usable(browser: Browser, sentiment: Any, tmp_path: Path) -> None:
    names = [f"product {number:05d}" for number in range(10_000)]
    marts = write_marts(tmp_path / "marts", products=names, n_days=3, n_runs=2)
    assert sentiment("dashboard", "--marts", marts, "--output", tmp_path / "page.html")[0] == 0
    with Watched(browser, tmp_path / "page.html", **VIEWS["light"]) as watched:
        it = watched.page
        expect(it.locator("#found")).to_have_text("10,000 of 10,000 products")
        expect(it.locator("#product-table tbody tr")).to_have_count(25)
        it.locator("button[data-sort=name]").click()
        it.locator("#next").click()
        expect(it.locator("#page")).to_have_text("26 to 50")
        expect_products(it, [f"product {number:05d}" for number in range(25, 50)])
        it.locator("#search").fill("09999")
        expect_products(it, ["product 09999"])
        it.get_by_role("link", name="product 09999").click()
        it.wait_for_selector("#chart-course svg")
        watched.assert_quiet()


def test_a_script_of_a_page_that_was_changed_does_not_run(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The policy does what it says: what is not ours does not run, and what is asked for is not sent."""
    evil = (
        "<script>document.title = 'owned'</script><img src='https://example.org/x' onerror=\"document.title='owned'\">"
    )
    (tmp_path / "changed.html").write_text(page.read_text().replace("</main>", f"{evil}</main>"))
    with Watched(browser, tmp_path / "changed.html", **VIEWS["light"]) as watched:
        watched.wait_for_complaint("Content Security Policy")
        assert watched.page.title() == "Review sentiment"


def test_a_browser_that_cannot_says_so(browser: Browser, page: Path) -> None:
    context = browser.new_context()
    context.add_init_script("delete globalThis.DecompressionStream")
    it = context.new_page()
    it.goto(page.resolve().as_uri())
    expect(it.locator("text=They need a browser of 2024 or newer")).to_be_visible()
    expect(it.locator("#overview .lead")).to_be_visible()
    context.close()


def test_data_that_are_no_json_are_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        render_page({}, data={"share": float("nan")})
    assert json.dumps(None) == "null"
