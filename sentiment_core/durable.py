"""Results of hours: their place is made before the work begins, and a loss of power does not take them back."""

from __future__ import annotations

import os
from pathlib import Path

from sentiment_core.errors import UsageError

__all__ = ["make_parent", "write_durably"]


def make_parent(path: Path) -> None:
    """Make the folder that a file or directory is going to be in.

    Raises
    ------
    UsageError
        If it cannot be made, or nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made ({error.strerror}); name another place with --output") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path.parent} cannot be written; name another place with --output")


def write_durably(path: Path, content: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
