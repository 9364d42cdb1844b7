"""Errors on their way out of a worker: Spark copies their text into its logs, event log and the driver's message."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment_core.errors import SentimentError

__all__ = ["withholding_content"]


@contextmanager
def withholding_content() -> Iterator[None]:
    """Let an unexpected error say where it happened, and not what its message says, which may quote a review.

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
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise SentimentError(
            f"internal error: {type(error).__name__} in line {frame.lineno} of {Path(frame.filename).name}; its "
            "message is withheld, since it may quote a review"
        ) from None
