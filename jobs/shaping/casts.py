"""``--cast COLUMN=TYPE``: a column of the input in another type, without changing a value on the way.

A number stays the number that it is: what the type cannot hold exactly is refused, with the number of rows. The day of
a time is the one exception that the type itself asks for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.shaping.checks import RowCheck
from jobs.tables.dates import DateForms
from jobs.tables.scores import column, require_column
from sentiment_core.errors import InputError, UsageError

__all__ = ["CAST_TYPES", "EXACT_NUMBER", "Cast", "cast_columns", "parse_cast"]

_NAMES: dict[str, T.DataType] = {
    "string": T.StringType(),
    "boolean": T.BooleanType(),
    "tinyint": T.ByteType(),
    "smallint": T.ShortType(),
    "int": T.IntegerType(),
    "integer": T.IntegerType(),
    "bigint": T.LongType(),
    "long": T.LongType(),
    "float": T.FloatType(),
    "double": T.DoubleType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
    "timestamp_ntz": T.TimestampNTZType(),
}
CAST_TYPES = (*_NAMES, "decimal(P,S)")
_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)")
_MOST_DIGITS = 38
# As what numbers in texts are read: 20 digits before the point and 18 after it, none of them rounded to binary.
EXACT_NUMBER = T.DecimalType(38, 18)


@dataclass(frozen=True, kw_only=True)
class Cast:
    """A column and the type that it is to have.

    Attributes
    ----------
    name : str
    kind : DataType
    """

    name: str
    kind: T.DataType

    def __str__(self) -> str:
        return f"{self.name}={self.kind.simpleString()}"


def parse_cast(value: str) -> Cast:
    """Read ``COLUMN=TYPE``.

    Raises
    ------
    UsageError
    """
    name, _, written = value.rpartition("=")
    wanted = re.sub(r"\s", "", written).lower()
    kind = _NAMES.get(wanted)
    found = _DECIMAL.fullmatch(wanted)
    if found is not None and 1 <= int(found[1]) <= _MOST_DIGITS and int(found[2]) <= int(found[1]):
        kind = T.DecimalType(int(found[1]), int(found[2]))
    if not name or kind is None:
        raise UsageError(f"--cast {value!r}: write COLUMN=TYPE, the type one of {', '.join(CAST_TYPES)}")
    return Cast(name=name, kind=kind)


def cast_columns(
    frame: DataFrame, casts: Sequence[Cast], *, dates: DateForms
) -> tuple[DataFrame, list[RowCheck], list[str]]:
    """Cast columns.

    Parameters
    ----------
    frame : DataFrame
    casts : sequence of Cast
    dates : DateForms
        How texts tell dates.

    Returns
    -------
    frame : DataFrame
        With the columns cast, in their places, and the columns that the checks read.
    checks : list of RowCheck
    names : list of str
        Of the columns that the checks read, to be dropped after these.

    Raises
    ------
    InputError
        If there is no such column, or no way from its type to the wanted one.
    """
    checks, names = [], []
    for number, cast in enumerate(casts):
        require_column(frame.schema, cast.name, "the cast", "--cast")
        before = frame.schema[cast.name].dataType
        flag = f"__uncast_{number}"
        try:
            value = _cast(frame.schema, cast, dates=dates)
            lost = column(cast.name).isNotNull() & (
                value.isNull() | ~_same(column(cast.name), value, before, cast.kind)
            )
            if isinstance(before, T.StringType) and not isinstance(cast.kind, T.StringType):
                lost = lost & (F.trim(column(cast.name)) != "")  # an empty field is no value
            frame = frame.withColumns({flag: lost, cast.name: value})
            names.append(flag)
            _ = frame.schema  # what Spark has no cast for fails here
        except PySparkException as error:
            raise InputError(
                f"--cast {cast}: Spark makes no {cast.kind.simpleString()} of a {before.simpleString()}; leave the "
                "column out, or write it in another type"
            ) from error
        said = f"have a {cast.name!r} ({before.simpleString()}) that is no {cast.kind.simpleString()} without a loss"
        checks.append(RowCheck(wrong=column(flag), said=f"{said}; correct these values, or cast to another type"))
    return frame, checks, names


def _cast(schema: T.StructType, cast: Cast, *, dates: DateForms) -> Column:
    before = schema[cast.name].dataType
    if isinstance(cast.kind, T.DateType):
        return dates.day(schema, cast.name)
    if isinstance(before, T.StringType) and isinstance(cast.kind, T.IntegralType):
        # pandas writes the whole numbers of a column with gaps as 5.0.
        return column(cast.name).try_cast(EXACT_NUMBER).try_cast(cast.kind)
    return column(cast.name).try_cast(cast.kind)


def _same(source: Column, value: Column, before: T.DataType, after: T.DataType) -> Column:
    """Whether a cast value is the value that it was made of."""
    numeric = isinstance(after, T.NumericType)
    if isinstance(before, T.NumericType) and (numeric or isinstance(after, T.StringType)):
        return value.try_cast(before).eqNullSafe(source)
    if isinstance(before, T.StringType) and isinstance(after, T.IntegralType | T.DecimalType):
        exact = source.try_cast(EXACT_NUMBER)
        return exact.isNull() | value.try_cast(EXACT_NUMBER).eqNullSafe(exact)
    return F.lit(True)
