"""The marts' columns for people and for a Hive metastore, from `jobs/marts/schemas.py`."""

from __future__ import annotations

import re

from jobs.marts.schemas import COMMENTS, MARTS, mart_schema

__all__ = ["marts_page", "tables"]

_TABLE_HEAD = "| column | type | meaning |\n|---|---|---|\n"
_HEAD = """-- The marts and the scores as tables of a metastore, for Spark SQL:
--   spark-sql -d marts=/path/to/marts -d scores=/path/to/scores -f jobs/marts/queries/setup/tables.sql
-- A new month becomes a new folder: repeat the last eight lines after each refresh that begins one (it does no harm).
-- The type of product is that of the scores' product column; string here.
"""
_SCORES = "CREATE TABLE IF NOT EXISTS scores\nUSING parquet\nLOCATION '${scores}';\n"


def marts_page(page: str) -> str:
    """The page with a table of columns in each mart's section; all else stays as it is.

    Parameters
    ----------
    page : str
        `docs/reference/marts.md`.

    Raises
    ------
    ValueError
        If a mart has no section with a table.
    """
    for mart in MARTS:
        table = re.compile(rf"(?<=\n)(## {mart}\n(?:(?!## ).*\n)*?){re.escape(_TABLE_HEAD)}(?:\|.*\n)*")
        rows = "".join(
            f"| `{field.name}` | {field.dataType.simpleString()} | {field.metadata['comment']} |\n"
            for field in mart_schema(mart)
        )
        page, found = table.subn(lambda match, rows=rows: match[1] + _TABLE_HEAD + rows, page)
        if found != 1:
            raise ValueError(f"the page needs one section `## {mart}` with a table of columns, and has {found}")
    return page


def tables() -> str:
    """``CREATE TABLE`` of each mart with its comments, in Spark SQL; ``${marts}`` stands for the path."""
    repairs = "".join(f"MSCK REPAIR TABLE {name};\n" for name in (*MARTS, "scores"))
    return "\n".join([_HEAD, *map(_create_table, MARTS), _SCORES, repairs])


def _create_table(mart: str) -> str:
    columns = ",\n".join(
        f"  {field.name} {field.dataType.simpleString()} COMMENT {_quoted(field.metadata['comment'])}"
        for field in mart_schema(mart)
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {mart} (\n{columns}\n)\n"
        f"USING parquet\nPARTITIONED BY (month)\nCOMMENT {_quoted(COMMENTS[mart])}\nLOCATION '${{marts}}/{mart}';\n"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
