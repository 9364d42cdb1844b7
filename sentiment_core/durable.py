"""Results of hours: their place is made before the work begins, and a loss of power does not take them back."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sentiment_core.errors import UsageError

__all__ = ["make_parent", "replace_durably", "write_durably"]


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


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file beside, wait until it is on the disk, and rename it: the old file or the new one is always there.

    Raises
    ------
    OSError
        If it cannot be written; the old file is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_durably(beside, content)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()
