"""Pre-train a word language model, or import one of GluonNLP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment_core.lazy import exports

if TYPE_CHECKING:
    from sentiment_core.language_model.run import PretrainSettings, pretrain

__all__ = ["PretrainSettings", "pretrain"]

__getattr__ = exports(__name__, {"PretrainSettings": "run", "pretrain": "run"})
