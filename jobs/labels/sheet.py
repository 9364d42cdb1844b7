"""A sheet of reviews to label: a CSV file that a spreadsheet program opens, saves, and leaves as it was.

Spreadsheet programs run a cell that begins with ``=``, ``+``, ``-`` or ``@``, round a number of more than 15 digits,
take the zeros off ``00123``, and make a date of ``3-4``. An apostrophe before such a cell keeps it a text. What reads
the sheet takes the apostrophe away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.errors import InputError

__all__ = [
    "BIN",
    "LABEL",
    "MARK",
    "MOST_CHARACTERS",
    "WEIGHT",
    "guarded",
    "guarded_name",
    "is_label_sheet",
    "sheet_bytes",
    "unguarded",
    "weights_of",
]

LABEL, WEIGHT, BIN = "label", "weight", "probability_bin"
# Excel cuts a cell after 32,767 characters and puts the rest in other cells.
MOST_CHARACTERS = 32_000
MARK = "'"
# Also in the full-width forms that some programs take for the same, and after white space, which some take off.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠|%]|[\t\r\n']")
# Numbers that every program keeps, and words: with a digit they may be a date, as `SEP2`.
_KEPT = re.compile(r"0|[1-9][0-9]{0,14}|(?!(?i:true|false)\Z)[^\W\d_]\D*")


def guarded(text: str) -> str:
    """A text as a cell: with an apostrophe if it could be run, or begins with one itself."""
    return MARK + text if _FORMULA.match(text) else text


def guarded_name(value: object) -> str:
    """An id or a product as a cell: with an apostrophe unless it is a number of at most 15 digits, or a word."""
    text = str(value)
    return text if _KEPT.fullmatch(text) else MARK + text


def unguarded(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The cells of a column without the apostrophe; numbers as they are."""
    kind = column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return pc.replace_substring_regex(column, f"^{MARK}", "", max_replacements=1) if is_text else column


def is_label_sheet(names: Iterable[str]) -> bool:
    """Whether a table has the columns of a sheet."""
    return {WEIGHT, BIN} <= set(names)


def weights_of(column: pa.Array | pa.ChunkedArray, *, source: str, name: str = WEIGHT) -> npt.NDArray[np.float64]:
    """Weights as numbers above 0, shape (N,); a spreadsheet program may have written them with a decimal comma.

    Raises
    ------
    InputError
        If one is missing, no number, or not above 0.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = pc.replace_substring(pc.utf8_trim_whitespace(column), ",", ".")
    try:
        weights: npt.NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{source}: {name} must be numbers above 0, and not all are; correct the column") from error
    wrong = ~((weights > 0) & np.isfinite(weights))
    if wrong.any():
        raise InputError(
            f"{source}: {name} is no number above 0 in {wrong.sum():,} rows; correct the column, or leave it out"
        )
    return weights


def sheet_bytes(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """The file: UTF-8 with a byte order mark, by which spreadsheet programs know it, and Windows' line ends.

    A NUL, which no file of text can hold, becomes U+FFFD.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return stream.getvalue().replace("\0", "\ufffd").encode("utf-8-sig")
