"""Quality on parts of an evaluated set, to see where a model is weak; NumPy and Arrow only.

The parts of one slice leave no review out and count none twice: their ``n`` sum to N.

Axes: N reviews. ``labels`` are booleans, True for positive; ``probabilities`` are those of the positive class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.errors import InputError, UsageError

__all__ = ["slice_metrics"]

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

LENGTH_EDGES = (50, 100, 200, 500)
LARGEST_NEGATION_RATE = 2  # per 100 words, of the reviews with some negation but not much
MOST_LABEL_VALUES = 20  # more of them are measurements, not grades
MOST_GROUP_VALUES = 20

_NOT_IN_WORD = r"[^\pL\pM\pN_]"  # RE2's \b sees a word "no" in "Noël"
# A match takes the mark after the word along, and Arrow searches on from there as from a new text: `^` holds again.
_NEGATION = (
    rf"(?i)(?:(?:^|{_NOT_IN_WORD})(?:not|no|never|nor|none|nothing|nobody|cannot|without)|n['’]t)(?:{_NOT_IN_WORD}|$)"
)
_WORD = r"[^\s\pZ]+"


def slice_metrics(
    texts: pa.Array | pa.ChunkedArray,
    valid_length: npt.NDArray[np.integer[Any]],
    labels: Labels,
    probabilities: Floats,
    *,
    label_values: Floats | None = None,
    label_name: str = "label",
    groups: Mapping[str, pa.Array | pa.ChunkedArray] | None = None,
) -> list[dict[str, Any]]:
    """Quality by length, by density of negation, by grade and by the values of columns.

    Parameters
    ----------
    texts : Arrow array of string or binary, shape (N,)
        Any content, nulls included.
    valid_length : array of int, shape (N,)
        Tokens of each text.
    labels : array of bool, shape (N,)
    probabilities : array of float, shape (N,), 0 to 1
    label_values : array of float, shape (N,)
        What the labels were made of, stars for example: a slice of its own if it has 3 to 20 values.
    label_name : str
        Name of that slice.
    groups : mapping of str to Arrow array, shape (N,)
        Further columns by name, each a slice: its 20 most frequent values, the others together, nulls together.

    Returns
    -------
    list of dict
        ``slice`` and ``value`` say which part, ``n`` how many reviews it has (never 0); then ``positive_share``,
        ``accuracy`` (cut at 0.5) with its ``standard_error``, and ``mean_probability``.

    Raises
    ------
    UsageError
        If the arrays are not of one length.
    InputError
        If the values of a column cannot be written as words, as lists cannot.
    """
    columns: dict[str, Sized | None] = {
        "texts": texts,
        "valid_length": valid_length,
        "probabilities": probabilities,
        "label_values": label_values,
        **{f"group {name!r}": column for name, column in (groups or {}).items()},
    }
    for name, column in columns.items():
        if column is not None and len(column) != len(labels):
            raise UsageError(
                f"slices: {name} has {len(column):,} rows, labels have {len(labels):,}; pass whole columns"
            )
    if not len(labels):
        return []
    table: list[dict[str, Any]] = []
    taken: set[str] = set()
    for name, values, codes in _slices(texts, valid_length, label_values, label_name, groups or {}):
        while name in taken:  # a table may well have a column "length"
            name = f"{name} (column)"
        taken.add(name)
        table += _measured(name, values, codes, labels=labels, probabilities=probabilities)
    return table


def _slices(
    texts: pa.Array | pa.ChunkedArray,
    valid_length: npt.NDArray[np.integer[Any]],
    label_values: Floats | None,
    label_name: str,
    groups: Mapping[str, pa.Array | pa.ChunkedArray],
) -> Iterator[tuple[str, list[str], Codes]]:
    """Name of each slice, its values, and the position in them of each review's value, shape (N,)."""
    yield ("length", *_by_length(valid_length))
    yield ("negation", *_by_negation(texts))
    if label_values is not None:
        known = np.unique(label_values[~np.isnan(label_values)])
        if 2 < len(known) <= MOST_LABEL_VALUES:
            # NaN is larger than any number, so its place is after the last one.
            codes = np.searchsorted(known, label_values)
            yield label_name, [*(repr(float(value)).removesuffix(".0") for value in known), "(none)"], codes
    for name, column in groups.items():
        yield (name, *_by_group(column, name=name))


def _by_length(valid_length: npt.NDArray[np.integer[Any]]) -> tuple[list[str], Codes]:
    starts = (1, *(edge + 1 for edge in LENGTH_EDGES))
    values = [f"{start} to {end} tokens" for start, end in zip(starts, LENGTH_EDGES)]
    return ["no token", *values, f"over {LENGTH_EDGES[-1]} tokens"], np.searchsorted((0, *LENGTH_EDGES), valid_length)


def _by_negation(texts: pa.Array | pa.ChunkedArray) -> tuple[list[str], Codes]:
    strings = _strings(texts, what="texts").fill_null("")
    n_negations = pc.count_substring_regex(strings, _NEGATION).to_numpy(zero_copy_only=False)
    n_words = pc.count_substring_regex(strings, _WORD).to_numpy(zero_copy_only=False)
    many = 100 * n_negations > LARGEST_NEGATION_RATE * n_words
    rate = f"{LARGEST_NEGATION_RATE} per 100 words"
    return ["none", f"up to {rate}", f"over {rate}"], np.where(n_negations > 0, 1 + many, 0)


def _by_group(column: pa.Array | pa.ChunkedArray, *, name: str) -> tuple[list[str], Codes]:
    content = _strings(column, what=f"the column {name!r}").cast(pa.large_binary())
    counted = pa.Table.from_struct_array(content.drop_null().value_counts())
    by_count = pc.sort_indices(counted, sort_keys=[("counts", "descending"), ("values", "ascending")])
    frequent = counted["values"].take(by_count[:MOST_GROUP_VALUES]).combine_chunks()
    codes = pc.index_in(content, value_set=frequent).fill_null(len(frequent)).to_numpy()
    codes = np.where(content.is_null(), len(frequent) + 1, codes)
    values = [*(value.decode(errors="replace") or "(empty)" for value in frequent.to_pylist()), "(others)", "(none)"]
    # A column may hold the word "(others)" itself: a value stands once, for all that it names.
    distinct = list(dict.fromkeys(values))
    return distinct, np.array([distinct.index(value) for value in values])[codes]


def _strings(column: pa.Array | pa.ChunkedArray, *, what: str) -> pa.Array:
    """The column as large strings; bytes that are not UTF-8 stay as they are, which harms no kernel used here."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.cast(options=pc.CastOptions(target_type=pa.large_string(), allow_invalid_utf8=True))
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"slices: {what} cannot be {column.type}; name a column of plain values") from error


def _measured(
    name: str, values: list[str], codes: Codes, *, labels: Labels, probabilities: Floats
) -> Iterator[dict[str, Any]]:
    counts = np.bincount(codes, minlength=len(values))
    right = np.bincount(codes, (probabilities >= 0.5) == labels, minlength=len(values))
    positive = np.bincount(codes, labels, minlength=len(values))
    mass = np.bincount(codes, probabilities, minlength=len(values))
    for index in np.flatnonzero(counts):
        n = int(counts[index])
        accuracy = float(right[index]) / n
        yield {
            "slice": name,
            "value": values[index],
            "n": n,
            "positive_share": float(positive[index]) / n,
            "accuracy": accuracy,
            "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / n)),
            "mean_probability": float(mass[index]) / n,
        }
