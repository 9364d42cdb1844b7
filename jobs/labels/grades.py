"""What a label says, positive or not: a number, true or false, or a word, of which one is the positive one."""

from __future__ import annotations

import logging
import math

import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.errors import InputError
from sentiment_core.text.pipeline import valid_utf8

__all__ = ["LABEL_CURE", "POSITIVE_LABEL_HELP", "grades_of", "label_number", "label_truth", "no_such_label"]

_LOGGER = logging.getLogger(__name__)

POSITIVE_LABEL_HELP = "the label that is positive, where labels are words; every other one is negative, a blank is none"
LABEL_CURE = "name the positive one with --positive-label, or name another --label-column"


def grades_of(
    labels: pa.ChunkedArray, *, positive_above: float, positive_label: str | None
) -> tuple[pa.ChunkedArray, float]:
    """Labels as numbers.

    Parameters
    ----------
    labels : ChunkedArray, shape (N,)
    positive_above : float
        A larger number is positive, where labels are numbers.
    positive_label : str, optional
        The label that is positive; every other one is negative, a blank text is no label.

    Returns
    -------
    grades : ChunkedArray of float64, shape (N,)
        With ``positive_label`` 1 and 0; NULL where there is no label.
    positive_above : float
        A larger grade is positive.

    Raises
    ------
    InputError
        If labels are words and none is given, or none of them is the given one.
    """
    kind = labels.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if positive_label is None:
        if pa.types.is_boolean(kind):
            return labels.cast(pa.float64()), positive_above
        if is_number:
            return labels.cast(pa.float64(), safe=False), positive_above
        raise InputError(f"labels are numbers or booleans, not {kind}; {LABEL_CURE}")
    if is_number:
        wanted = label_number(positive_label)
        numbers = labels.cast(pa.float64(), safe=False)
        positive = pc.if_else(pc.fill_null(pc.is_finite(numbers), False), pc.equal(numbers, wanted), None)
    elif pa.types.is_boolean(kind):
        positive = pc.equal(labels, label_truth(positive_label))
    else:
        words = pc.utf8_trim_whitespace(_texts(labels))
        filled = pc.fill_null(pc.greater(pc.binary_length(words), 0), False)
        positive = pc.if_else(filled, pc.equal(words, positive_label.strip()), None)
        _say_other_words(words, positive_label=positive_label.strip())
    if not pc.any(positive).as_py():
        raise InputError(no_such_label(positive_label))
    grades = pc.cast(positive, pa.float64())
    return (grades if isinstance(grades, pa.ChunkedArray) else pa.chunked_array([grades])), 0.5


def label_truth(positive_label: str) -> bool:
    """The label that is positive, where labels are true or false.

    Raises
    ------
    InputError
        If it is neither.
    """
    word = positive_label.strip().lower()
    if word not in ("true", "false"):
        raise InputError(
            f"the labels are true or false, and --positive-label {positive_label!r} is neither; correct it"
        )
    return word == "true"


def no_such_label(positive_label: str, *, column: str = "") -> str:
    """The message for labels of which none is the positive one."""
    where = f" in {column!r}" if column else ""
    return f"no label{where} is {positive_label!r}; write --positive-label as it stands there, case included"


def label_number(positive_label: str) -> float:
    """The label that is positive, where labels are numbers.

    Raises
    ------
    InputError
        If it is no number.
    """
    try:
        number = float(positive_label)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InputError(f"the labels are numbers, and --positive-label {positive_label!r} is none; correct it")
    return number


def _texts(labels: pa.ChunkedArray) -> pa.LargeStringArray:
    try:
        return valid_utf8(labels)
    except InputError:
        raise InputError(
            f"labels are numbers, booleans or words, not {labels.type}; name another --label-column"
        ) from None


def _say_other_words(words: pa.LargeStringArray, *, positive_label: str) -> None:
    """More than two words may well be more than positive and negative."""
    others = [word for word in pc.unique(words.drop_null()).to_pylist() if word not in ("", positive_label)]
    if len(others) > 1:
        _LOGGER.warning("%d different labels beside %r are taken as negative", len(others), positive_label)
