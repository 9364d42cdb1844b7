"""Options of every verb that scores tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from functools import partial

from jobs.raw.options import add_reading_arguments, ratio_option
from jobs.scoring.settings import DEVICES, ScoringSettings
from jobs.shaping.casts import CAST_TYPES, parse_cast
from jobs.shaping.conditions import parse_condition
from jobs.tables.dates import date_format
from jobs.tables.reading import INPUT_FORMATS
from jobs.verbs.settings import add_option, meanings
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import UsageError

__all__ = ["add_scoring_arguments", "date_option"]


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the date."""
    add = partial(add_option, parser, ScoringSettings)
    add("input", action="store", nargs="+", metavar="PATH|TABLE")
    add("input_format", choices=INPUT_FORMATS)
    add_reading_arguments(parser)
    add("output", metavar="PATH")
    add("model", metavar="[NAME=]DIR")
    add("drivers", type=_whole_number("--drivers", 0, 100), metavar="K")
    add("id_column", metavar="NAME|none")
    add("text_column", metavar="NAME")
    add("keep_columns", metavar="A,B:OTHER|all")
    types = f"{meanings(ScoringSettings)['cast']}; types: {', '.join(CAST_TYPES)}; repeatable"
    add("cast", type=parse_cast, metavar="COLUMN=TYPE", help=types)
    add("date_format", type=date_format, metavar="PATTERN")
    add("where", type=parse_condition, metavar="CONDITION")
    add("partition_by", metavar="COLUMN")
    add("engine", choices=ENGINES)
    add("precision", choices=PRECISIONS)
    add("device", choices=DEVICES)
    add("groups", type=_whole_number("--groups", 1, 1_000_000), metavar="N")
    add("max_failed_ratio", type=ratio_option("--max-failed-ratio"), metavar="R")
    for flag in ("only_new", "allow_empty", "dry_run"):
        add(flag)


def date_option(option: str) -> Callable[[str], date]:
    """Parser of an option's date."""

    def parse(value: str) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise UsageError(f"{option} must be a date like 2026-11-23, not {value!r}") from None

    return parse


def _whole_number(option: str, least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise UsageError(f"{option} must be a whole number from {least} to {most:,}, not {value!r}")
        return int(value)

    return parse
