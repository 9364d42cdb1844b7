"""``--id-column none``: an id for each row of a table that has none, made of the row itself.

The id is the first half of the SHA-256 of all columns, and a number among rows that are equal in all of them, as in
``5f0c…-1`` and ``5f0c…-2``. The same row has the same id at each run, in whatever order or file it comes; a row of
which anything changes has another one. So with ``--only-new`` an unchanged row is not scored again, and a changed one
is added beside what the row was before.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.tables.scores import column

__all__ = ["CONTENT_ID", "NO_ID", "with_content_ids"]

# What `--id-column` says for it, and the column that the output then has.
NO_ID, CONTENT_ID = "none", "review_id"
_HEX_DIGITS = 32


def with_content_ids(frame: DataFrame, *, target: str, without: frozenset[str] = frozenset()) -> DataFrame:
    """Add a column of ids; reads the table once to see whether rows are equal.

    Parameters
    ----------
    frame : DataFrame
    target : str
        Name of the new column.
    without : frozenset of str
        Columns that are not the row's own.
    """
    names = [name for name in frame.columns if name not in without]
    # Strings as bytes: of what is no UTF-8, the JSON would make the same character.
    values = [
        (column(name).cast("binary") if isinstance(frame.schema[name].dataType, T.StringType) else column(name))
        for name in names
    ]
    numbered = (value.alias(str(number)) for number, value in enumerate(values))
    content = F.to_json(F.struct(*numbered), {"ignoreNullFields": "false"})
    digest = F.substring(F.sha2(content, 256), 1, _HEX_DIGITS)
    digested = frame.withColumn(target, digest)
    equal = digested.groupBy(column(target)).count().where("count > 1").limit(1).collect()
    # Without equal rows, as is usual, no row need be moved to be numbered.
    number: Column = F.row_number().over(Window.partitionBy(column(target)).orderBy(F.lit(0))) if equal else F.lit(1)
    return digested.withColumn(target, F.concat_ws("-", column(target), number.cast("string")))
