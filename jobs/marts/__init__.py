"""Make the tables of dashboards from scores, in native Spark SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from jobs.marts.run import MartReport, summarize
    from jobs.marts.settings import CompareSettings, SummarizeSettings

__all__ = ["CompareSettings", "MartReport", "SummarizeSettings", "summarize"]

__getattr__ = exports(
    __name__, {"CompareSettings": "settings", "MartReport": "run", "SummarizeSettings": "settings", "summarize": "run"}
)
