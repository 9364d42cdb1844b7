"""The settings of the functions behind the verbs, from parsed options; it imports no Spark."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, TypeVar

from jobs.raw.dialect import CsvSettings
from jobs.raw.options import ReadingSettings

__all__ = ["reading_from", "settings_from"]

S = TypeVar("S")


def settings_from(options: argparse.Namespace, kind: type[S]) -> S:
    """Settings of a kind whose fields are named as the options; those of `add_reading_arguments` are one field."""

    def given(name: str) -> Any:
        if name == "reading":
            return reading_from(options)
        value = getattr(options, name)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{field.name: given(field.name) for field in fields(kind)})  # type: ignore[arg-type]


def reading_from(options: argparse.Namespace) -> ReadingSettings:
    """From the options of `add_reading_arguments`."""
    return ReadingSettings(
        csv=CsvSettings(
            delimiter=options.csv_delimiter,
            quote=options.csv_quote,
            escape=options.csv_escape,
            header={"auto": None, "present": True, "absent": False}[options.csv_header],
            skip=options.csv_skip,
            nulls=tuple(options.csv_null) if options.csv_null else CsvSettings().nulls,
        ),
        encoding=options.encoding,
        malformed_rows=options.malformed_rows,
        max_malformed_ratio=options.max_malformed_ratio,
    )
