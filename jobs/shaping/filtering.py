"""The rows for which conditions hold, and those of which a condition cannot say whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.shaping.checks import RowCheck
from jobs.shaping.conditions import Condition

__all__ = ["filtered"]


def filtered(
    frame: DataFrame, conditions: Sequence[Condition], *, schema: T.StructType, also: Column | None, always: Column
) -> tuple[DataFrame, list[RowCheck]]:
    """Select rows.

    A row of which all other conditions hold, but one cannot be judged, stays in the frame, and a check counts it.

    Parameters
    ----------
    frame : DataFrame
    conditions : sequence of Condition
    schema : StructType
    also : Column, optional
        One more condition.
    always : Column
        Rows that stay whatever the conditions say.

    Raises
    ------
    InputError
        If a condition does not fit the column.
    """
    passing = [] if also is None else [also]
    checks = []
    for condition in conditions:
        holds = condition.of(schema)
        unknown: Column | None = None
        if condition.compares_numbers_in_texts(schema):
            unknown, kind = condition.is_no_number(schema), "number"
            cure = "correct them, leave them out by another --where, or compare with texts in quotes"
        elif condition.orders_dates_in_texts(schema):
            unknown, kind = condition.is_no_date(schema), "whole date like 2026-11-23"
            cure = f"give their form with --date-format and --cast {condition.name}=date, or correct them"
        if unknown is not None:
            said = f"have a {condition.name!r} that is no {kind}, so --where {condition} cannot be judged"
            checks.append(RowCheck(wrong=unknown, said=f"{said}; {cure}"))
            holds = F.coalesce(holds, F.lit(False)) | unknown
        passing.append(holds)
    return (frame.where(reduce(and_, passing) | always) if passing else frame), checks
