"""What a date is, by one rule for every verb.

A date is a date, the day of a time (in UTC where the time is an instant), or a text. A text is a date if it holds a
year of four digits, a month and a day like ``2026-11-23``; a time may follow, which is not looked at, so the day is the
one that is written. Texts of other forms need a pattern (``--date-format``). A part of a date, like ``2026-11``, is no
date: Spark would take it for the first of November.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.tables.scores import column
from sentiment_core.errors import UsageError

__all__ = ["ISO_DATES", "DateForms", "date_format", "date_literal"]

_WHOLE = r"^\s*\d{4}-\d{1,2}-\d{1,2}\s*$"
_WITH_TIME = r"^\s*\d{4}-\d{1,2}-\d{1,2}(?:[Tt]|\s+)\d{1,2}:\d{2}.*$"
_DAY = r"^\s*(\d{4}-\d{1,2}-\d{1,2})"
# Of a pattern: what tells the year, the month and the day.
_PARTS = ("[yu]", "[ML]", "d")


@dataclass(frozen=True, kw_only=True)
class DateForms:
    """The forms of dates in texts.

    Attributes
    ----------
    patterns : tuple of str
        Of Spark, tried in this order after the ISO form; the whole text must fit.
    """

    patterns: tuple[str, ...] = ()

    def check(self, session: SparkSession) -> None:
        """Refuse a pattern that Spark does not know.

        Raises
        ------
        UsageError
        """
        for pattern in self.patterns:
            try:
                session.range(1).select(F.try_to_timestamp(F.lit("1999-12-31"), F.lit(pattern))).collect()
            except PySparkException as error:
                raise UsageError(
                    f"--date-format {pattern!r} is no pattern of Spark; write one like MM/dd/yyyy or d MMM yyyy"
                ) from error

    def day(self, schema: T.StructType, name: str) -> Column:
        """The date of a row; NULL where the column holds none."""
        source = column(name)
        if not isinstance(schema[name].dataType, T.StringType):
            return source.cast("date")
        iso = F.when(source.rlike(_WHOLE) | source.rlike(_WITH_TIME), F.regexp_extract(source, _DAY, 1))
        days = [iso.try_cast("date")]
        days += [F.try_to_timestamp(F.trim(source), F.lit(pattern)).cast("date") for pattern in self.patterns]
        return F.coalesce(*days)

    def is_blank(self, schema: T.StructType, name: str) -> Column:
        """Whether a row has no date at all: NULL, or a text of nothing but blanks."""
        source = column(name)
        blank = source.isNull()
        return blank | (F.trim(source) == "") if isinstance(schema[name].dataType, T.StringType) else blank

    def is_no_date(self, schema: T.StructType, name: str) -> Column:
        """Whether a row has something in the column that is no date, a part of one included."""
        return ~self.is_blank(schema, name) & self.day(schema, name).isNull()

    def refusal(self, name: str) -> str:
        """What is wrong with rows of `is_no_date`, and the cure, after their number."""
        return (
            f"have a {name!r} that is no whole date like 2026-11-23; give its form with --date-format (MM/dd/yyyy, "
            "say, repeatable), correct the values, or name another column with --date-column"
        )


ISO_DATES = DateForms()


def date_format(value: str) -> str:
    """A pattern that tells a whole date.

    Raises
    ------
    UsageError
    """
    if "%" in value:
        raise UsageError(f"--date-format {value!r}: write Spark's pattern, yyyy for %Y, MM for %m and dd for %d")
    pattern = re.sub(r"'[^']*'", "", value)
    if not all(re.search(part, pattern) for part in _PARTS) and not re.search("[yu].*D|D.*[yu]", pattern):
        raise UsageError(
            f"--date-format {value!r} tells a part of a date only; a whole one has a year (yyyy), a month (MM) and a "
            "day (dd)"
        )
    return value


def date_literal(day: object) -> Column:
    """A date as a literal; by its text, since py4j would drop the zeros of a year before 1000."""
    return F.lit(str(day)).cast("date")
