"""Compute several items at a time, and give the results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, lanes: int) -> Iterator[Result]:
    """Results in the order of the items.

    Parameters
    ----------
    function : callable
        Called by as many threads as there are lanes; with one lane by the caller's thread, as by `map`.
    items : iterable
        Read in the caller's thread, as many ahead as there are lanes.
    lanes : int
    """
    if lanes == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(lanes) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # after an error nobody wants the others
            for future in waiting:
                future.cancel()
