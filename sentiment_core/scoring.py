"""Texts -> probabilities: batches of similar length, answers in the original order.

Axes: N texts, T tokens (time) of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.batching import token_batches
from sentiment_core.engines.isolated import IsolatedEngine
from sentiment_core.engines.selection import make_engine
from sentiment_core.errors import NonFiniteError, UsageError
from sentiment_core.halving import Halving
from sentiment_core.surviving import HARMLESS_IDS, HARMLESS_TEXT, surviving_ids, surviving_logits
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
    failure : array of str objects or None, shape (N,)
        Why a text could not be scored, one of `sentiment_core.halving.FAILURES`; its other values mean nothing.
    """

    positive_probability: npt.NDArray[np.float64]
    n_tokens: npt.NDArray[np.int32]
    n_unknown: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    sentiment: npt.NDArray[np.object_]
    failure: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.positive_probability)

    def take(self, rows: npt.NDArray[np.int32]) -> Scores:
        """The scores at these positions, in this order."""
        return Scores(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def failures(self) -> Counter[str]:
        """Texts that could not be scored, by reason."""
        return Counter(self.failure[self.failure != None])  # noqa: E711, element by element

    @cached_property
    def status(self) -> npt.NDArray[np.object_]:
        """``ok``, ``truncated``, ``empty`` or ``failed``, shape (N,)."""
        status = np.where(self.truncated, "truncated", "ok").astype(object)
        status[self.n_tokens == 0] = "empty"
        status[self.failure != None] = "failed"  # noqa: E711, element by element
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
    isolated : bool
        Whether the engine and the text pipeline run in a process of their own, so that a text on which they crash is
        one that failed.

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
        isolated: bool = False,
    ) -> None:
        if max_batch_tokens is not None and max_batch_tokens < 1:
            raise UsageError(f"max_batch_tokens must be at least 1, not {max_batch_tokens}")
        if model.kind != "sentiment":
            raise UsageError(f"a {model.kind} cannot score; fine-tune it first with `sentiment train`")
        self.model = model
        make = IsolatedEngine if isolated else make_engine
        self.engine = make(model, engine=engine, precision=precision, device=device, threads=threads)
        self._encode = self.engine.encode if isinstance(self.engine, IsolatedEngine) else model.text.encode
        self.max_batch_tokens = max_batch_tokens or self.engine.batch_tokens

    def score_texts(
        self, texts: pa.Array | pa.ChunkedArray | Sequence[str | None], *, mark_failed: bool = False
    ) -> Scores:
        """Score texts.

        Parameters
        ----------
        texts : Arrow array of string or sequence of str, shape (N,)
            Any content, nulls included.
        mark_failed : bool
            Whether a text on which the engine fails gets a ``failure``, and the others the scores that they get without
            it; raises otherwise.

        Raises
        ------
        NonFiniteError
            If the engine returned NaN or infinity; names the positions.
        EnvironmentFault
            If the engine fails on every text.
        Exception
            What the engine raised on a text.
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
        texts = coded.dictionary
        encoding = Halving("the text pipeline", probe=lambda: self._encode(HARMLESS_TEXT))
        encoded = surviving_ids(texts, encode=self._encode, halving=encoding)
        scoring = Halving(f"the engine {self.engine.name}", probe=lambda: self.engine.logits(*HARMLESS_IDS))
        logits = self._logits(encoded, scoring)
        if not mark_failed:
            for halving in (encoding, scoring):
                _raise_first(halving, rows)
        empty = encoded.valid_length == 0
        failure = np.full(len(encoded), None, dtype=object)
        for row, reason in (encoding.failed | scoring.failed).items():
            failure[row] = reason
        return self._scores(encoded, logits, empty=empty, failure=failure).take(rows)

    def _scores(
        self,
        encoded: EncodedTexts,
        logits: npt.NDArray[np.float32],
        *,
        empty: npt.NDArray[np.bool_],
        failure: npt.NDArray[np.object_],
    ) -> Scores:
        decision = self.model.decision
        missing = empty | (failure != None)  # noqa: E711, element by element
        probability = np.where(missing, np.nan, decision.probability(np.where(missing, 0.0, logits)))
        sentiment = np.full(len(encoded), "neutral", dtype=object)
        sentiment[probability < decision.negative_below] = "negative"
        sentiment[probability >= decision.positive_from] = "positive"
        sentiment[missing] = None
        return Scores(
            positive_probability=probability,
            n_tokens=encoded.n_tokens,
            n_unknown=encoded.n_unknown,
            truncated=encoded.n_tokens > encoded.valid_length,
            sentiment=sentiment,
            failure=failure,
        )

    def _logits(self, encoded: EncodedTexts, halving: Halving) -> npt.NDArray[np.float32]:
        logits = np.full(len(encoded), np.nan, np.float32)
        for batch in token_batches(
            encoded, max_batch_tokens=self.max_batch_tokens, length_step=self.engine.length_step
        ):
            for rows, found in surviving_logits(batch, logits=self.engine.logits, halving=halving):
                logits[rows] = found
        return logits


def _raise_first(failures: Halving, rows: npt.NDArray[np.int32]) -> None:
    """Raise what the first failed text raised; all that are not finite together."""
    broken = [row for row, reason in failures.failed.items() if reason == "non_finite"]
    if broken:
        raise NonFiniteError(tuple(np.flatnonzero(np.isin(rows, broken)).tolist()))
    for error in failures.errors.values():
        raise error
