"""Whether a row's label is positive, as a Spark column: the rule of `jobs.labels.grades.grades_of`."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.labels.grades import LABEL_CURE, label_number, label_truth
from jobs.tables.scores import column
from sentiment_core.errors import InputError

__all__ = ["is_positive"]


def is_positive(schema: T.StructType, name: str, *, positive_above: float, positive_label: str | None) -> Column:
    """Whether a row's label is positive, NULL where it has none.

    Parameters
    ----------
    schema : StructType
        Of the table.
    name : str
        The column of labels.
    positive_above : float
        A larger number is positive, where labels are numbers.
    positive_label : str or None
        The label that is positive; every other one is negative, a blank text is no label.

    Raises
    ------
    InputError
        If labels are words and none is given.
    """
    kind, label = schema[name].dataType, column(name)
    number = F.when(~F.isnan(label.cast("double")), label) if isinstance(kind, T.NumericType) else None
    if positive_label is None:
        if isinstance(kind, T.BooleanType):
            return label
        if number is None:
            raise InputError(f"the label column {name!r} has the type {kind.simpleString()}; {LABEL_CURE}")
        return number > positive_above
    if number is not None:
        return number.cast("double") == label_number(positive_label)
    if isinstance(kind, T.BooleanType):
        return label == F.lit(label_truth(positive_label))
    if not isinstance(kind, T.StringType):
        raise InputError(f"the label column {name!r} has the type {kind.simpleString()}; {LABEL_CURE}")
    return F.when(F.trim(label) != "", F.trim(label) == positive_label.strip())
