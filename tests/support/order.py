"""The order of the test files: in random order, but long ones first, so that all workers end at about the same time."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from tests.support.seconds import file_of, seconds_of

__all__ = ["long_files_first", "number_of_workers"]

_LONG_SECONDS = 15.0
# Each has a Java of its own, of about 1.5 GB.
_MOST_WORKERS = 4


def long_files_first(items: list[Any]) -> None:
    """Move the tests of long files to the front; pytest-randomly has shuffled them all, and this keeps its order."""
    seconds: Counter[str] = Counter()
    for item in items:
        seconds[file_of(item.nodeid)] += seconds_of(item.nodeid)  # type: ignore[assignment]
    items.sort(key=lambda item: seconds[file_of(item.nodeid)] < _LONG_SECONDS)


def number_of_workers() -> int:
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
