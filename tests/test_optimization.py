from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from mxnet import autograd, gluon

from sentiment_core.errors import InputError
from sentiment_core.optimization import Adam, Checkpoint, Schedule, data_digest, load_checkpoint, save_checkpoint

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


# Adam.

TARGETS: Arrays = {
    "first.weight": np.array([[1.0, -2.0], [0.5, 3.0]]),
    "first.bias": np.array([0.3, -0.7]),
    "second.weight": np.array([[2.0, 1.0]]),
}


class ReferenceAdam:
    """Kingma and Ba 2015, algorithm 1, with clipping by the global norm; MXNet's placement of epsilon."""

    def __init__(self, weights: Arrays, *, clip_norm: float, rates: dict[str, float], decay: float) -> None:
        self.weights = {name: array.copy() for name, array in weights.items()}
        self.mean = {name: np.zeros_like(array) for name, array in weights.items()}
        self.variance = {name: np.zeros_like(array) for name, array in weights.items()}
        self.clip_norm, self.rates, self.decay, self.step = clip_norm, rates, decay, 0

    def update(self, gradients: Arrays, rate: float) -> float:
        self.step += 1
        norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients.values())))
        for name, gradient in gradients.items():
            clipped = gradient * min(1.0, self.clip_norm / norm)
            if name.endswith("weight"):
                clipped = clipped + self.decay * self.weights[name]
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * clipped
            self.variance[name] = 0.999 * self.variance[name] + 0.001 * clipped**2
            corrected = np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
            step = rate * self.rates.get(name, 1.0) * corrected
            self.weights[name] -= step * self.mean[name] / (np.sqrt(self.variance[name]) + 1e-8)
        return norm


def parameters_like(arrays: Arrays) -> dict[str, gluon.Parameter]:
    parameters = {}
    for name, array in arrays.items():
        parameters[name] = gluon.Parameter(name, shape=array.shape)
        parameters[name].initialize(mx.init.Zero())
    return parameters


def backward(parameters: dict[str, gluon.Parameter]) -> Arrays:
    """Gradients of a bowl around `TARGETS`, steeper in one direction."""
    with autograd.record():
        loss = sum(((p.data() - mx.nd.array(TARGETS[name])) ** 4).sum() for name, p in parameters.items())
    loss.backward()
    return {name: 4 * (p.data().asnumpy().astype(float) - TARGETS[name]) ** 3 for name, p in parameters.items()}


def values(parameters: dict[str, gluon.Parameter]) -> Arrays:
    return {name: parameter.data().asnumpy().astype(float) for name, parameter in parameters.items()}


@pytest.mark.parametrize(
    ("clip_norm", "rates", "decay"),
    [(1e9, {}, 0.0), (0.5, {}, 0.0), (5.0, {"first.weight": 0.1, "second.weight": 0.0}, 0.0), (1.0, {}, 0.02)],
)
def test_adam_is_adam(clip_norm: float, rates: dict[str, float], decay: float) -> None:
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=clip_norm, rate_multipliers=rates, weight_decay=decay)
    reference = ReferenceAdam(values(parameters), clip_norm=clip_norm, rates=rates, decay=decay)
    for step in range(60):
        gradients = backward(parameters)
        expected = reference.update(gradients, rate=0.05 / (1 + step / 20))
        found = adam.update(learning_rate=0.05 / (1 + step / 20))
        assert found == pytest.approx(expected, rel=1e-4)
        for name, array in values(parameters).items():
            np.testing.assert_allclose(array, reference.weights[name], atol=2e-4)
    assert not any(np.allclose(array, 0) for name, array in values(parameters).items() if rates.get(name, 1.0))


def test_scaled_gradients_give_the_step_of_the_unscaled_ones() -> None:
    plain, scaled = parameters_like(TARGETS), parameters_like(TARGETS)
    one, other = Adam(plain, clip_norm=3.0), Adam(scaled, clip_norm=3.0)
    for _ in range(5):
        backward(plain)
        backward(scaled)
        for parameter in scaled.values():
            parameter.grad()[:] *= 4
        assert other.update(learning_rate=0.1, grad_scale=0.25) == pytest.approx(
            one.update(learning_rate=0.1), rel=1e-5
        )
    for name, array in values(plain).items():
        np.testing.assert_allclose(values(scaled)[name], array, atol=1e-6)


