"""Options that verbs share: the fields of a settings dataclass, and the language model to start from."""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import fields
from typing import Any

from jobs.verbs.settings import settings_from
from sentiment_core.artifact import Model, bundled_model_path, load_model

__all__ = ["add_language_model", "add_settings", "language_model_from", "settings_from"]

# NumPy style: names, a colon and a type; below it, indented, what they mean.
_PARAMETER = re.compile(r"^(\w+(?:, \w+)*) : .+\n((?: {4}.+\n?)+)", re.MULTILINE)


def add_settings(parser: argparse.ArgumentParser, settings: type[Any]) -> None:
    """Add ``--field-name`` for each field, with the field's default and what the docstrings say of it."""
    group = parser.add_argument_group("recipe")
    meanings = _meanings(settings)
    for field in fields(settings):
        kind = type(field.default)
        option = "--" + field.name.replace("_", "-")
        meaning = meanings[field.name].replace("%", "%%")
        group.add_argument(
            option,
            type=kind,
            default=field.default,
            metavar=kind.__name__.upper(),
            help=f"{meaning} (default: %(default)s)",
        )


def _meanings(settings: type[Any]) -> dict[str, str]:
    """What is said of each parameter in the docstrings of a class and of those that it inherits from."""
    found: dict[str, str] = {}
    for kind in reversed(settings.__mro__):
        for names, text in _PARAMETER.findall(inspect.cleandoc(kind.__doc__ or "")):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()).removesuffix("."))
    return found


def add_language_model(parser: argparse._ActionsContainer) -> None:
    """Add ``--language-model``."""
    parser.add_argument(
        "--language-model", default="none", metavar="DIR|bundled|none", help="what to start from: %(default)s"
    )


def language_model_from(options: argparse.Namespace) -> Model | None:
    """The language model that was named, or None."""
    if options.language_model == "none":
        return None
    bundled = options.language_model == "bundled"
    path = bundled_model_path("language_model") if bundled else options.language_model
    return load_model(path, kind="language_model")
