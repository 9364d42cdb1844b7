"""Texts -> probabilities: batches of similar length, answers in the original order.

Axes: N texts, T tokens (time) of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.batching import token_batches
from sentiment_core.engines.selection import make_engine
from sentiment_core.errors import NonFiniteError, UsageError
from sentiment_core.text import EncodedTexts, valid_utf8

__all__ = ["Scorer", "Scores"]


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

    def take(self, rows: npt.NDArray[np.int32]) -> Scores:
        """The scores at these positions, in this order."""
        return Scores(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

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
    engine, precision, device : str
        See `sentiment_core.engines.selection.choose_engine`.
    threads : int, optional
        CPU threads; all cores that this process may use by default.
    max_batch_tokens : int, optional
        Padded tokens in one batch at most; by default what suits the engine.

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
        precision: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        max_batch_tokens: int | None = None,
    ) -> None:
        if max_batch_tokens is not None and max_batch_tokens < 1:
            raise UsageError(f"max_batch_tokens must be at least 1, not {max_batch_tokens}")
        if model.kind != "sentiment":
            raise UsageError(f"a {model.kind} cannot score; fine-tune it first with `sentiment train`")
        self.model = model
        self.engine = make_engine(model, engine=engine, precision=precision, device=device, threads=threads)
        self.max_batch_tokens = max_batch_tokens or self.engine.batch_tokens

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
        # Equal texts, which short reviews often are, are scored once: a score does not depend on the neighbours.
        coded = valid_utf8(texts).dictionary_encode(null_encoding="encode")
        rows = coded.indices.to_numpy()
        encoded = self.model.text.encode(coded.dictionary)
        logits = self._logits(encoded)
        empty = encoded.valid_length == 0
        broken = ~np.isfinite(logits) & ~empty
        if broken.any():
            raise NonFiniteError(tuple(np.flatnonzero(broken[rows]).tolist()))
        return self._scores(encoded, logits, empty).take(rows)

    def _scores(self, encoded: EncodedTexts, logits: npt.NDArray[np.float32], empty: npt.NDArray[np.bool_]) -> Scores:
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
        for batch in token_batches(
            encoded, max_batch_tokens=self.max_batch_tokens, length_step=self.engine.length_step
        ):
            logits[batch.rows] = self.engine.logits(batch.token_ids, batch.valid_length)[: len(batch.rows)]
        return logits
