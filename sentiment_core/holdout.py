"""Which reviews are held out: decided by a hash of a key, so that every run and every verb agrees.

Reviews of one product resemble each other; with the product as the key, a held-out review's product has never been
trained on, and a language model can leave out the very reviews that fine-tuning will measure on.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.errors import UsageError

__all__ = ["held_out_mask"]


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
