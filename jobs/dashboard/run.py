"""One page from the marts: read them, draw what it shows, write it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.dashboard.card import Card, read_cards
from jobs.dashboard.drivers import driver_columns
from jobs.dashboard.figures import RUNS_LISTED, Figures, read_figures
from jobs.dashboard.html_file import check_html_file, write_html_file
from jobs.dashboard.products import product_columns, span_of_days
from jobs.dashboard.reader import OpenMarts, open_marts
from jobs.dashboard.render import render_page
from jobs.marts.drift import DriftLimits

__all__ = ["DashboardReport", "DashboardSettings", "make_dashboard"]


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    """One page.

    Parameters
    ----------
    marts : str
        Directory of the marts: the output of ``sentiment summarize``.
    output : Path
        The page; a page that is there is replaced.
    title : str
        Of the page.
    model : tuple of Path
        Models that scored, for their cards; by default the bundled one.
    """

    marts: str
    output: Path
    title: str = "Review sentiment"
    model: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DashboardReport:
    """What was written.

    Attributes
    ----------
    products, reviews : int
        What the page shows.
    output : str
    bytes : int
        Size of the page.
    """

    products: int
    reviews: int
    output: str
    bytes: int


def make_dashboard(settings: DashboardSettings) -> DashboardReport:
    """Write the page.

    Raises
    ------
    InputError, UsageError
        With an existing page untouched.
    """
    check_html_file(settings.output, option="--output")
    with open_marts(settings.marts) as marts:
        page, shown = _page(marts, settings)
    write_html_file(settings.output, page, option="--output")
    return DashboardReport(**shown, output=str(settings.output), bytes=len(page))


def _page(marts: OpenMarts, settings: DashboardSettings) -> tuple[bytes, dict[str, int]]:
    figures, span = read_figures(marts), span_of_days(marts)
    cards = read_cards(settings.model, models=figures.models)
    drawn = _drawn(figures, cards)
    data: dict[str, Any] = {"figures": drawn, "products": None, "drivers": None}
    n_products = n_reviews = 0
    if span:
        data |= {"first_day": span[0], "last_day": span[1]}
        data["products"] = product_columns(marts, first_day=span[0])
        n_products = len(data["products"]["totals"]["name"])
        n_reviews = sum(data["products"]["totals"]["reviews"])
        data["drivers"] = driver_columns(marts, n_products=n_products)
    content = {
        "title": settings.title,
        "version": version("sentiment-warehouse"),
        "figures": figures,
        "runs_listed": RUNS_LISTED,
        "cards": cards,
        "reliability": drawn["reliability"],
        "span": span,
        "n_products": n_products,
        "n_reviews": n_reviews,
        "step": data["products"]["step"] if span else None,
        "labelled": figures.labelled,
    }
    return render_page(content, data=data), {"products": n_products, "reviews": n_reviews}


def _drawn(figures: Figures, cards: list[Card]) -> dict[str, Any]:
    """What the page draws of the figures."""
    limits, histogram = DriftLimits(), figures.histogram
    shown = [card for card in cards if histogram and card.sha256 == histogram["model_sha256"]]
    return {
        "trend": figures.trend,
        "histogram": histogram,
        "reliability": shown[0].reliability if shown else [],
        "drift": [
            {name: row[name] for name in ("day", "model_sha256", "psi_week", "psi_validation", "week_level", "scored")}
            for row in figures.drift
        ],
        "limits": {"warn": limits.warn, "fail": limits.fail},
        "runs": [
            {name: row[name] for name in ("run_id", "run_date", "reviews", "reviews_per_second", "model_sha256")}
            for row in figures.timed_runs
        ],
    }
