"""Show what a run would find in an input, before any run: files, dialects, columns, and the command that scores it."""

from __future__ import annotations

import argparse
import logging
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.raw.options import add_reading_arguments
from jobs.spark.session import spark_session
from jobs.tables.reading import INPUT_FORMATS, OpenedTable, open_input, refusing_unreadable
from jobs.tables.scores import column
from jobs.verbs.settings import reading_from

__all__ = ["add_arguments", "run"]

_LOGGER = logging.getLogger(__name__)

# Of a very wide table, more columns are not looked into.
_MOST_COLUMNS = 200
_MOST_NAMED = 20
_ID_TYPES = (T.StringType, T.IntegralType, T.DecimalType)
_DATE_TYPES = (T.DateType, T.TimestampType, T.TimestampNTZType)
_NAMES = {
    "id": re.compile(r"(?:.*[_. ])?(?:id|key|uuid|guid|nr|no|number)|_c0", re.IGNORECASE),
    "text": re.compile(r".*(?:text|review|body|comment|content|message|description|summary)", re.IGNORECASE),
    "product": re.compile(
        r"(?:.*[_. ])?(?:product|item|article|asin|sku)(?:[_. ]?(?:id|key|nr|no|number))?", re.IGNORECASE
    ),
    "date": re.compile(r".*(?:date|day|time|created|posted|published|timestamp).*", re.IGNORECASE),
    "label": re.compile(r".*(?:label|star|rating|score|sentiment|grade|liked|polarity|class).*", re.IGNORECASE),
}
# Values of a label are few.
_MOST_LABELS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``inspect`` verb."""
    parser.add_argument("input", nargs="+", metavar="INPUT", help="files, directories, patterns, URIs, or a table")
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name, else parquet")
    add_reading_arguments(parser)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Read the input once and emit what was found.

    Raises
    ------
    InputError
        If it cannot be read at all; malformed records are counted.
    """
    session = spark_session("sentiment inspect")
    settings = replace(reading_from(options), malformed_rows="set-aside", max_malformed_ratio=1.0)
    opened = open_input(session, options.input, input_format=options.input_format, settings=settings)
    with refusing_unreadable(", ".join(options.input)):
        facts = _facts(opened.frame)
    likely = _likely(opened.frame.schema, facts)
    with refusing_unreadable(", ".join(options.input)):
        found = _about_rows(opened.frame, likely)
    report = {
        "input": options.input,
        "files": _files(opened),
        "columns": [
            {"name": field.name, "type": field.dataType.simpleString()} | facts["columns"].get(field.name, {})
            for field in opened.frame.schema.fields
        ],
        "rows": facts["rows"],
        "malformed": _malformed(opened),
        "likely": likely,
        **found,
        "command": _command(options, likely),
    }
    emit(report)
    _show(report)
    malformed = f", {report['malformed']['records']:,} malformed records" if report["malformed"]["records"] else ""
    return f"{facts['rows']:,} rows{malformed}; score them with: {report['command']}"


def _files(opened: OpenedTable) -> list[dict[str, Any]]:
    raw = [{**file, "columns": len(file.get("columns", ()))} for each in opened.converted for file in each.files]
    return raw + [{"name": name, "format": "parquet"} for name in opened.parquet_files]


def _malformed(opened: OpenedTable) -> dict[str, Any]:
    records = [record for each in opened.converted for record in each.malformed.records]
    return {"records": len(records), "first": [asdict(record) for record in records[:_MOST_NAMED]]}


def _facts(frame: DataFrame) -> dict[str, Any]:
    """Of each column: how many rows have a value, about how many values there are, and what they could be read as."""
    asked: dict[tuple[str, str], Any] = {}
    for field in frame.schema.fields[:_MOST_COLUMNS]:
        value = column(field.name)
        asked[field.name, "filled"] = F.count(value)
        if isinstance(field.dataType, (*_ID_TYPES, *_DATE_TYPES, T.FractionalType, T.BooleanType)):
            asked[field.name, "distinct"] = F.approx_count_distinct(value, 0.02)
        if isinstance(field.dataType, T.StringType):
            asked[field.name, "mean_length"] = F.round(F.avg(F.length(value)), 1)
            asked[field.name, "dates"] = F.count(value.try_cast("date"))
            asked[field.name, "numbers"] = F.count(value.try_cast("double"))
    names = list(asked)
    counted = [value.alias(f"c{place}") for place, value in enumerate(asked.values())]
    row = frame.agg(F.count(F.lit(1)).alias("rows"), *counted).collect()[0]
    columns: dict[str, dict[str, Any]] = {}
    for place, (name, fact) in enumerate(names):
        columns.setdefault(name, {})[fact] = row[f"c{place}"]
    for found in columns.values():
        if "distinct" in found:  # an estimate, which may exceed the number of values
            found["distinct"] = min(found["distinct"], found["filled"])
    return {"rows": row["rows"], "columns": columns}


