"""Texts with their labels: what training, evaluation and distillation hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Labelled"]


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
