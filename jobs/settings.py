"""Fields of a settings dataclass as command line options, so that every setting has one name and one default."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, TypeVar

__all__ = ["add_settings", "settings_from"]

S = TypeVar("S")


def add_settings(parser: argparse.ArgumentParser, settings: type[Any]) -> None:
    """Add ``--field-name`` for each field, with the field's default."""
    group = parser.add_argument_group("recipe")
    for field in fields(settings):
        kind = type(field.default)
        option = "--" + field.name.replace("_", "-")
        group.add_argument(option, type=kind, default=field.default, metavar=kind.__name__.upper(), help="%(default)s")


def settings_from(options: argparse.Namespace, settings: type[S]) -> S:
    """The settings that were given on the command line."""
    return settings(**{field.name: getattr(options, field.name) for field in fields(settings)})  # type: ignore[arg-type]
