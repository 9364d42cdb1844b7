"""The error tree: each error says in one sentence what was wrong, with the value, and what to do.

Every class carries the exit code that a command ends with when the error reaches it, so that schedulers
can tell a refused input from a broken machine.
"""

from __future__ import annotations

import reprlib

__all__ = [
    "AuditError",
    "EnvironmentFault",
    "GateError",
    "InputError",
    "LockLostError",
    "ModelError",
    "NonFiniteError",
    "OutputLockedError",
    "SentimentError",
    "UsageError",
    "shown",
]


class SentimentError(Exception):
    """Base of all errors that this project raises on purpose."""

    exit_code = 1


class UsageError(SentimentError):
    """An option or argument makes no sense; the cure is another command line or another call."""

    exit_code = 2


class InputError(SentimentError):
    """The input was refused: a missing column, a wrong type, an unreadable file, unusable labels."""

    exit_code = 3


class ModelError(InputError):
    """A model or language-model directory was refused; the message names the file and the fault."""


class OutputLockedError(InputError):
    """Another run writes to the output; the message says who."""


class LockLostError(SentimentError):
    """The run was silent for so long that another took over; it publishes nothing."""


class AuditError(SentimentError):
    """Rows were lost, duplicated or changed, or too many failed; nothing is published."""

    exit_code = 4


class GateError(SentimentError):
    """A quality or drift gate is closed; nothing is published."""

    exit_code = 5


class EnvironmentFault(SentimentError):  # noqa: N818, EnvironmentError is a builtin
    """The machine lacks something that was asked for: a GPU, Java, a package."""

    exit_code = 6


class NonFiniteError(SentimentError):
    """An engine returned NaN or infinity.

    Attributes
    ----------
    positions : tuple of int
        Positions of the affected texts in the order in which the caller passed them.
    """

    def __init__(self, positions: tuple[int, ...]) -> None:
        self.positions = positions
        shown = ", ".join(map(str, positions[:10])) + (", ..." if len(positions) > 10 else "")
        super().__init__(
            f"the engine returned non-finite logits for {len(positions)} texts (positions {shown}); "
            "check the model's weights with `sentiment doctor`"
        )

    def __reduce__(self) -> tuple[type[NonFiniteError], tuple[tuple[int, ...]]]:
        return type(self), (self.positions,)


def shown(value: object) -> str:
    """A value as a message quotes it: whatever its size, in a few words."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 10
