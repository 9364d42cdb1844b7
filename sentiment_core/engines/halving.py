"""Find the rows on which a computation fails, by halving, and compute the others.

A text that an engine cannot score must not cost the texts beside it their scores. Only a row that fails twice on its
own has failed, so that a fault of the machine which passes leaves no mark; and what fails on every row is no row's
fault.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sentiment_core.errors import AuditError, EnvironmentFault, SentimentError

__all__ = ["FAILURES", "Halving", "RowFailure", "Rows", "reason_of"]

# Why a row has no score: not a number, the process died, no memory, no answer in time, or an exception.
FAILURES = ("non_finite", "crash", "memory", "hang", "error")
# What libraries say instead of raising a MemoryError: CUDA, cuBLAS and cuDNN, MXNet, ONNX Runtime, C++.
_OUT_OF_MEMORY = ("out of memory", "status_alloc_failed", "bad_alloc", "failed to allocate", "cannot allocate memory")

Rows = npt.NDArray[np.int64]
Result = TypeVar("Result")


class RowFailure(Exception):  # noqa: N818, it is caught here and never shown
    """A computation failed for a known reason, one of `FAILURES`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Halving:
    """Computes rows, in halves where the whole fails.

    Parameters
    ----------
    what : str
        Names the computation, for the error.
    probe : callable
        The computation on a row that is known to be harmless.
    most_failed : int
        Rows that may fail: to find each costs many computations, and where the process dies, as many starts.

    Attributes
    ----------
    failed : dict of int to str
        Rows that have no result, each with one of `FAILURES`.
    errors : dict of int to Exception
        What the computation raised on them.
    reasons : set of str
        Every reason for which a computation failed, of however many rows.
    """

    def __init__(self, what: str, *, probe: Callable[[], object], most_failed: int = sys.maxsize) -> None:
        self._what = what
        self._probe = probe
        self._most_failed = most_failed
        self._probed = False
        self.failed: dict[int, str] = {}
        self.errors: dict[int, Exception] = {}
        self.reasons: set[str] = set()

    def results(self, compute: Callable[[Rows], Result], rows: Rows) -> Iterator[tuple[Rows, Result]]:
        """Results of the rows that have one, part by part, in order.

        Raises
        ------
        EnvironmentFault
            If the computation fails on harmless rows as well.
        AuditError
            If more rows fail than may.
        """
        error = self.attempt(compute, rows)
        if not isinstance(error, Exception):
            yield rows, error
            return
        if len(rows) > 1:
            middle = len(rows) // 2
            del error  # its frames hold what was computed, on a GPU perhaps
            yield from self.results(compute, rows[:middle])
            yield from self.results(compute, rows[middle:])
            return
        again = self.attempt(compute, rows)
        if not isinstance(again, Exception):
            yield rows, again
            return
        reason = reason_of(again)
        if reason != "non_finite" and not self._probed:
            self._probed = True
            fault = self.attempt(lambda _: self._probe(), rows)
            if isinstance(fault, Exception):
                raise EnvironmentFault(
                    f"{self._what} fails on every text ({reason_of(fault)}, {type(fault).__name__}); check it with "
                    "`sentiment doctor`"
                ) from fault
        self.failed[int(rows[0])] = reason
        if len(self.failed) > self._most_failed:
            reasons = dict(Counter(self.failed.values()))
            raise AuditError(
                f"more than {self._most_failed:,} texts failed {reasons}, more than --max-failed-ratio allows; nothing "
                "was published"
            )
        self.errors[int(rows[0])] = again

    def attempt(self, compute: Callable[[Rows], Result], rows: Rows) -> Result | Exception:
        """The result, or what the computation raised."""
        try:
            return compute(rows)
        except SentimentError:
            raise
        except Exception as error:  # noqa: BLE001, whatever an engine raises
            self.reasons.add(reason_of(error))
            return error.with_traceback(None)


def reason_of(error: Exception) -> str:
    """One of `FAILURES`."""
    if isinstance(error, RowFailure):
        return error.reason
    text = str(error).lower()
    out_of_memory = isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)
    return "memory" if out_of_memory else "error"
