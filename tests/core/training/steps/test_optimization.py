from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.with_mxnet import mx
from sentiment_core.training.steps.optimization import Adam
from sentiment_core.training.steps.schedule import LayerRates, Schedule

Arrays = dict[str, npt.NDArray[np.float64]]


# The schedule.


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.01, 0.9), st.floats(1e-4, 10))
def test_the_rate_rises_to_the_peak_and_falls_to_the_final_ratio(
    total_steps: int, warmup_fraction: float, final_ratio: float, peak: float
) -> None:
    schedule = Schedule(peak=peak, total_steps=total_steps, warmup_fraction=warmup_fraction, final_ratio=final_ratio)
    rates = [schedule.rate(step) for step in range(total_steps)]
    warmup = max(1, round(total_steps * warmup_fraction))
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    assert max(rates) == pytest.approx(peak)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[0] == pytest.approx(peak / warmup)
    assert schedule.rate(total_steps) == pytest.approx(peak * final_ratio) or warmup == total_steps
    assert schedule.rate(10 * total_steps + 1) == pytest.approx(peak * final_ratio), "and stays there"
    np.testing.assert_allclose(np.diff(rates[:warmup], 2), 0, atol=1e-9 * peak)
    np.testing.assert_allclose(np.diff(rates[warmup:], 2), 0, atol=1e-9 * peak)


def test_the_schedule_by_example() -> None:
    schedule = Schedule(peak=1.0, total_steps=12, warmup_fraction=0.2, final_ratio=0.1)
    expected = [0.5, 1.0, 1.0, 0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19, 0.1, 0.1]
    assert [schedule.rate(step) for step in range(14)] == pytest.approx(expected)


# Rates by layer.

LAYERS = st.integers(1, 6).map(lambda n_layers: tuple(f"layer.{depth}" for depth in range(n_layers)))


@given(LAYERS, st.floats(0.05, 1), st.floats(0, 40))
def test_a_layer_is_frozen_and_then_has_the_rate_of_its_depth(
    layers: tuple[str, ...], decay: float, unfreeze_steps: float
) -> None:
    rates = LayerRates(layers=layers, decay=decay, unfreeze_steps=unfreeze_steps)
    by_layer = [[rates.factor(f"{layer}.weight", step) for step in range(45)] for layer in layers]
    thaws = []
    for depth, factors in enumerate(by_layer):
        thaws.append(factors.count(0.0))
        assert factors == [0.0] * thaws[-1] + [pytest.approx(decay**depth)] * (45 - thaws[-1])
        assert factors == [rates.factor(f"layer.{depth}.i2h_bias", step) for step in range(45)]
    assert thaws[0] == 0, "the output is never frozen"
    if len(layers) > 1:
        assert thaws[-1] == math.ceil(unfreeze_steps), "the lowest layer learns from that step on"
        between = np.linspace(0, unfreeze_steps, len(layers))
        assert all(step - 1e-6 <= thaw < step + 1 + 1e-6 for step, thaw in zip(between, thaws)), "in equal distances"
    for upper, lower in pairwise(by_layer):
        assert all(one >= other for one, other in zip(upper, lower)), "never faster than the layer above"


def test_rates_by_layer_by_example() -> None:
    rates = LayerRates(layers=("output", "lstm.1", "lstm.0", "embedding"), decay=0.5, unfreeze_steps=6)
    names = ("output.bias", "lstm.1.h2h_weight", "lstm.0.i2h_bias", "embedding.weight")
    found = {step: [rates.factor(name, step) for name in names] for step in (0, 1, 2, 3, 4, 5, 6, 1000)}
    assert found[0] == found[1] == [1, 0, 0, 0]
    assert found[2] == found[3] == [1, 0.5, 0, 0]
    assert found[4] == found[5] == [1, 0.5, 0.25, 0]
    assert found[6] == found[1000] == [1, 0.5, 0.25, 0.125]
    plain = LayerRates(layers=rates.layers)
    assert {plain.factor(name, step) for name in names for step in (0, 1, 1000)} == {1}


# Adam.

TARGETS: Arrays = {
    "first.weight": np.array([[1.0, -2.0], [0.5, 3.0]]),
    "first.bias": np.array([0.3, -0.7]),
    "second.weight": np.array([[2.0, 1.0]]),
}


class ReferenceAdam:
    """Kingma and Ba 2015, algorithm 1, with clipping by the global norm; MXNet's placement of epsilon.

    The moments of a frozen layer move, its weights do not.
    """

    def __init__(self, weights: Arrays, *, clip_norm: float, rates: LayerRates | None = None) -> None:
        self.weights = {name: array.copy() for name, array in weights.items()}
        self.mean = {name: np.zeros_like(array) for name, array in weights.items()}
        self.variance = {name: np.zeros_like(array) for name, array in weights.items()}
        self.clip_norm, self.rates, self.step = clip_norm, rates, 0

    def update(self, gradients: Arrays, rate: float) -> float:
        self.step += 1
        norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients.values())))
        for name, gradient in gradients.items():
            clipped = gradient * min(1.0, self.clip_norm / norm)
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * clipped
            self.variance[name] = 0.999 * self.variance[name] + 0.001 * clipped**2
            corrected = np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
            factor = self.rates.factor(name, self.step - 1) if self.rates else 1.0
            step = rate * factor * corrected
            self.weights[name] -= step * self.mean[name] / (np.sqrt(self.variance[name]) + 1e-8)
        return norm


