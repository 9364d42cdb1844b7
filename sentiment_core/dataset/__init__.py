"""Split, sample and batch labelled reviews."""

from __future__ import annotations

from sentiment_core.dataset.batches import Dataset, shuffled_batches

__all__ = ["Dataset", "shuffled_batches"]
