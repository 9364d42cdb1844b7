"""Texts from the command line, or from the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from itertools import islice

import pyarrow as pa

__all__ = ["given_texts", "leave_out_pandas"]

_LINES_PER_BATCH = 1_000


def given_texts(texts: Sequence[str]) -> Iterator[pa.Array]:
    """The texts as bytes, batch by batch; without any, the lines of standard input."""
    if texts:
        # Arguments that are not UTF-8 arrive with surrogates; as bytes again, the text pipeline repairs them.
        yield pa.array([text.encode(errors="surrogateescape") for text in texts], pa.large_binary())
        return
    lines = (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
    while batch := list(islice(lines, _LINES_PER_BATCH)):
        yield pa.array(batch, pa.large_binary())


def leave_out_pandas() -> None:
    """Let Arrow make arrays without importing pandas, which takes as long as to load and run a model.

    Arrow looks for pandas at its first array, to know its objects when it meets them, and again only when it is to make
    one. A process that scores given texts has none. Where pandas is imported already, it stays in use.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NotFound())
    try:
        pa.array([])
    finally:
        sys.meta_path.pop(0)


class _NotFound(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse pandas, and leave other modules to others."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)
