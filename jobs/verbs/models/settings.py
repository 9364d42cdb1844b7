"""Options that verbs share: the fields of a settings dataclass, and the language model to start from."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from jobs.verbs.settings import add_option, settings_from
from sentiment_core.artifact import Model, bundled_model_path, load_model

__all__ = ["add_language_model", "add_settings", "language_model_from", "settings_from"]


def add_settings(parser: argparse.ArgumentParser, settings: type[Any]) -> None:
    """Add an option for each field of a recipe."""
    group = parser.add_argument_group("recipe")
    for field in fields(settings):
        add_option(group, settings, field.name, metavar=type(field.default).__name__.upper())


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
