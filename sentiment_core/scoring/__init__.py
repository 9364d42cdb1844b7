"""Turn texts into probabilities, and name the words that moved them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentiment_core.scoring.scorer import Scorer, Scores, score_by_each

__all__ = ["Scorer", "Scores", "score_by_each"]


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sentiment_core.scoring.scorer"), name)
