"""Which rows are scored: conditions of one column and one literal, never free SQL.

The grammar is all there is::

    condition = column operator literal | column "in" "(" literal {"," literal} ")" | column "is" ["not"] "null"
    column    = a name of letters, digits and _ | any name in `backticks`, one of them doubled
    operator  = "=" | "!=" | "<" | "<=" | ">" | ">="
    literal   = 'text', a quote in it doubled | number | true | false

A literal is what its column's type makes of it: a text is also a date or a time. As in SQL, a comparison with a NULL
is not true. A number is compared as a number, with a column of texts too, whose values must then be numbers; and a text
that is a date is before or after dates, which the values must then be.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.shaping.casts import EXACT_NUMBER
from jobs.tables.dates import ISO_DATES
from jobs.tables.scores import column, require_column
from sentiment_core.errors import InputError, UsageError

__all__ = ["Condition", "parse_condition"]

_LONGEST = 100_000
_LITERAL = r"(?:'(?:[^']|'')*'|[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?|true|false)"
_CONDITION = re.compile(
    r"\s*(?:(?P<name>[^\W\d]\w*)|`(?P<quoted>(?:[^`]|``)+)`)"
    rf"(?:\s*(?P<operator>!=|<=|>=|=|<|>)\s*(?P<literal>{_LITERAL})"
    rf"|\s+in\s*\(\s*(?P<literals>{_LITERAL}(?:\s*,\s*{_LITERAL})*)\s*\)"
    r"|\s+is\s+(?P<null>(?:not\s+)?null))\s*",
    re.IGNORECASE,
)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_INTEGER_BITS = {T.ByteType: 8, T.ShortType: 16, T.IntegerType: 32, T.LongType: 64}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition as it was written; what its literals mean depends on the column's type.

    Attributes
    ----------
    name : str
        Of the column.
    operator : str
        ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``is null`` or ``is not null``.
    literals : tuple of str
        As written, texts in quotes.
    """

    name: str
    operator: str
    literals: tuple[str, ...] = ()

    def __str__(self) -> str:
        quoted = "`" + self.name.replace("`", "``") + "`"
        shown = ", ".join(self.literals)
        return " ".join(filter(None, [quoted, self.operator, f"({shown})" if self.operator == "in" else shown]))

    def of(self, schema: T.StructType) -> Column:
        """The condition on a table of this schema.

        Raises
        ------
        InputError
            If there is no such column, or its type does not fit.
        """
        require_column(schema, self.name, "the filtered", "--where")
        value, kind = column(self.name), schema[self.name].dataType
        if self.operator == "is null":
            return value.isNull()
        if self.operator == "is not null":
            return value.isNotNull()
        if isinstance(kind, T.StringType):
            self._refuse_numbers_as_texts()
            if self.compares_numbers_in_texts(schema):
                value, kind = value.try_cast(EXACT_NUMBER), EXACT_NUMBER
            elif self.orders_dates_in_texts(schema):
                value, kind = ISO_DATES.day(schema, self.name), T.DateType()
        literals = [self._value(literal, kind, named=schema[self.name].dataType) for literal in self.literals]
        if self.operator == "in":
            return value.isin(literals)
        if isinstance(kind, T.BooleanType) and self.operator not in ("=", "!="):
            raise InputError(f"--where {self}: true and false have no order; use = or !=")
        compared: Column = _OPERATORS[self.operator](value, literals[0])
        return compared

    def compares_numbers_in_texts(self, schema: T.StructType) -> bool:
        """Whether it compares a column of texts with numbers."""
        return isinstance(schema[self.name].dataType, T.StringType) and any(map(_is_number, self.literals))

    def orders_dates_in_texts(self, schema: T.StructType) -> bool:
        """Whether it asks which texts of a column are dates before or after one."""
        is_ordered = self.operator in ("<", "<=", ">", ">=") and isinstance(schema[self.name].dataType, T.StringType)
        return is_ordered and re.fullmatch(r"'\d{4}-\d{2}-\d{2}'", self.literals[0]) is not None

    def is_no_date(self, schema: T.StructType) -> Column:
        """Rows that cannot be judged: their text is no whole date.

        Only where `orders_dates_in_texts`.
        """
        return ISO_DATES.is_no_date(schema, self.name)

    def is_no_number(self, schema: T.StructType) -> Column:
        """Rows that cannot be compared: their text is no number.

        Only where `compares_numbers_in_texts`.
        """
        value = column(self.name)
        return value.isNotNull() & value.try_cast(EXACT_NUMBER).isNull()

    def _refuse_numbers_as_texts(self) -> None:
        """As texts, '10' comes before '4'; who writes that is likely to mean numbers."""
        quoted = [literal[1:-1] for literal in self.literals if literal.startswith("'")]
        if quoted and self.operator in ("<", "<=", ">", ">=") and _is_number(quoted[0].strip()):
            raise InputError(
                f"--where {self}: a number in quotes is compared as a text, and '10' comes before '4'; write it "
                "without quotes"
            )

    def _value(self, literal: str, kind: T.DataType, *, named: T.DataType) -> Column:
        """A literal as a value of a type, that of the column or what its texts are read as; only ever as data."""
        try:
            if literal.startswith("'"):
                return _of_text(literal[1:-1].replace("''", "'"), kind)
            if literal.lower() in ("true", "false"):
                if not isinstance(kind, T.BooleanType):
                    raise ValueError
                return F.lit(literal.lower() == "true")
            return _of_number(literal, kind)
        except ValueError as error:
            raise InputError(
                f"--where {self}: {literal} is no value of a column of type {named.simpleString()}; "
                f"{_CURES.get(type(named), 'such a column can only be asked for `is null` and `is not null`')}"
            ) from error


