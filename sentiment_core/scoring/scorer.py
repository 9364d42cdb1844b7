"""Texts -> probabilities: batches of similar length, answers in the original order.

Axes: N texts, T tokens (time) of a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_core.artifact import Model
from sentiment_core.engines.halving import Halving, Rows
from sentiment_core.engines.isolated import IsolatedEngine
from sentiment_core.engines.selection import make_engine
from sentiment_core.errors import NonFiniteError, UsageError
from sentiment_core.mxnet_setup import available_cores
from sentiment_core.scoring.batching import token_batches
from sentiment_core.scoring.distinct import DistinctTexts, distinct_texts
from sentiment_core.scoring.drivers import changes, leaning_words, probes, strongest_terms
from sentiment_core.scoring.explanation import Explanation
from sentiment_core.scoring.scores import Scores
from sentiment_core.scoring.surviving import HARMLESS_IDS, Ids, Logits, surviving_logits
from sentiment_core.text.familiarity import word_rarity
from sentiment_core.text.pipeline import EncodedTexts, split

__all__ = ["Scorer", "Scores", "score_by_each"]

# Batches that wait for each thread.
_WINDOW = 16


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
        self.encode_texts = self.engine.encode if isinstance(self.engine, IsolatedEngine) else model.text.encode
        self.max_batch_tokens = max_batch_tokens or self.engine.batch_tokens
        self._threads = threads or available_cores()

    @property
    def lanes(self) -> int:
        """Calls of `score_texts` that pay at the same time, by as many threads.

        On a GPU, one more than there are threads to read texts: while it computes one array, they read the next.
        """
        return 1 if self.engine.device == "cpu" or self.engine.concurrency == 1 else self._threads + 1

    def score_texts(
        self,
        texts: pa.Array | pa.ChunkedArray | Sequence[str | None],
        *,
        mark_failed: bool = False,
        drivers: int = 0,
    ) -> Scores:
        """Score texts.

        Parameters
        ----------
        texts : Arrow array of string or sequence of str, shape (N,)
            Any content, nulls included.
        mark_failed : bool
            Whether a text on which the engine fails gets a ``failure``, and the others the scores that they get without
            it; raises otherwise.
        drivers : int
            Words, and pairs of words, that are named for each text at most; none by default.

        Raises
        ------
        NonFiniteError
            If the engine returned NaN or infinity; names the positions.
        EnvironmentFault
            If the engine fails on every text.
        Exception
            What the engine raised on a text.
        """
        return self.score_distinct(self.distinct(texts), mark_failed=mark_failed, drivers=drivers)

    def distinct(
        self, texts: pa.Array | pa.ChunkedArray | Sequence[str | None], *, most_failed: int = sys.maxsize
    ) -> DistinctTexts:
        """Encode texts, equal ones once, for every scorer with the same text pipeline."""
        return distinct_texts(texts, encode=self.encode_texts, most_failed=most_failed)

    def score_distinct(
        self, distinct: DistinctTexts, *, mark_failed: bool = False, most_failed: int = sys.maxsize, drivers: int = 0
    ) -> Scores:
        """Scores of all texts of which these are the distinct ones; see `score_texts` and `score_by_each`."""
        encoded, encoding = distinct.encoded, distinct.encoding
        scoring = self._halving(most_failed)
        if drivers:
            logits, contributions = self._contributions(encoded, scoring)
        else:
            logits = self._logits(encoded, scoring)
        if not mark_failed:
            for halving in (encoding, scoring):
                _raise_first(halving, distinct.rows)
        empty = encoded.valid_length == 0
        failure = np.full(len(encoded), None, dtype=object)
        for row, reason in (encoding.failed | scoring.failed).items():
            failure[row] = reason
        scores = self._scores(encoded, logits, empty=empty, failure=failure)
        if drivers:
            scores = replace(scores, drivers=self._drivers(encoded, contributions, scores, n_terms=drivers))
        return scores.take(distinct.rows)

    def explain_texts(self, texts: pa.Array | pa.ChunkedArray | Sequence[str | None]) -> list[Explanation]:
        """Score texts and say what each token adds; for people, so one object a text.

        Raises
        ------
        NonFiniteError
            If the engine returned NaN or infinity; names the positions.
        """
        distinct = self.distinct(texts)
        encoded, scoring = distinct.encoded, self._halving()
        logits, contributions = self._contributions(encoded, scoring)
        for halving in (distinct.encoding, scoring):
            _raise_first(halving, distinct.rows)
        failure = np.full(len(encoded), None, dtype=object)
        scores = self._scores(encoded, logits, empty=encoded.valid_length == 0, failure=failure)
        changed = changes(contributions, encoded)
        chunks = split(distinct.texts, settings=self.model.text.settings)
        explained = [
            Explanation(
                chunks=chunks[row],
                contributions=contributions[slice(*encoded.offsets[row : row + 2])].astype(np.float64),
                changes=changed[slice(*encoded.offsets[row : row + 2])],
                bias=float(self.model.weights["output.bias"].astype(np.float32)[0]),
                logit=float(logits[row]) if encoded.valid_length[row] else None,
                positive_probability=float(scores.positive_probability[row]) if encoded.valid_length[row] else None,
                sentiment=scores.sentiment[row],
                status=scores.status[row],
            )
            for row in range(len(encoded))
        ]
        return [explained[row] for row in distinct.rows]

    @cached_property
    def leaning(self) -> npt.NDArray[np.bool_]:
        """Words that are drivers, by the model alone, shape (V,); computed once."""
        vocabulary = self.model.text.vocabulary
        _, contributions = self._contributions(probes(vocabulary), self._halving(), length_step=1)
        return leaning_words(vocabulary, contributions)

    @cached_property
    def _rarity(self) -> npt.NDArray[np.int64]:
        return word_rarity(self.model.text.vocabulary)

    def _unfamiliar(self, encoded: EncodedTexts) -> npt.NDArray[np.bool_]:
        familiarity = self.model.familiarity
        if familiarity is None:
            return np.zeros(len(encoded), bool)
        return familiarity.unfamiliar(encoded, self._rarity)

    def _drivers(
        self, encoded: EncodedTexts, contributions: npt.NDArray[np.float32], scores: Scores, *, n_terms: int
    ) -> pa.ListArray:
        terms = strongest_terms(
            encoded,
            changes(contributions, encoded),
            vocabulary=self.model.text.vocabulary,
            leaning=self.leaning,
            n_terms=n_terms,
        )
        return pc.if_else(pa.array(np.isnan(scores.positive_probability)), None, terms)

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
            unfamiliar=self._unfamiliar(encoded),
            sentiment=sentiment,
            failure=failure,
        )

    def _halving(self, most_failed: int = sys.maxsize) -> Halving:
        what, probe = f"the engine {self.engine.name}", lambda: self.engine.logits(*HARMLESS_IDS)
        return Halving(what, probe=probe, most_failed=most_failed)

    def _logits(self, encoded: EncodedTexts, halving: Halving) -> npt.NDArray[np.float32]:
        logits = np.full(len(encoded), np.nan, np.float32)
        for rows, found in self._computed(self.engine.logits, encoded, halving):
            logits[rows] = found
        return logits

    def _contributions(
        self, encoded: EncodedTexts, halving: Halving, *, length_step: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Logits (N,) and contributions (T,) from one pass; NaN for a text that failed."""
        logits = np.full(len(encoded), np.nan, np.float32)
        contributions = np.full(len(encoded.token_ids), np.nan, np.float32)
        for rows, found in self._computed(self.engine.contributions, encoded, halving, length_step=length_step):
            position = np.arange(found.shape[1] - 1)
            logits[rows] = found[:, 0]
            inside = position < encoded.valid_length[rows][:, None]
            contributions[(encoded.offsets[rows][:, None] + position)[inside]] = found[:, 1:][inside]
        return logits, contributions

    def _computed(
        self,
        compute: Callable[[Ids, Ids], Logits],
        encoded: EncodedTexts,
        halving: Halving,
        *,
        length_step: int | None = None,
    ) -> Iterator[tuple[Rows, Logits]]:
        """Rows and what the engine computed of them, several batches at a time where it can."""
        step = length_step or self.engine.length_step
        batches = token_batches(encoded, max_batch_tokens=self.max_batch_tokens, length_step=step)
        survive = partial(surviving_logits, logits=compute, halving=halving)
        if self.engine.concurrency == 1:
            yield from chain.from_iterable(map(survive, batches))
            return
        with ThreadPoolExecutor(self.engine.concurrency) as pool:
            # In windows, so that neither an error nor an interrupt waits for all texts.
            while window := list(islice(batches, _WINDOW * self.engine.concurrency)):
                for parts in pool.map(lambda batch: list(survive(batch)), window):
                    yield from parts


