"""Unexpected errors, told without their messages, which may quote a review.

Spark copies what a worker raises into its logs, its event log and the driver's own error, and says of data that it
cannot use what the data were. What is left names the kind of the error and its place, enough to find it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment_core.errors import SentimentError

__all__ = ["describe_unexpected", "spark_condition", "withholding_content"]

_PACKAGES = ("jobs", "sentiment_core")
# Spark names its errors, at the start of their messages; what stands in brackets elsewhere may be a text's own.
_CONDITION = re.compile(r"(?:\A|Exception: )\[([A-Z][A-Z0-9_.]+)\] ")


def describe_unexpected(error: Exception) -> str:
    """Kind and place of an error, in one sentence.

    Parameters
    ----------
    error : Exception
        One that is not `SentimentError`, whose messages are written with care.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if set(_PACKAGES) & set(Path(frame.filename).parts)]
    frame = (ours or frames)[-1]
    place = f"in line {frame.lineno} of {Path(frame.filename).name}"
    if isinstance(error, OSError) and error.strerror:
        # Of files and connections, never of rows.
        about = f" ({error.filename})" if error.filename else ""
        return f"internal error: {type(error).__name__} {place}: {error.strerror}{about}"
    return f"internal error: {spark_condition(error)} {place}; its message is withheld, since it may quote a review"


def spark_condition(error: Exception) -> str:
    """Kind of an error, and what Spark calls it, without its message."""
    of_spark = type(error).__module__.partition(".")[0] in ("pyspark", "py4j")  # which need not be imported
    condition = _CONDITION.search(str(error)) if of_spark else None
    return f"{type(error).__name__} {condition[1]}" if condition else type(error).__name__


@contextmanager
def withholding_content() -> Iterator[None]:
    """Let an unexpected error leave a worker without its message.

    Raises
    ------
    SentimentError
        In the place of any other exception.
    """
    try:
        yield
    except SentimentError:
        raise
    except Exception as error:  # noqa: BLE001, it goes on under another name
        raise SentimentError(describe_unexpected(error)) from None
