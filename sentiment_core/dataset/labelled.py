"""Texts with their labels: what training, evaluation and distillation hand to each other."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.errors import InputError
from sentiment_core.text.pipeline import valid_utf8

__all__ = ["Labelled", "require_both_classes", "without_texts_of"]

_LOGGER = logging.getLogger(__name__)
_TEXTS_AT_ONCE = 10_000
# Of a soft label, its least distance from 0.5 with which a prediction can be right or wrong.
_LEAST_CLEAR = 1 / 6


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Texts with their labels.

    Attributes
    ----------
    texts : Arrow array of string, shape (N,)
    positive : array of bool or float, shape (N,), 0 to 1
        A label, or a teacher's probability that the review is positive.
    grades : array of float, shape (N,)
        What the labels were made of, stars for example, if it is known.
    groups : mapping of str to Arrow array, shape (N,)
        Columns that quality is measured by, such as a domain.
    """

    texts: pa.Array
    positive: npt.NDArray[Any]
    grades: npt.NDArray[Any] | None = None
    groups: Mapping[str, pa.Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positive)

    def batches(self) -> Iterator[pa.Array]:
        """The texts in parts: while they are split into tokens, they take many times their memory."""
        for start in range(0, len(self), _TEXTS_AT_ONCE):
            yield self.texts.slice(start, _TEXTS_AT_ONCE)

    def clear(self) -> npt.NDArray[np.bool_]:
        """Mask of the reviews, shape (N,), whose label is of one class: at most 1/3, or at least 2/3."""
        distance = np.abs(self.positive.astype(np.float64) - 0.5)
        clear: npt.NDArray[np.bool_] = distance >= _LEAST_CLEAR - 1e-9  # 2/3 is not exact
        return clear

    def where(self, rows: npt.NDArray[np.bool_]) -> Labelled:
        """The reviews that a mask of shape (N,) marks."""
        return self.take(np.flatnonzero(rows))

    def take(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """The reviews at some positions."""
        return Labelled(
            texts=self.texts.take(pa.array(rows)),
            positive=self.positive[rows],
            grades=None if self.grades is None else self.grades[rows],
            groups={name: column.take(pa.array(rows)) for name, column in self.groups.items()},
        )


def without_texts_of(data: Labelled, validation: Labelled) -> Labelled:
    """What is measured must not be learnt, whichever way it came in: shops copy a review to a product's variants."""
    held_out = valid_utf8(validation.texts)
    known = pc.is_in(valid_utf8(data.texts), value_set=held_out, skip_nulls=True).to_numpy(zero_copy_only=False)
    if known.any():
        _LOGGER.info("%s of %s texts are also held out; they are not trained on", f"{known.sum():,}", f"{len(data):,}")
        data = data.where(~known)
    return data


def require_both_classes(data: Labelled, *, name: str) -> None:
    """Refuse reviews of one class.

    Raises
    ------
    InputError
        If there are labels of one class only.
    """
    n_positive = np.count_nonzero(data.positive >= 0.5)
    if n_positive in (0, len(data)):
        raise InputError(
            f"the {name} part has {n_positive} positive reviews of {len(data)}; it needs both classes: check "
            "--label-column, --positive-above and --validation-fraction"
        )
