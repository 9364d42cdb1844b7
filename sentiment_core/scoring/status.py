"""The values of the column ``score_status``, and which reviews count in shares."""

from __future__ import annotations

from typing import Final

__all__ = ["COUNTED", "EMPTY", "FAILED", "OK", "STATUSES", "TRUNCATED", "UNFAMILIAR", "UNSCORED"]

OK: Final = "ok"
# Scored on the clipped text.
TRUNCATED: Final = "truncated"
# Scored, but the model knows too few of the words for the score to mean anything.
UNFAMILIAR: Final = "unfamiliar"
# No text or no token.
EMPTY: Final = "empty"
# The engine or the text pipeline fails on the text.
FAILED: Final = "failed"

STATUSES = (OK, TRUNCATED, UNFAMILIAR, EMPTY, FAILED)
# Reviews whose scores count in shares, means and histograms.
COUNTED = (OK, TRUNCATED)
# Reviews without probability and label.
UNSCORED = (EMPTY, FAILED)
