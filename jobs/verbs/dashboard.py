"""Write the dashboard: one HTML page from the marts, which opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable
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

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``dashboard`` verb."""
    parser.add_argument("--marts", required=True, metavar="PATH", help="the output of `sentiment summarize`")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE.html", help="the page; replaced if it is one"
    )
    parser.add_argument("--title", default="Review sentiment", metavar="TEXT", help="default: %(default)s")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a model that scored, for its card, repeatable (default: the bundled one)",
    )


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Write the page; emits its size and what it shows.

    Raises
    ------
    InputError, UsageError
        With an existing page untouched.
    """
    check_html_file(options.output, option="--output")
    with open_marts(options.marts) as marts:
        page, report = _page(marts, options)
    write_html_file(options.output, page, option="--output")
    emit(report | {"output": str(options.output), "bytes": len(page)})
    return (
        f"wrote {options.output} ({len(page) / 1e6:.2f} MB): {report['products']:,} products, "
        f"{report['reviews']:,} reviews"
    )


def _page(marts: OpenMarts, options: argparse.Namespace) -> tuple[bytes, dict[str, Any]]:
    figures, span = read_figures(marts), span_of_days(marts)
    cards = read_cards(options.model, models=figures.models)
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
        "title": options.title,
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