def test_words_that_a_step_does_not_hold_stay_as_they_are() -> None:
    embedding = gluon.nn.Embedding(10, 3, sparse_grad=True)
    embedding.initialize(mx.init.Uniform(0.5))
    before = embedding.weight.data().asnumpy()
    adam = Adam({"embedding.weight": embedding.weight}, clip_norm=1.0)
    for words in ([1, 4, 4], [4, 7]):
        with autograd.record():
            loss = (embedding(mx.nd.array(words)) ** 2).sum()
        loss.backward()
        adam.update(learning_rate=0.1)
    changed = (embedding.weight.data().asnumpy() != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [1, 4, 7]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(broken: float) -> None:
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=1.0)
    backward(parameters)
    adam.update(learning_rate=0.1)
    before, moments = values(parameters), adam.arrays()
    backward(parameters)
    parameters["first.bias"].grad()[:] = broken
    assert not np.isfinite(adam.update(learning_rate=0.1))
    for name, array in values(parameters).items():
        np.testing.assert_array_equal(array, before[name])
    for name, array in adam.arrays().items():
        np.testing.assert_array_equal(array, moments[name])


def test_a_restored_optimizer_goes_on_like_the_first() -> None:
    rates = {"first.bias": 0.3}
    parameters = parameters_like(TARGETS)
    adam = Adam(parameters, clip_norm=2.0, rate_multipliers=rates)
    for _ in range(7):
        backward(parameters)
        adam.update(learning_rate=0.1)
    others = parameters_like(TARGETS)
    for name, parameter in others.items():
        parameter.set_data(parameters[name].data())
    other = Adam(others, clip_norm=2.0, rate_multipliers=rates)
    other.restore(adam.arrays(), step=7)
    for _ in range(5):
        for one, its in ((adam, parameters), (other, others)):
            backward(its)
            one.update(learning_rate=0.1)
    for name, array in values(parameters).items():
        np.testing.assert_array_equal(values(others)[name], array)


# Checkpoints.

CHECKPOINT = Checkpoint(
    arrays={
        "weights/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "weights/b": np.float32([[1, 2], [3, 4]]).T,
        "best/a": np.zeros((0, 3), np.float16),
        "count": np.array(7),
    },
    progress={"step": 12, "history": [{"loss": 0.1}], "note": "ü", "nothing": None},
)


def assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert left.progress == right.progress
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        np.testing.assert_array_equal(array, right.arrays[name])
        assert array.dtype == right.arrays[name].dtype


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "run.checkpoint"
    save_checkpoint(CHECKPOINT, path)
    loaded = load_checkpoint(path)
    assert_same(loaded, CHECKPOINT)
    assert loaded.part("weights").keys() == {"a", "b"}
    assert loaded.part("weight") == {}
    assert [file.name for file in path.parent.iterdir()] == ["run.checkpoint"]


@pytest.mark.parametrize("failing", ["write", "flush", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(CHECKPOINT, path)

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "fsync":
            patch.setattr(os, "fsync", fails)
        elif failing == "replace":
            patch.setattr(Path, "replace", fails)
        else:
            whole_file = Path.open
            patch.setattr(Path, "open", lambda *arguments: HalfFile(whole_file(*arguments), failing=failing))
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(Checkpoint(arrays={"x": np.ones(1000)}, progress={"step": 13}), path)
    assert_same(load_checkpoint(path), CHECKPOINT)
    save_checkpoint(Checkpoint(arrays={}, progress={"step": 14}), path)
    assert load_checkpoint(path).progress == {"step": 14}


class HalfFile:
    """A file of which the disk takes only a half."""

    def __init__(self, file: IO[bytes], *, failing: str) -> None:
        self.file = file
        self.failing = failing

    def __enter__(self) -> HalfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        if self.failing == "write":
            raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_nothing_is_renamed_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("replace"), replace(path, to))[1])
    save_checkpoint(CHECKPOINT, tmp_path / "checkpoint")
    assert calls == ["fsync", "replace"]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(CHECKPOINT, path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 19), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"checkpoint: no checkpoint to resume from .* start without --resume"):
            load_checkpoint(path)
    for position in range(8):  # the length of the header
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x80]) + content[position + 1 :])
        with pytest.raises(InputError, match="no checkpoint to resume from"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04N.",
        safetensors.numpy.save({"a": np.zeros(1)}),
        safetensors.numpy.save({"a": np.zeros(1)}, metadata={"other": "{}"}),
        safetensors.numpy.save({"a": np.zeros(1)}, metadata={"progress": "{"}),
    ],
    ids=["pickle", "no metadata", "no progress", "half a progress"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path / "checkpoint")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no checkpoint to resume from"):
            load_checkpoint(path)


def test_the_digest_tells_data_apart() -> None:
    array = np.arange(6, dtype=np.int32)
    variants = [
        *((), (array,), (array, array), (array[:5], array[5:]), (array[:0],), (array[::-1],)),
        *((array.astype(np.int64),), (array.reshape(2, 3),)),
    ]
    assert len({data_digest(*arrays) for arrays in variants}) == len(variants)
    assert data_digest(array.reshape(2, 3).T.copy()) == data_digest(array.reshape(2, 3).T)
    assert len(json.dumps(data_digest(array))) == 66
