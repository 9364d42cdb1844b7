"""Texts from the command line, or from the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa

__all__ = ["given_texts"]

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
