"""A peer: the classic GluonNLP way to score, as in its sentiment tutorial.

spaCy's English tokeniser in a pool of processes, batches of 32 reviews as they come, MXNet as it is after its import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Model
from sentiment_core.text.pipeline import PADDING_ID, UNKNOWN_ID

__all__ = ["gluonnlp_loop"]

_BATCH_SIZE = 32


def gluonnlp_loop(model: Model, *, cores: int) -> Callable[[Sequence[str]], npt.NDArray[np.float64]]:
    """Texts -> probabilities, by the weights of a model."""
    # A process forked after MXNet's import would be without OpenMP.
    pool = get_context("fork").Pool(cores, initializer=_start_tokenizer)
    pool.map(_tokenize, ["A film."] * cores)

    import gluonnlp
    import mxnet

    from sentiment_core.network import SentimentNet, sentiment_parameters, write_weights

    net = SentimentNet(model.architecture)
    net.initialize()
    write_weights(sentiment_parameters(net), model.weights)
    net.hybridize()
    numbers = {word: index for index, word in enumerate(model.text.vocabulary.words)}
    batchify = gluonnlp.data.batchify.Pad(pad_val=PADDING_ID, ret_length=True, dtype="int32")
    clip = gluonnlp.data.ClipSequence(model.text.settings.max_tokens)

    def score(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        tokens = pool.map(_tokenize, texts, chunksize=64)
        encoded = [clip([numbers.get(token, UNKNOWN_ID) for token in text]) or [UNKNOWN_ID] for text in tokens]
        dataset = mxnet.gluon.data.SimpleDataset(encoded)
        loader = mxnet.gluon.data.DataLoader(dataset, batch_size=_BATCH_SIZE, shuffle=False, batchify_fn=batchify)
        logits = []
        for data, valid_length in loader:
            ids_of_batch = data.as_in_context(mxnet.cpu()).T  # (T, N)
            logits.append(net(ids_of_batch, valid_length.as_in_context(mxnet.cpu()).astype("float32")).asnumpy())
        return model.decision.probability(np.concatenate(logits))

    return score


def _start_tokenizer() -> None:
    import spacy

    global _tokenizer
    _tokenizer = spacy.blank("en").tokenizer


def _tokenize(text: str) -> list[str]:
    return [token.text.lower() for token in _tokenizer(text)]


_tokenizer: Any = partial(str.split)