_CURES: dict[type[T.DataType], str] = {
    T.StringType: "write a text in single quotes, or a number of at most 20 digits before the point",
    T.BooleanType: "write true or false",
    T.DateType: "write a date like '2026-11-23'",
    T.TimestampType: "write a time like '2026-11-23 04:05:06' (UTC) or '2026-11-23T04:05:06+01:00'",
    T.TimestampNTZType: "write a time like '2026-11-23 04:05:06'",
    T.DecimalType: "write a number of at most 38 digits",
    **dict.fromkeys((T.FloatType, T.DoubleType), "write a number"),
    **dict.fromkeys(_INTEGER_BITS, "write a whole number in its range"),
}


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises
    ------
    UsageError
        If it is none.
    """
    found = _CONDITION.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise UsageError(
            f"--where {text[:200]!r} is no condition; write COLUMN = 'text', COLUMN >= 3, COLUMN in (1, 2), "
            "COLUMN is null or COLUMN is not null (also !=, <, <=, >), one condition an option"
        )
    name = found["name"] or found["quoted"].replace("``", "`")
    if found["operator"]:
        return Condition(name=name, operator=found["operator"], literals=(found["literal"],))
    if found["literals"]:
        return Condition(
            name=name, operator="in", literals=tuple(re.findall(_LITERAL, found["literals"], re.IGNORECASE))
        )
    return Condition(name=name, operator="is not null" if "not" in found["null"].lower() else "is null")


def _is_number(literal: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?", literal, re.IGNORECASE) is not None


def _of_text(text: str, kind: T.DataType) -> Column:
    if isinstance(kind, T.StringType):
        return F.lit(text)
    if isinstance(kind, T.DateType):
        return F.lit(date.fromisoformat(text))
    if isinstance(kind, T.TimestampType | T.TimestampNTZType):
        moment = datetime.fromisoformat(text)
        if isinstance(kind, T.TimestampNTZType) and moment.tzinfo is not None:
            raise ValueError
        # Spark would read a datetime by this machine's time zone; its own session is in UTC.
        return F.lit(moment.isoformat(" ")).cast(kind)
    raise ValueError


def _of_number(text: str, kind: T.DataType) -> Column:
    number = Decimal(text)
    if isinstance(kind, T.IntegralType):
        bits = _INTEGER_BITS[type(kind)]
        if number != int(number) or not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise ValueError
        return F.lit(int(number)).cast(kind)
    if isinstance(kind, T.FloatType | T.DoubleType):
        if math.isinf(float(number)):
            raise ValueError
        return F.lit(float(number)).cast(kind)
    if kind == EXACT_NUMBER:
        if number and not -18 <= number.adjusted() < 20:
            raise ValueError
        return F.lit(format(number, "f")).cast(EXACT_NUMBER)
    if isinstance(kind, T.DecimalType):
        digits = number.as_tuple()
        exponent = int(digits.exponent)
        if max(len(digits.digits), -exponent, len(digits.digits) + exponent) > 38:
            raise ValueError
        return F.lit(number)
    raise ValueError
