"""Score a table in one run: read, group, score, audit, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from jobs.scoring.report import ScoreReport
    from jobs.scoring.run import score
    from jobs.scoring.settings import BackfillSettings, ScoreSettings

__all__ = ["BackfillSettings", "ScoreReport", "ScoreSettings", "score"]

__getattr__ = exports(
    __name__, {"BackfillSettings": "settings", "ScoreReport": "report", "ScoreSettings": "settings", "score": "run"}
)