def _likely(schema: T.StructType, facts: dict[str, Any]) -> dict[str, str | None]:
    """The columns that are most likely the text, the id, the product, the date and the label."""
    rows, columns = max(1, facts["rows"]), facts["columns"]
    kinds = {field.name: field.dataType for field in schema.fields if field.name in columns}
    strings = [name for name, kind in kinds.items() if isinstance(kind, T.StringType)]

    def best(role: str, names: Sequence[str], score: Callable[[str], float]) -> str | None:
        named = {name: score(name) + bool(_NAMES[role].fullmatch(name)) for name in names}
        return max(named, key=lambda name: named[name], default=None)

    texts = [name for name in strings if columns[name]["dates"] < rows / 2 and columns[name]["numbers"] < rows / 2]
    longest = max((columns[name]["mean_length"] or 0.0 for name in texts), default=0.0) or 1.0
    text = best("text", texts, lambda name: 2 * (columns[name]["mean_length"] or 0.0) / longest)
    dates = [name for name, kind in kinds.items() if isinstance(kind, _DATE_TYPES)]
    # A plain year is a date to Spark, and may be an id.
    dates += [
        name
        for name in strings
        if columns[name]["dates"] >= 0.9 * columns[name]["filled"] and columns[name]["numbers"] < columns[name]["dates"]
    ]
    date = best("date", dates, lambda name: columns[name]["filled"] / rows)
    ids = [
        name
        for name, kind in kinds.items()
        if isinstance(kind, _ID_TYPES)
        and name not in (text, date)
        and columns[name]["filled"] == facts["rows"] > 0
        and columns[name]["distinct"] >= 0.9 * rows
    ]
    ids = [name for name in ids if _NAMES["id"].fullmatch(name)] or [name for name in ids if rows > _MOST_LABELS]
    identity = best("id", ids, lambda name: columns[name]["distinct"] / rows)
    products = [
        name
        for name, kind in kinds.items()
        if isinstance(kind, _ID_TYPES) and name not in (text, date, identity) and _NAMES["product"].fullmatch(name)
    ]
    # The product column that `summarize` reads by default comes first.
    product = best("product", products, lambda name: float(name == "product_id"))
    labels = [
        name
        for name in columns
        if name not in (text, date, identity, product) and 1 < columns[name].get("distinct", 0) <= _MOST_LABELS
    ]
    labels = [name for name in labels if _NAMES["label"].fullmatch(name)]
    label = best("label", labels, lambda name: columns[name]["filled"] / rows)
    return {"id": identity, "text": text, "product": product, "date": date, "label": label}


def _about_rows(frame: DataFrame, likely: dict[str, str | None]) -> dict[str, Any]:
    """Repeated ids and the range of dates."""
    found: dict[str, Any] = {"repeated_ids": None, "dates": None}
    if likely["id"] is not None:
        identity = column(likely["id"])
        row = frame.agg(F.count(identity).alias("ids"), F.count_distinct(identity).alias("distinct")).collect()[0]
        found["repeated_ids"] = row["ids"] - row["distinct"]
    if likely["date"] is not None:
        date = column(likely["date"]).try_cast("date")
        row = frame.agg(*(F.date_format(edge(date), "yyyy-MM-dd") for edge in (F.min, F.max))).collect()[0]
        found["dates"] = {"first": row[0], "last": row[1]}
    return found


def _command(options: argparse.Namespace, likely: dict[str, str | None]) -> str:
    """The command that scores the input, as a shell reads it."""
    words = ["sentiment", "score", "--input", *options.input, "--output", "scores"]
    words += ["--id-column", likely["id"] or "none", "--text-column", likely["text"] or "TEXT_COLUMN"]
    kept = [f'"{name}"' if "," in name else name for name in map(likely.get, ("product", "date", "label")) if name]
    words += ["--keep-columns", ",".join(kept)] if kept else []
    given = {
        "--input-format": options.input_format,
        "--encoding": options.encoding,
        "--csv-delimiter": {"": "none", "\t": "tab"}.get(options.csv_delimiter, options.csv_delimiter),
        "--csv-quote": "none" if options.csv_quote == "" else options.csv_quote,
        "--csv-escape": "none" if options.csv_escape == "" else options.csv_escape,
        "--csv-header": None if options.csv_header == "auto" else options.csv_header,
        "--csv-skip": options.csv_skip or None,
    }
    for option, value in given.items():
        words += [option, str(value)] if value is not None else []
    for word in options.csv_null or ():
        words += ["--csv-null", word]
    return shlex.join(words)


def _show(report: dict[str, Any]) -> None:
    """The same for a reader, in the log."""
    for file in report["files"][:_MOST_NAMED]:
        if file["format"] == "parquet":
            _LOGGER.info("%s: parquet", file["name"])
    for field in report["columns"]:
        about = [f"{field['filled']:,} filled"] if "filled" in field else []
        about += [f"about {field['distinct']:,} values"] if "distinct" in field else []
        about += [f"{field['mean_length']} characters"] if field.get("mean_length") is not None else []
        role = next((f"likely the {role}" for role, name in report["likely"].items() if name == field["name"]), None)
        _LOGGER.info("%s %s: %s", field["name"], field["type"], ", ".join([*about, *([role] if role else [])]))
    for record in report["malformed"]["first"]:
        _LOGGER.info("malformed: %s line %s: %s", record["file"], f"{record['line']:,}", record["reason"])
    if report["repeated_ids"]:
        _LOGGER.info("%s rows have an id that another row has", f"{report['repeated_ids']:,}")
    if report["dates"]:
        _LOGGER.info("dates from %s to %s", report["dates"]["first"], report["dates"]["last"])
