"""The oracle: SentimentNet in float64 NumPy, one text and one step at a time, written to be read.

Everything that scores must agree with it: the training network, each engine, the worker function, the Spark job.

Axes: T tokens of the text, E embedding units, H hidden units; gates are in the order in, forget, cell, out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model

Floats = npt.NDArray[np.float64]


def sigmoid(values: Floats) -> Floats:
    """Logistic function; the values of these tests do not overflow it."""
    return 1.0 / (1.0 + np.exp(-values))


def lstm(inputs: Floats, *, i2h_weight: Floats, h2h_weight: Floats, i2h_bias: Floats, h2h_bias: Floats) -> Floats:
    """One layer from zero states: (T, E) -> (T, H)."""
    units = h2h_weight.shape[1]
    hidden, cell = np.zeros(units), np.zeros(units)
    states = []
    for step in inputs:
        gates = i2h_weight @ step + i2h_bias + h2h_weight @ hidden + h2h_bias  # (4H,)
        in_gate, forget_gate, candidate, out_gate = gates.reshape(4, units)
        cell = sigmoid(forget_gate) * cell + sigmoid(in_gate) * np.tanh(candidate)
        hidden = sigmoid(out_gate) * np.tanh(cell)
        states.append(hidden)
    return np.array(states).reshape(len(inputs), units)


def reference_states(model: Model, token_ids: Sequence[int] | npt.NDArray[np.integer]) -> Floats:
    """States of the last layer: (T, H)."""
    weights = {name: tensor.astype(np.float64) for name, tensor in model.weights.items()}
    states = weights["embedding.weight"][np.asarray(token_ids, dtype=int)]  # (T, E)
    for layer in range(model.architecture.num_layers):
        names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        states = lstm(states, **{name: weights[f"lstm.{layer}.{name}"] for name in names})  # (T, H)
    return states


def reference_contributions(model: Model, token_ids: Sequence[int] | npt.NDArray[np.integer]) -> Floats:
    """What the state at each token adds to the logit of a text, which is all but the bias: (T,)."""
    states = reference_states(model, token_ids)
    return states @ model.weights["output.weight"].astype(np.float64)[0] / max(1, len(states))


def reference_logit(model: Model, token_ids: Sequence[int] | npt.NDArray[np.integer]) -> float:
    """Logit of one text by its token ids; a text of length 0 has the pooled state 0."""
    states = reference_states(model, token_ids)
    pooled = states.mean(axis=0) if len(states) else np.zeros(states.shape[1])
    weight, bias = (model.weights[f"output.{name}"].astype(np.float64) for name in ("weight", "bias"))
    return float(weight[0] @ pooled + bias[0])


def reference_probability(model: Model, texts: Sequence[str | None]) -> Floats:
    """Calibrated probability that each text is positive, NaN for a text without a token."""
    encoded = model.text.encode(pa.array(texts, pa.large_string()))
    logits = np.array([reference_logit(model, encoded.of(index)) for index in range(len(encoded))])
    calibrated = sigmoid(model.decision.slope * logits + model.decision.intercept)
    return np.where(encoded.valid_length > 0, calibrated, np.nan)
