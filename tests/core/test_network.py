from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.with_mxnet import mx
from sentiment_core.artifact import Architecture, Model
from sentiment_core.network import (
    LSTMEncoder,
    MeanPoolingLayer,
    SentimentNet,
    drop_recurrent_weights,
    encoder_parameters,
    read_weights,
    sentiment_parameters,
    write_weights,
)
from sentiment_core.text.pipeline import PADDING_ID
from tests.support.models import random_texts, tiny_model
from tests.support.reference import lstm, reference_logit

ARCHITECTURE = Architecture(vocab_size=30, embed_size=5, hidden_size=6)


def pooled(states: Any, lengths: list[int]) -> np.ndarray[Any, Any]:
    layer = MeanPoolingLayer()
    array = mx.nd.array(np.asarray(states, np.float32))
    results = [layer(array, mx.nd.array(lengths, dtype=dtype)).asnumpy() for dtype in ("float32", "int32")]
    layer.hybridize()
    results.append(layer(array, mx.nd.array(lengths)).asnumpy())
    assert all(np.array_equal(result, results[0]) for result in results)
    return results[0]


def padded(model: Model, texts: list[str | None]) -> tuple[mx.nd.NDArray, mx.nd.NDArray, list[np.ndarray[Any, Any]]]:
    """Token ids (T, N), lengths (N,) and the ids of each text."""
    encoded = model.text.encode(pa.array(texts))
    ids = np.full((max(encoded.valid_length), len(texts)), PADDING_ID, np.int32)
    for index in range(len(texts)):
        ids[: encoded.valid_length[index], index] = encoded.of(index)
    rows = [encoded.of(index) for index in range(len(texts))]
    return mx.nd.array(ids, dtype=np.int32), mx.nd.array(encoded.valid_length), rows


def network(model: Model, **options: Any) -> SentimentNet:
    net = SentimentNet(model.architecture, **options)
    net.initialize()
    write_weights(sentiment_parameters(net), model.weights)
    return net


def test_the_mean_is_that_of_the_valid_steps() -> None:
    rng = np.random.default_rng(0)
    states, lengths = rng.normal(size=(7, 5, 3)), [1, 7, 3, 6, 2]
    expected = [states[:length, index].mean(axis=0) for index, length in enumerate(lengths)]
    np.testing.assert_allclose(pooled(states, lengths), expected, atol=1e-6)


