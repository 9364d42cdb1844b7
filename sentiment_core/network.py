"""SentimentNet and the language model's network in Gluon.

The encoder is a stack of one-layer LSTMs with explicit dropout between them, because MXNet's own
``rnn.LSTM(dropout=...)`` does nothing on the CPU.

Axes: T tokens (time), N texts (batch), E embedding units, H hidden units, V words. Sequences are time-major.
"""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import nn, rnn

from sentiment_core.artifact import Architecture, Weights

__all__ = [
    "LSTMEncoder",
    "MeanPoolingLayer",
    "SentimentNet",
    "drop_recurrent_weights",
    "encoder_parameters",
    "read_weights",
    "sentiment_parameters",
    "write_weights",
]


class MeanPoolingLayer(nn.HybridBlock):
    """Mean over the valid time steps; a text of length 0 gives zeros."""

    def hybrid_forward(self, F: Any, states: Any, valid_length: Any) -> Any:
        """(T, N, H), (N,) -> (N, H)."""
        valid_length = F.cast(valid_length, "float32")
        total = F.sum(F.SequenceMask(states, valid_length, use_sequence_length=True), axis=0)  # (N, H)
        return F.broadcast_div(total, F.expand_dims(F.clip(valid_length, 1, 2**31), axis=1))  # (N, H)


class LSTMEncoder(nn.HybridBlock):
    """Stacked LSTM layers with dropout after each but the last; masks are shared over time."""

    def __init__(self, architecture: Architecture, *, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers: list[rnn.LSTM] = []
        with self.name_scope():
            self.dropout = nn.Dropout(dropout, axes=(0,))
            for layer, (inputs, units) in enumerate(architecture.layer_sizes):
                lstm = rnn.LSTM(units, num_layers=1, input_size=inputs)
                self.register_child(lstm, f"lstm{layer}")
                self.layers.append(lstm)

    def begin_state(self, batch_size: int, ctx: mx.Context) -> list[mx.nd.NDArray]:
        """Zero states, two of (1, N, H) for each layer."""
        return [state for lstm in self.layers for state in lstm.begin_state(batch_size, ctx=ctx)]

    def hybrid_forward(self, F: Any, inputs: Any, *states: Any) -> Any:
        """(T, N, E), states -> (T, N, H), new states; without states: from zero, (T, N, H) alone."""
        new_states = []
        for index, lstm in enumerate(self.layers):
            if index:
                inputs = self.dropout(inputs)
            if states:
                inputs, state = lstm(inputs, list(states[2 * index : 2 * index + 2]))
                new_states += state
            else:
                inputs = lstm(inputs)
        return (inputs, *new_states) if states else inputs


class SentimentClassifier(nn.HybridBlock):
    """Everything above the embedding: encoder -> mean pooling -> dropout -> dense 1."""

    def __init__(
        self, architecture: Architecture, *, encoder_dropout: float = 0.0, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.encoder = LSTMEncoder(architecture, dropout=encoder_dropout)
            self.pooling = MeanPoolingLayer()
            self.dropout = nn.Dropout(dropout)
            self.output = nn.Dense(1, in_units=architecture.embed_size, flatten=False)

    def hybrid_forward(self, F: Any, embedded: Any, valid_length: Any) -> Any:
        """(T, N, E), (N,) -> logits (N,)."""
        states = self.encoder(embedded)  # (T, N, H)
        pooled = self.pooling(states, valid_length)  # (N, H)
        return F.reshape(self.output(self.dropout(pooled)), (-1,))  # (N,)

    def explain(self, embedded: mx.nd.NDArray, valid_length: mx.nd.NDArray) -> tuple[mx.nd.NDArray, mx.nd.NDArray]:
        """(T, N, E), (N,) -> logits (N,), and what each state adds to them (T, N), which is all but the bias."""
        states = self.encoder(embedded)  # (T, N, H)
        logits = self.output(self.pooling(states, valid_length)).reshape((-1,))
        shares = mx.nd.dot(states, self.output.weight.data(embedded.ctx)[0])  # (T, N)
        inside = mx.nd.SequenceMask(shares, valid_length, use_sequence_length=True)
        return logits, inside / mx.nd.clip(valid_length, 1, 2**31)


class SentimentNet(nn.HybridBlock):
    """Embedding -> 2-layer LSTM -> mean pooling -> dropout -> dense 1.

    Returns logits; the sigmoid is applied once, outside (`sentiment_core.artifact.Decision`).

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    encoder_dropout, dropout : float
        Rates between the LSTM layers and before the output, 0 to 1.
    sparse_grad : bool
        Row-sparse gradients of the embedding; the embedding must then be called outside `hybridize`.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        encoder_dropout: float = 0.0,
        dropout: float = 0.0,
        sparse_grad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size, sparse_grad=sparse_grad)
            self.classifier = SentimentClassifier(architecture, encoder_dropout=encoder_dropout, dropout=dropout)

    def hybrid_forward(self, F: Any, token_ids: Any, valid_length: Any) -> Any:
        """(T, N), (N,) -> logits (N,)."""
        return self.classifier(self.embedding(token_ids), valid_length)


def drop_recurrent_weights(encoder: LSTMEncoder, rate: float) -> None:
    """Drop hidden-to-hidden weights in training (Merity et al. 2018); call it once, after `initialize`."""
    from gluonnlp.model.utils import apply_weight_drop  # scoring has no need to import it

    apply_weight_drop(encoder, ".*h2h_weight", rate)


def encoder_parameters(encoder: LSTMEncoder) -> dict[str, mx.gluon.Parameter]:
    """The encoder's parameters under the names that they have in an artifact."""
    return {
        f"lstm.{layer}.{name}": getattr(lstm, f"l0_{name}")
        for layer, lstm in enumerate(encoder.layers)
        for name in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
    }


def sentiment_parameters(net: SentimentNet) -> dict[str, mx.gluon.Parameter]:
    """The network's parameters under the names that they have in an artifact."""
    return {
        "embedding.weight": net.embedding.weight,
        **encoder_parameters(net.classifier.encoder),
        "output.weight": net.classifier.output.weight,
        "output.bias": net.classifier.output.bias,
    }


def read_weights(parameters: dict[str, mx.gluon.Parameter]) -> dict[str, np.ndarray[Any, Any]]:
    """Copy parameters out as float32 arrays."""
    return {name: parameter.data().asnumpy() for name, parameter in parameters.items()}


def write_weights(parameters: dict[str, mx.gluon.Parameter], weights: Weights) -> None:
    """Copy arrays of the same names and shapes into parameters; names that only the weights have are left."""
    for name, parameter in parameters.items():
        parameter.set_data(mx.nd.array(weights[name].astype(np.float32)))
