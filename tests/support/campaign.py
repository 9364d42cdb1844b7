"""Campaigns: checks on very many made-up cases, a part of which runs in each test run.

``make test-integrity`` runs all cases and keeps what it counted in ``build/integrity``.
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parents[2] / "build" / "integrity"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """How many cases a check has, and where its figures go."""

    full: bool

    def size(self, part: int, full: int) -> int:
        return full if self.full else part

    def record(self, name: str, **figures: Any) -> None:
        """Keep the figures of a full run."""
        if self.full:
            FIGURES.mkdir(parents=True, exist_ok=True)
            (FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


class Hung(BaseException):
    """A call did not come back; no `Exception`, which the code under test might handle."""


@contextmanager
def bounded(*, seconds: int, n_bytes: int) -> Iterator[None]:
    """Let a call neither hang (`Hung`) nor take much more memory than this process has (``MemoryError``)."""

    def hung(_signal: int, _frame: object) -> None:
        raise Hung(f"no answer in {seconds} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, hard))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
