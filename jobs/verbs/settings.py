"""The settings of the functions behind the verbs, to options and from parsed ones; it imports no Spark."""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from jobs.raw.dialect import CsvSettings
from jobs.raw.options import ReadingSettings

__all__ = ["add_option", "meanings", "reading_from", "settings_from"]

S = TypeVar("S")

# NumPy style: names, a colon and a type; below it, indented, what they mean.
_PARAMETER = re.compile(r"^(\w+(?:, \w+)*) : .+\n((?: {4}.+\n?)+)", re.MULTILINE)


def add_option(parser: argparse._ActionsContainer, kind: type[Any], name: str, **given: Any) -> None:
    """Add the option of a field of settings: its default, and what their docstring says of it.

    Parameters
    ----------
    parser : ArgumentParser or group
    kind : type
        A dataclass.
    name : str
        The field; a tuple is an option that is repeated, a boolean one that takes no value.
    **given
        What `argparse` cannot know, or should not take from the settings.
    """
    (field,) = (field for field in fields(kind) if field.name == name)
    meaning, default = meanings(kind).get(name, ""), field.default
    made: dict[str, Any] = {}
    if field.default_factory is not MISSING:
        made["default"] = argparse.SUPPRESS  # the settings make it
    elif default is MISSING:
        made["required"] = True
    elif default is False:
        made["action"] = "store_true"
    elif str(field.type).startswith("tuple"):
        made |= {"action": "append", "default": None if default is None else list(default)}
        meaning += "; repeatable"
    elif default in (None, ""):
        made["default"] = default
    else:
        made |= {"default": default, "type": type(default)}
        meaning += " (default: %(default)s)"
    made["help"] = meaning
    parser.add_argument("--" + name.replace("_", "-"), **made | given)


def meanings(kind: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of those that it inherits from say of each parameter, for `argparse`."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for names, text in _PARAMETER.findall(inspect.cleandoc(base.__doc__ or "")):
            said = " ".join(text.split()).removesuffix(".").replace("``", "`").replace("%", "%%")
            is_abbreviation = said[1:2].isupper()
            found |= dict.fromkeys(names.split(", "), said if is_abbreviation else said[:1].lower() + said[1:])
    return found


def settings_from(options: argparse.Namespace, kind: type[S]) -> S:
    """Settings of a kind whose fields are named as the options; those of `add_reading_arguments` are one field."""
    given: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name == "reading":
            given["reading"] = reading_from(options)
        elif hasattr(options, field.name):  # what is not there has a default that the settings make
            value = getattr(options, field.name)
            given[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)


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
