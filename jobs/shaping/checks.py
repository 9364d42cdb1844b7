"""What is wrong with single rows: counted in the pass that a run makes over its input anyway, and refused by count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, Row
from pyspark.sql import functions as F

from sentiment_core.errors import InputError

__all__ = ["RowCheck", "count_columns", "flag_columns", "refuse_counted"]


@dataclass(frozen=True, kw_only=True)
class RowCheck:
    """A fault that a row can have.

    Attributes
    ----------
    wrong : Column
        True for a row with the fault; NULL counts as no.
    said : str
        What follows the number of such rows, as in ``3 rows SAID``: the fault and its cure, without a value of a row.
    """

    wrong: Column
    said: str


def flag_columns(checks: Sequence[RowCheck]) -> list[Column]:
    """Whether a row has each fault, for `count_columns`."""
    return [F.coalesce(check.wrong, F.lit(False)).alias(_name(number)) for number, check in enumerate(checks)]


def count_columns(checks: Sequence[RowCheck]) -> list[Column]:
    """Aggregates that count the rows with each fault of `flag_columns`, for `refuse_counted`."""
    return [F.count_if(F.col(_name(number))).alias(_name(number)) for number, _ in enumerate(checks)]


def refuse_counted(checks: Sequence[RowCheck], row: Row) -> None:
    """Refuse the first fault that a row has.

    Parameters
    ----------
    checks : sequence of RowCheck
    row : Row
        With the counts of `count_columns`.

    Raises
    ------
    InputError
    """
    for number, check in enumerate(checks):
        if row[_name(number)]:
            raise InputError(f"{row[_name(number)]:,} rows {check.said}")


def _name(number: int) -> str:
    return f"check_{number}"
