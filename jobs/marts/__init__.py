"""Make the tables of dashboards from scores, in native Spark SQL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.marts.run import MartReport, summarize
    from jobs.marts.settings import CompareSettings, SummarizeSettings

__all__ = ["CompareSettings", "MartReport", "SummarizeSettings", "summarize"]

_HOMES = {"CompareSettings": "settings", "MartReport": "run", "SummarizeSettings": "settings", "summarize": "run"}


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
