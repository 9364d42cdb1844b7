"""Score a table in one run: read, group, score, audit, publish."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.scoring.report import ScoreReport
    from jobs.scoring.run import score
    from jobs.scoring.settings import BackfillSettings, ScoreSettings

__all__ = ["BackfillSettings", "ScoreReport", "ScoreSettings", "score"]

_HOMES = {"BackfillSettings": "settings", "ScoreReport": "report", "ScoreSettings": "settings", "score": "run"}


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
