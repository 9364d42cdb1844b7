"""Write the dashboard: one HTML page from the marts, which opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jobs.dashboard.run import DashboardSettings, make_dashboard
from jobs.verbs.settings import add_option, settings_from

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``dashboard`` verb."""
    add = partial(add_option, parser, DashboardSettings)
    add("marts", metavar="PATH")
    add("output", type=Path, metavar="FILE.html")
    add("title", metavar="TEXT")
    add("model", type=Path, metavar="DIR")


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
