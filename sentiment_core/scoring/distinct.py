"""Texts as the distinct ones among them, encoded.

Axes: N texts, M distinct ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.engines.halving import Halving
from sentiment_core.scoring.surviving import HARMLESS_TEXT, surviving_ids
from sentiment_core.text.pipeline import EncodedTexts, valid_utf8

__all__ = ["DistinctTexts", "distinct_texts"]


@dataclass(frozen=True, kw_only=True)
class DistinctTexts:
    """N texts as M distinct ones.

    Attributes
    ----------
    texts : Arrow array of string, shape (M,)
    rows : array of int32, shape (N,), 0 to M - 1
    encoded : EncodedTexts
        Of the M.
    encoding : Halving
        What of them could not be encoded.
    """

    texts: pa.LargeStringArray
    rows: npt.NDArray[np.int32]
    encoded: EncodedTexts
    encoding: Halving


def distinct_texts(
    texts: pa.Array | pa.ChunkedArray | Sequence[str | None],
    *,
    encode: Callable[[pa.LargeStringArray], EncodedTexts],
    most_failed: int = sys.maxsize,
) -> DistinctTexts:
    """Encode texts, equal ones, which short reviews often are, once: a score does not depend on the neighbours.

    Parameters
    ----------
    texts : Arrow array of string or sequence of str, shape (N,)
        Any content, nulls included.
    encode : callable
        The text pipeline.
    most_failed : int
        Texts on which it may fail.
    """
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        try:
            texts = pa.array(texts, pa.large_string())
        except UnicodeEncodeError:  # lone surrogates; as bytes, the text pipeline repairs them
            texts = [text if text is None else text.encode(errors="surrogatepass") for text in texts]
            texts = pa.array(texts, pa.large_binary())
    coded = valid_utf8(texts).dictionary_encode(null_encoding="encode")
    harmless = pa.array([HARMLESS_TEXT], pa.large_string())
    encoding = Halving("the text pipeline", probe=lambda: encode(harmless), most_failed=most_failed)
    encoded = surviving_ids(coded.dictionary, encode=encode, halving=encoding)
    return DistinctTexts(texts=coded.dictionary, rows=coded.indices.to_numpy(), encoded=encoded, encoding=encoding)
