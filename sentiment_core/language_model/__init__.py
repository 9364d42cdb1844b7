"""Pre-train a word language model, or import one of GluonNLP."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentiment_core.language_model.run import PretrainSettings, pretrain

__all__ = ["PretrainSettings", "pretrain"]


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sentiment_core.language_model.run"), name)
