"""An HTML page as a file: only another page is replaced by it, and only as a whole."""

from __future__ import annotations

from pathlib import Path

from sentiment_core.durable import replace_durably
from sentiment_core.errors import InputError, UsageError

__all__ = ["check_html_file", "write_html_file"]

_BEGIN = b"<!doctype html>"


def check_html_file(path: Path, *, option: str) -> None:
    """Refuse what must not be replaced, before anything is computed.

    Parameters
    ----------
    path : Path
    option : str
        That named it.

    Raises
    ------
    UsageError
        If it is a directory or a file that is no page.
    InputError
        If it cannot be read.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{option} {path} is a directory; name a file in it, like {path / 'page.html'}")
        if path.parent.exists() and not path.parent.is_dir():
            raise UsageError(f"{option} {path}: {path.parent} is no directory; name another file")
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(_BEGIN)).lower() != _BEGIN:
                    raise UsageError(f"{option} {path} exists and is no HTML page; name another file")
    except OSError as error:
        raise _unwritable(path, error, option=option) from error


def write_html_file(path: Path, page: bytes, *, option: str) -> None:
    """Replace the page in one step: a reader finds the old page or the new one.

    Raises
    ------
    InputError
        If it cannot be written; an existing page is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, page)
    except OSError as error:
        raise _unwritable(path, error, option=option) from error


def _unwritable(path: Path, error: OSError, *, option: str) -> InputError:
    return InputError(f"{option} {path} cannot be written ({error.strerror or error}); name another file")