def parameters_like(arrays: Arrays) -> dict[str, mx.gluon.Parameter]:
    parameters = {}
    for name, array in arrays.items():
        parameters[name] = mx.gluon.Parameter(name, shape=array.shape)
        parameters[name].initialize(mx.init.Zero())
    return parameters


def backward(parameters: dict[str, mx.gluon.Parameter]) -> Arrays:
    """Gradients of a bowl around `TARGETS`, steeper in one direction."""
    with mx.autograd.record():
        loss = sum(((p.data() - mx.nd.array(TARGETS[name])) ** 4).sum() for name, p in parameters.items())
    loss.backward()
    return {name: 4 * (p.data().asnumpy().astype(float) - TARGETS[name]) ** 3 for name, p in parameters.items()}


def values(parameters: dict[str, mx.gluon.Parameter]) -> Arrays:
    return {name: parameter.data().asnumpy().astype(float) for name, parameter in parameters.items()}


@pytest.mark.parametrize(
    ("clip_norm", "rates"),
    [
        (1e9, None),
        (0.5, None),
        (5.0, LayerRates(layers=("second", "first"), decay=0.3)),
        (1.0, LayerRates(layers=("first", "second"), decay=0.5, unfreeze_steps=20)),
        (1.0, LayerRates(layers=("second", "first"), unfreeze_steps=1000)),
    ],
    ids=["plain", "clipped", "decay", "unfreezing", "frozen"],
)
def test_adam_is_adam(clip_norm: float, rates: LayerRates | None) -> None:
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=clip_norm, layer_rates=rates)
    reference = ReferenceAdam(values(parameters), clip_norm=clip_norm, rates=rates)
    for step in range(60):
        gradients = backward(parameters)
        expected = reference.update(gradients, rate=0.05 / (1 + step / 20))
        found = adam.update(step=step, learning_rate=0.05 / (1 + step / 20))
        assert found == pytest.approx(expected, rel=1e-4)
        for name, array in values(parameters).items():
            np.testing.assert_allclose(array, reference.weights[name], atol=2e-4)
            if rates and not rates.factor(name, step):
                assert not array.any(), "a frozen layer stays as it was"
    for name, array in values(parameters).items():
        assert array.all() == (rates is None or rates.factor(name, 59) > 0)


def test_scaled_gradients_give_the_step_of_the_unscaled_ones() -> None:
    plain, scaled = parameters_like(TARGETS), parameters_like(TARGETS)
    one, other = Adam(plain, clip_norm=3.0), Adam(scaled, clip_norm=3.0)
    for step in range(5):
        backward(plain)
        backward(scaled)
        for parameter in scaled.values():
            parameter.grad()[:] *= 4
        expected = one.update(step=step, learning_rate=0.1)
        assert other.update(step=step, learning_rate=0.1, grad_scale=0.25) == pytest.approx(expected, rel=1e-5)
    for name, array in values(plain).items():
        np.testing.assert_allclose(values(scaled)[name], array, atol=1e-6)


def test_words_that_a_step_does_not_hold_stay_as_they_are() -> None:
    embedding = mx.gluon.nn.Embedding(10, 3, sparse_grad=True)
    embedding.initialize(mx.init.Uniform(0.5))
    before = embedding.weight.data().asnumpy()
    adam = Adam({"embedding.weight": embedding.weight}, clip_norm=1.0)
    for step, words in enumerate(([1, 4, 4], [4, 7])):
        with mx.autograd.record():
            loss = (embedding(mx.nd.array(words)) ** 2).sum()
        loss.backward()
        adam.update(step=step, learning_rate=0.1)
    changed = (embedding.weight.data().asnumpy() != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [1, 4, 7]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(broken: float) -> None:
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=1.0)
    backward(parameters)
    adam.update(step=0, learning_rate=0.1)
    before, moments = values(parameters), adam.arrays()
    backward(parameters)
    parameters["first.bias"].grad()[:] = broken
    assert not np.isfinite(adam.update(step=1, learning_rate=0.1))
    for name, array in values(parameters).items():
        np.testing.assert_array_equal(array, before[name])
    for name, array in adam.arrays().items():
        np.testing.assert_array_equal(array, moments[name])


def test_a_restored_optimizer_goes_on_like_the_first() -> None:
    """Also where a layer thaws later."""
    rates = LayerRates(layers=("second", "first"), decay=0.3, unfreeze_steps=9)
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=2.0, layer_rates=rates)
    for step in range(7):
        backward(parameters)
        adam.update(step=step, learning_rate=0.1)
    others = parameters_like(TARGETS)
    for name, parameter in others.items():
        parameter.set_data(parameters[name].data())
    other = Adam(others, clip_norm=2.0, layer_rates=rates)
    other.restore(adam.arrays(), step=7)
    for step in range(7, 12):
        for one, its in ((adam, parameters), (other, others)):
            backward(its)
            one.update(step=step, learning_rate=0.1)
    for name, array in values(parameters).items():
        assert array.all()
        np.testing.assert_array_equal(values(others)[name], array)
