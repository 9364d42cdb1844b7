"""Columns that the scores table has beside the contract's, where a run was asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

__all__ = ["DRIVERS", "NO_EXTRA", "ExtraColumns", "is_extra", "probability_of"]

# Of `score --drivers`: what moved the logit of the review most; NULL with the probability.
DRIVERS = T.StructField(
    "drivers",
    T.ArrayType(
        T.StructType(
            [
                T.StructField("kind", T.StringType()),
                T.StructField("term", T.StringType()),
                T.StructField("contribution", T.DoubleType()),
            ]
        )
    ),
)


@dataclass(frozen=True, kw_only=True)
class ExtraColumns:
    """What the output has beside `SCORE_FIELDS`, if it was asked for.

    Attributes
    ----------
    model_names : tuple of str
        Named models, each with a column ``positive_probability_<name>``; the first one fills `SCORE_FIELDS`.
    drivers : bool
        Whether there is the column `DRIVERS`.
    """

    model_names: tuple[str, ...] = ()
    drivers: bool = False

    @property
    def fields(self) -> list[T.StructField]:
        """The columns, in their order."""
        named = [T.StructField(probability_of(name), T.DoubleType()) for name in self.model_names]
        return [*named, DRIVERS] if self.drivers else named


NO_EXTRA = ExtraColumns()


def probability_of(model_name: str) -> str:
    """The column of a named model's probabilities."""
    return f"positive_probability_{model_name}"


def is_extra(field: T.StructField) -> bool:
    """Whether a column of a scores table is one of those that `ExtraColumns` names."""
    if field.name == DRIVERS.name:
        return field.dataType.simpleString() == DRIVERS.dataType.simpleString()
    return field.name.startswith(probability_of("")) and isinstance(field.dataType, T.DoubleType)
