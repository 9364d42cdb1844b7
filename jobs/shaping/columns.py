"""What the settings make of an input's columns before one is chosen: kept under other names, cast, and given ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.shaping.casts import Cast, cast_columns
from jobs.shaping.checks import RowCheck
from jobs.shaping.ids import CONTENT_ID, NO_ID, with_content_ids
from jobs.tables.dates import DateForms
from jobs.tables.reading import CORRUPT_RECORD
from jobs.tables.scores import column, kept_columns, require_column
from sentiment_core.errors import InputError

__all__ = ["ShapedTable", "shape_columns"]


@dataclass(frozen=True, kw_only=True)
class ShapedTable:
    """An input whose columns are as the settings want them.

    Attributes
    ----------
    frame : DataFrame
    id_column : str
    checks : list of RowCheck
        Of the casts.
    checked : list of str
        Columns of the frame that only the checks read.
    renamed : dict
        For each column that is kept under another name, that name and its own.
    """

    frame: DataFrame
    id_column: str
    checks: list[RowCheck]
    checked: list[str]
    renamed: dict[str, str]


def shape_columns(
    frame: DataFrame,
    *,
    id_column: str,
    text_column: str,
    keep_columns: str,
    casts: Sequence[Cast],
    dates: DateForms,
) -> ShapedTable:
    """Apply ``--keep-columns NAME:OTHER``, ``--cast`` and ``--id-column none``.

    Ids are made of the columns as they are read, so that no other option changes them.

    Raises
    ------
    InputError
        If a column is missing, or a new name is taken.
    """
    without_id = id_column == NO_ID
    opened = [name for name in frame.columns if name != CORRUPT_RECORD]
    kept = kept_columns(keep_columns, opened, text_column=text_column)
    renamed = {target: source for target, source in kept.items() if target != source}
    for target, source in renamed.items():
        require_column(frame.schema, source, "the kept", "--keep-columns")
        if target.casefold() in {name.casefold() for name in opened} - ({CONTENT_ID} if without_id else set()):
            raise InputError(
                f"--keep-columns {source}:{target}: the input has a column {target!r} already; choose another name"
            )
    frame = frame.withColumns({target: column(source) for target, source in renamed.items()}) if renamed else frame
    if without_id:
        id_column = CONTENT_ID
        frame = _with_ids(frame, kept=set(kept), opened=opened)
    frame, checks, checked = cast_columns(frame, casts, dates=dates)
    return ShapedTable(frame=frame, id_column=id_column, checks=checks, checked=checked, renamed=renamed)


def _with_ids(frame: DataFrame, *, kept: set[str], opened: list[str]) -> DataFrame:
    """Add `CONTENT_ID` in the place of a column that the input has under this name."""
    if NO_ID in opened:
        raise InputError(
            f"the input has a column {NO_ID!r}, so --id-column {NO_ID} could mean two things; rename the column"
        )
    own = [name for name in opened if name.casefold() == CONTENT_ID.casefold()]
    if set(own) & kept:
        raise InputError(
            f"--id-column {NO_ID} makes the column {CONTENT_ID!r}, which the input has, too; keep the input's under "
            f"another name with --keep-columns {own[0]}:OTHER, or use it with --id-column {own[0]}"
        )
    hidden = frozenset(frame.columns) - frozenset(opened)
    made = with_content_ids(frame, target="__content_id", without=hidden).drop(*(column(name) for name in own))
    names = [name for name in made.columns if name != "__content_id"]
    return made.select(F.col("__content_id").alias(CONTENT_ID), *(column(name) for name in names))