def test_a_text_of_length_zero_gives_zeros() -> None:
    states = np.random.default_rng(0).normal(size=(4, 3, 2))
    result = pooled(states, [0, 4, 0])
    assert not result[[0, 2]].any()
    np.testing.assert_allclose(result[1], states[:, 1].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("padding", [0.0, 1e30, -3e38, math.inf, math.nan])
def test_what_stands_in_the_padding_does_not_matter(padding: float) -> None:
    states = np.random.default_rng(0).normal(size=(5, 3, 2))
    lengths = [2, 0, 5]
    expected = pooled(states, lengths)
    for index, length in enumerate(lengths):
        states[length:, index] = padding
    np.testing.assert_array_equal(pooled(states, lengths), expected)


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_network_agrees_with_the_oracle(num_layers: int, hybrid: bool) -> None:
    model = tiny_model(num_layers, num_layers=num_layers, embed_size=5, hidden_size=7)
    net = network(model, encoder_dropout=0.5, dropout=0.5)
    if hybrid:
        net.hybridize(static_alloc=True, static_shape=True)
    token_ids, lengths, rows = padded(model, random_texts(40, seed=num_layers))
    logits = net(token_ids, lengths).asnumpy()
    expected = [reference_logit(model, row) for row in rows]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.std(expected) > 0.05


def test_the_parts_called_one_by_one_agree_with_the_whole() -> None:
    """Training calls the embedding outside of `hybridize`."""
    model = tiny_model(4)
    net = network(model, sparse_grad=True)
    token_ids, lengths, _ = padded(model, random_texts(10))
    whole = net(token_ids, lengths).asnumpy()
    net.classifier.hybridize()
    np.testing.assert_allclose(net.classifier(net.embedding(token_ids), lengths).asnumpy(), whole, atol=1e-6)


def test_the_encoder_agrees_with_mxnets_own_stack() -> None:
    encoder = LSTMEncoder(Architecture(vocab_size=30, embed_size=6, hidden_size=6))
    encoder.initialize(mx.init.Uniform(0.7))
    stack = mx.gluon.rnn.LSTM(6, num_layers=2, input_size=6)
    stack.initialize()
    for name, weights in read_weights(encoder_parameters(encoder)).items():
        _, layer, parameter = name.split(".")
        getattr(stack, f"l{layer}_{parameter}").set_data(mx.nd.array(weights))
    inputs = mx.nd.random.normal(shape=(9, 4, 6))
    np.testing.assert_allclose(encoder(inputs).asnumpy(), stack(inputs).asnumpy(), atol=1e-6)


def test_the_encoder_carries_its_states() -> None:
    encoder = LSTMEncoder(ARCHITECTURE)
    encoder.initialize(mx.init.Uniform(0.7))
    inputs = mx.nd.random.normal(shape=(9, 4, 5))
    whole = encoder(inputs).asnumpy()
    first, *states = encoder(inputs[:4], *encoder.begin_state(4, mx.cpu()))
    second, *states = encoder(inputs[4:], *states)
    np.testing.assert_allclose(np.concatenate([first.asnumpy(), second.asnumpy()]), whole, atol=1e-6)
    assert [state.shape for state in states] == [(1, 4, 6)] * 2 + [(1, 4, 5)] * 2
    np.testing.assert_allclose(states[2].asnumpy()[0], whole[-1], atol=1e-6)


@pytest.mark.parametrize("hybrid", [False, True])
def test_dropout_between_the_layers_acts_in_training_and_only_there(hybrid: bool) -> None:
    """MXNet's own `mx.gluon.rnn.LSTM(dropout=...)` does nothing on the CPU."""
    encoder = LSTMEncoder(ARCHITECTURE, dropout=0.5)
    encoder.initialize(mx.init.Uniform(0.7))
    if hybrid:
        encoder.hybridize()
    inputs = mx.nd.random.normal(shape=(9, 4, 5))

    def trained(seed: int) -> np.ndarray[Any, Any]:
        mx.random.seed(seed)
        with mx.autograd.record():
            return encoder(inputs).asnumpy()

    assert np.abs(trained(1) - trained(2)).max() > 1e-3
    np.testing.assert_array_equal(trained(1), trained(1))
    np.testing.assert_array_equal(encoder(inputs).asnumpy(), encoder(inputs).asnumpy())
    assert np.abs(trained(1) - encoder(inputs).asnumpy()).max() > 1e-3


def test_dropout_masks_are_shared_over_time_and_spare_the_last_layer() -> None:
    encoder = LSTMEncoder(ARCHITECTURE, dropout=0.5)
    encoder.initialize(mx.init.Uniform(0.7))
    inputs = mx.nd.random.normal(shape=(9, 4, 5))
    weights = {name: array.astype(np.float64) for name, array in read_weights(encoder_parameters(encoder)).items()}
    with mx.autograd.record():
        found = encoder(inputs).asnumpy()

    def layer(index: int, states: Any) -> Any:
        names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        return lstm(states, **{name: weights[f"lstm.{index}.{name}"] for name in names})

    # The mask that was drawn is one of 2^6 for each text.
    first = [layer(0, inputs.asnumpy()[:, text].astype(np.float64)) for text in range(4)]
    masks = [np.array([mask >> unit & 1 for unit in range(6)]) * 2.0 for mask in range(64)]
    for text in range(4):
        distances = [np.abs(layer(1, first[text] * mask) - found[:, text]).max() for mask in masks]
        assert min(distances) < 1e-5


def test_dropout_before_the_output_acts_in_training_and_only_there() -> None:
    model = tiny_model(1)
    net = network(model, dropout=0.5)
    token_ids, lengths, _ = padded(model, random_texts(20))
    with mx.autograd.record():
        trained = [net(token_ids, lengths).asnumpy() for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3
    np.testing.assert_array_equal(net(token_ids, lengths).asnumpy(), network(model)(token_ids, lengths).asnumpy())


def test_a_network_takes_over_embedding_and_encoder_of_a_language_model() -> None:
    language_model = tiny_model(5, kind="language_model")
    net = network(tiny_model(6))
    before = read_weights(sentiment_parameters(net))
    parameters = sentiment_parameters(net)
    shared = {name: parameters[name] for name in language_model.weights if name in parameters}
    write_weights(shared, language_model.weights)
    after = read_weights(parameters)
    assert set(parameters) - set(shared) == {"output.weight", "output.bias"}
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor, language_model.weights[name] if name in shared else before[name])


def test_parameters_have_the_names_and_shapes_of_the_artifact() -> None:
    net = SentimentNet(ARCHITECTURE)
    net.initialize()
    shapes = {name: tensor.shape for name, tensor in read_weights(sentiment_parameters(net)).items()}
    assert shapes == ARCHITECTURE.shapes("sentiment")


def test_half_precision_weights_are_computed_in_single() -> None:
    model = tiny_model(2, dtype=np.float16)
    token_ids, lengths, rows = padded(model, random_texts(20))
    logits = network(model)(token_ids, lengths).asnumpy()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [reference_logit(model, row) for row in rows], atol=1e-5)


def test_weight_drop_acts_in_training_alone_and_hybridized_too() -> None:
    encoder = LSTMEncoder(Architecture(vocab_size=9, embed_size=6, hidden_size=6))
    encoder.initialize(mx.init.Uniform(0.5))
    drop_recurrent_weights(encoder, 0.5)
    encoder.hybridize(static_alloc=True, static_shape=True)
    inputs = mx.nd.random.normal(shape=(5, 2, 6))

    def states() -> tuple[Any, Any]:
        with mx.autograd.record():
            outputs = encoder(inputs)
        outputs.backward()
        return outputs.asnumpy(), encoder_parameters(encoder)["lstm.0.h2h_weight"].grad().asnumpy()

    (first, gradient), (second, _) = states(), states()
    assert np.abs(first - second).max() > 1e-3
    assert 0.2 < (gradient == 0).mean() < 0.8  # what was dropped has no gradient
    np.testing.assert_array_equal(encoder(inputs).asnumpy(), encoder(inputs).asnumpy())
    assert (encoder_parameters(encoder)["lstm.0.h2h_weight"].data().asnumpy() != 0).all()
