"""Write the dashboard: one HTML page from the marts, which opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.dashboard.run import DashboardSettings, make_dashboard
from jobs.verbs.settings import settings_from

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
    report = make_dashboard(settings_from(options, DashboardSettings))
    emit(asdict(report))
    return (
        f"wrote {report.output} ({report.bytes / 1e6:.2f} MB): {report.products:,} products, {report.reviews:,} reviews"
    )
