"""Ways to break the product, by which the matrix shows that it would notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["SABOTAGE"]


def _naive_overwrite(module: Any) -> None:
    """Publish as Spark overwrites: delete, then rename."""

    def put(self: Any, staging: str) -> None:
        for name in self._journal(staging, "publish.json"):
            self._fs.delete(name)
            time.sleep(0.2)  # as long as many files take
            self._fs.rename(f"{staging}/data/{name}", name)

    module.Publication.put = put


def _no_lock(module: Any) -> None:
    """Let everybody in."""

    def take(self: Any) -> None:
        self._renewed = self._fs.modified(self._path)

    module.OutputLock.take = take


def _no_retry(module: Any) -> None:
    """Try each task once, as Spark does on one machine."""
    module.retrying = lambda master, max_failures: master


def _no_isolation(module: Any) -> None:
    """Keep the engine in the worker, whatever happened to the one before."""
    start = module.Scorer.__init__
    module.Scorer.__init__ = lambda self, model, *, isolated=False, **options: start(self, model, **options)


def _double_rows(module: Any) -> None:
    """Score a retried task's rows twice, and audit nothing."""
    score = module.score_table
    module.score_table = lambda *arguments, **options: (frame := score(*arguments, **options)).union(frame.limit(1))


def _blind_audit(module: Any) -> None:
    """Believe whatever was written."""
    module.RowDigest.__eq__ = lambda self, other: True


SABOTAGE: dict[str, list[tuple[str, Callable[[Any], None]]]] = {
    "naive overwrite": [("jobs.publishing.publication", _naive_overwrite)],
    "no lock": [("jobs.publishing.lock", _no_lock)],
    "no retry": [("jobs.spark.session", _no_retry)],
    "no isolation": [("sentiment_core.scoring.scorer", _no_isolation)],
    "blind audit, a row twice": [("jobs.scoring.audit", _blind_audit), ("jobs.scoring.grouping", _double_rows)],
}
