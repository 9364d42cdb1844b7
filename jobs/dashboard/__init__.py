"""Write the marts as one HTML page, without Spark."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.dashboard.run import DashboardSettings, make_dashboard

__all__ = ["DashboardSettings", "make_dashboard"]

_HOMES = {"DashboardSettings": "run", "make_dashboard": "run"}


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
