"""Turn texts into probabilities, and name the words that moved them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from sentiment_core.scoring.scorer import Scorer, Scores, score_by_each

__all__ = ["Scorer", "Scores", "score_by_each"]

__getattr__ = exports(__name__, {"Scorer": "scorer", "Scores": "scorer", "score_by_each": "scorer"})
