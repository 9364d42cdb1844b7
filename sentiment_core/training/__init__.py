"""Fine-tune a model, distil a teacher into it, and calibrate its probabilities."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentiment_core.training.run import TrainSettings, train

__all__ = ["TrainSettings", "train"]


def __getattr__(name: str) -> object:
    """Import what this package exports at its first use: a module of it costs its own imports alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sentiment_core.training.run"), name)