def score_by_each(
    scorers: Sequence[Scorer], texts: pa.Array | pa.ChunkedArray, *, most_failed: int = sys.maxsize, drivers: int = 0
) -> list[Scores]:
    """Scores of the same texts by several scorers, read once for all with the text pipeline of the first.

    A text on which the engine fails gets a ``failure``, as with ``mark_failed``.

    Parameters
    ----------
    scorers : sequence of Scorer
    texts : Arrow array of string, shape (N,)
    most_failed : int
        Texts that may fail, be it in the text pipeline or in a model.
    drivers : int
        Words, and pairs, that the first scorer names.

    Raises
    ------
    AuditError
        If more texts fail.
    EnvironmentFault
        If an engine fails on every text.
    """
    first = scorers[0]
    distinct = first.distinct(texts, most_failed=most_failed)
    scores = [first.score_distinct(distinct, mark_failed=True, most_failed=most_failed, drivers=drivers)]
    for scorer in scorers[1:]:
        same_text = scorer.model.text == first.model.text
        own = distinct if same_text else scorer.distinct(texts, most_failed=most_failed)
        scores.append(scorer.score_distinct(own, mark_failed=True, most_failed=most_failed))
    return scores


def _raise_first(failures: Halving, rows: npt.NDArray[np.int32]) -> None:
    """Raise what the first failed text raised; all that are not finite together."""
    broken = [row for row, reason in failures.failed.items() if reason == "non_finite"]
    if broken:
        raise NonFiniteError(tuple(np.flatnonzero(np.isin(rows, broken)).tolist()))
    for error in failures.errors.values():
        raise error
