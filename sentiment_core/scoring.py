"""Texts -> probabilities: batches of similar length, answers in the original order.

Axes: N texts, T tokens (time) of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.errors import EnvironmentFault, NonFiniteError, UsageError
from sentiment_core.mxnet_setup import prepare_mxnet
from sentiment_core.text import PADDING_ID, EncodedTexts

__all__ = ["ENGINES", "PRECISIONS", "Engine", "Scorer", "Scores"]

ENGINES = ("auto", "mxnet")
PRECISIONS = ("float32",)
# The engine compiles each batch shape: padded lengths are multiples of max_tokens / 20.
_LENGTH_STEPS = 20


class Engine(Protocol):
    """What turns a padded token batch into logits."""

    @property
    def device(self) -> str:
        """Where it computes, ``cpu`` or ``gpu:N``."""

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids, (N,) lengths -> (N,) logits."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of N texts, in the order in which they came.

    Attributes
    ----------
    positive_probability : array of float64, shape (N,), 0 to 1
        NaN for a text without a token.
    n_tokens : array of int32, shape (N,)
        Tokens before clipping.
    n_unknown : array of int32, shape (N,)
        Tokens outside the vocabulary among those scored.
    truncated : array of bool, shape (N,)
        Whether the text was clipped to the model's length.
    sentiment : array of str objects or None, shape (N,)
        ``negative``, ``neutral`` or ``positive`` by the model's cut-offs; None with a NaN.
    """

    positive_probability: npt.NDArray[np.float64]
    n_tokens: npt.NDArray[np.int32]
    n_unknown: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    sentiment: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.positive_probability)

    @cached_property
    def status(self) -> npt.NDArray[np.object_]:
        """``ok``, ``truncated`` or ``empty``, shape (N,)."""
        status = np.where(self.truncated, "truncated", "ok").astype(object)
        status[self.n_tokens == 0] = "empty"
        return status


class Scorer:
    """A model ready to score.

    Parameters
    ----------
    model : Model
        What `sentiment_core.artifact.load_model` returns.
    engine : str
        One of ``ENGINES``.
    precision : str
        One of ``PRECISIONS``.
    device : str
        ``cpu`` or ``gpu:N``.
    threads : int, optional
        CPU threads; all cores that this process may use by default. MXNet reads it once, at its import.
    max_batch_tokens : int
        Padded tokens in one batch.

    Raises
    ------
    UsageError
        If an option has no such value.
    EnvironmentFault
        If the engine's package or device is not there.
    """

    def __init__(
        self,
        model: Model,
        *,
        engine: str = "auto",
        precision: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int = 16_384,
    ) -> None:
        if max_batch_tokens < 1:
            raise UsageError(f"max_batch_tokens must be at least 1, not {max_batch_tokens}")
        if model.kind != "sentiment":
            raise UsageError(f"a {model.kind} cannot score; fine-tune it first with `sentiment train`")
        self.model = model
        self.max_batch_tokens = max_batch_tokens
        self.engine = _make_engine(model, engine=engine, precision=precision, device=device, threads=threads)

    def score_texts(self, texts: pa.Array | pa.ChunkedArray | Sequence[str | None]) -> Scores:
        """Score texts.

        Parameters
        ----------
        texts : Arrow array of string or sequence of str, shape (N,)
            Any content, nulls included.

        Raises
        ------
        NonFiniteError
            If the engine returned NaN or infinity; names the positions.
        """
        if not isinstance(texts, pa.Array | pa.ChunkedArray):
            try:
                texts = pa.array(texts, pa.large_string())
            except UnicodeEncodeError:  # lone surrogates; as bytes, the text pipeline repairs them
                texts = [text if text is None else text.encode(errors="surrogatepass") for text in texts]
                texts = pa.array(texts, pa.large_binary())
        encoded = self.model.text.encode(texts)
        logits = self._logits(encoded)
        empty = encoded.valid_length == 0
        broken = np.flatnonzero(~np.isfinite(logits) & ~empty)
        if len(broken):
            raise NonFiniteError(tuple(broken.tolist()))
        decision = self.model.decision
        probability = np.where(empty, np.nan, decision.probability(np.where(empty, 0.0, logits)))
        sentiment = np.full(len(encoded), "neutral", dtype=object)
        sentiment[probability < decision.negative_below] = "negative"
        sentiment[probability >= decision.positive_from] = "positive"
        sentiment[empty] = None
        return Scores(
            positive_probability=probability,
            n_tokens=encoded.n_tokens,
            n_unknown=encoded.n_unknown,
            truncated=encoded.n_tokens > encoded.valid_length,
            sentiment=sentiment,
        )

    def _logits(self, encoded: EncodedTexts) -> npt.NDArray[np.float32]:
        logits = np.full(len(encoded), np.nan, np.float32)
        for rows, token_ids, valid_length in self._batches(encoded):
            logits[rows] = self.engine.logits(token_ids, valid_length)[: len(rows)]
        return logits

    def _batches(self, encoded: EncodedTexts) -> Iterator[tuple[Any, Any, Any]]:
        """Rows, padded ids (T, N) and lengths (N,), longest first; few shapes, the token budget kept.

        Short of one row, a batch is filled up with texts of length 0, so that only the last of all has an
        uncommon shape: the next power of two.
        """
        lengths = encoded.valid_length
        order = np.argsort(-lengths, kind="stable")
        order = order[: np.count_nonzero(lengths)]
        step = -(-self.model.text.settings.max_tokens // _LENGTH_STEPS)
        start = 0
        while start < len(order):
            padded = step * -(-int(lengths[order[start]]) // step)
            size = max(1, self.max_batch_tokens // padded)
            rows = order[start : start + size]
            start += size
            if len(rows) < size:
                size = min(size, 1 << (len(rows) - 1).bit_length())
            valid_length = np.zeros(size, np.int32)
            valid_length[: len(rows)] = lengths[rows]
            position = np.arange(padded)[:, None]
            inside = position < valid_length
            token_ids = np.full((padded, size), PADDING_ID, np.int32)
            first = np.zeros(size, np.int64)
            first[: len(rows)] = encoded.offsets[rows]
            token_ids[inside] = encoded.token_ids[(first + position)[inside]]
            yield rows, token_ids, valid_length


def _make_engine(model: Model, *, engine: str, precision: str, device: str, threads: int | None) -> Engine:
    if engine not in ENGINES:
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if device != "cpu" and not (device.startswith("gpu:") and device[4:].isdigit()):
        raise UsageError(f"device must be cpu or gpu:N, not {device!r}")
    prepare_mxnet(threads=threads)
    try:
        from sentiment_core.engines.mxnet import MXNetEngine
    except (ImportError, OSError) as error:
        raise EnvironmentFault(
            f"MXNet cannot be loaded ({error}); install the package on Linux x86-64 with libgomp1 and libquadmath0"
        ) from error
    return MXNetEngine(model, gpu=None if device == "cpu" else int(device[4:]))
