"""Write the marts as one HTML page, without Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from jobs.dashboard.run import DashboardSettings, make_dashboard

__all__ = ["DashboardSettings", "make_dashboard"]

__getattr__ = exports(__name__, {"DashboardSettings": "run", "make_dashboard": "run"})
