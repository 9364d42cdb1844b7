"""Which reviews are held out: decided by a hash of a key, so that all runs and verbs of one split agree.

Reviews of one product resemble each other; with the product as the key, a held-out review's product has never been
trained on, and a language model can leave out the very reviews that fine-tuning will measure on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.errors import UsageError

__all__ = ["Split", "held_out_mask"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Split:
    """What decides on the held-out part: two runs on the same reviews hold out the same ones if theirs is the same.

    Attributes
    ----------
    column : str
        The rows of one value stay together.
    fraction : float
        Expected share that is held out.
    """

    column: str
    fraction: float

    def __str__(self) -> str:
        return f"{self.fraction:g} held out by {self.column!r}"

    def provenance(self, start: Mapping[str, Any]) -> dict[str, Any]:
        """What the provenance of a model says of its split; ``start`` is that of the model that it grows from."""
        if not self.differs_from(start):
            return self._rule
        _LOGGER.warning(
            "the model to start from was trained on another split than this one (%s): if the reviews are the same, "
            "some of those that are measured have been learnt before",
            self,
        )
        return self._rule | {"started_from_another_split": True}

    def differs_from(self, provenance: Mapping[str, Any]) -> bool:
        """Whether a model, or one that it grew from, is known to have been trained on another split."""
        return bool(provenance.get("started_from_another_split")) or any(
            provenance.get(name, value) != value for name, value in self._rule.items()
        )

    @property
    def _rule(self) -> dict[str, Any]:
        return {"held_out_by": self.column, "held_out_fraction": self.fraction}


def held_out_mask(keys: pa.Array | pa.ChunkedArray, *, fraction: float = 0.1) -> npt.NDArray[np.bool_]:
    """Mark the held-out part.

    Parameters
    ----------
    keys : Arrow array of string, shape (N,)
        Rows of one key stay together; nulls count as one key.
    fraction : float
        Expected share of the keys, from 0 to below 1.

    Returns
    -------
    array of bool, shape (N,)
        True where the row is held out.
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"the held-out fraction must be from 0 to below 1, not {fraction}")
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    if pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type) or pa.types.is_string_view(keys.type):
        keys = keys.cast(pa.large_binary())  # a key that is not UTF-8 is a key like others
    encoded = keys.dictionary_encode(null_encoding="encode")
    limit = int(fraction * 2**64)
    marked = np.array([_hash(key) < limit for key in encoded.dictionary.to_pylist()], dtype=np.bool_)
    rows: npt.NDArray[np.bool_] = marked[encoded.indices.to_numpy()]
    return rows


def _hash(key: object) -> int:
    content = key if isinstance(key, bytes) else str(key).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
