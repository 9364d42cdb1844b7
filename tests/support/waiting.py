"""Waiting for what another process does: until it is so, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["MOST_SECONDS", "wait_until"]

# Far beyond what anything takes on a busy machine: it is reached only by what never happens.
MOST_SECONDS = 300.0
_PAUSE_SECONDS = 0.01


def wait_until(condition: Callable[[], object], *, what: str, seconds: float = MOST_SECONDS) -> None:
    """Return as soon as the condition holds.

    Raises
    ------
    TimeoutError
        If it does not hold within the bound; names what was waited for.
    """
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited for {seconds:g} seconds, and it did not happen: {what}")
        time.sleep(_PAUSE_SECONDS)
