"""Fine-tune a model, distil a teacher into it, and calibrate its probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from sentiment_core.training.run import TrainSettings, train

__all__ = ["TrainSettings", "train"]

__getattr__ = exports(__name__, {"TrainSettings": "run", "train": "run"})
