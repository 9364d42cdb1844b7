"""On which device which library trains, and what is said where it cannot."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from sentiment_core.errors import EnvironmentFault, UsageError
from sentiment_core.training.steps.device import (
    fine_tuning_on,
    pretraining_on,
    require_torch_device,
    require_training_device,
)
from tests.support.packages import needs_mxnet

WITH_TWO_GPUS = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: 2))


@pytest.mark.parametrize("name", ["gpu", "gpu:", "gpu:x", "gpu:-1", "cuda:0", "GPU:0", "", "cpu:0"])
def test_a_device_of_no_known_form_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", WITH_TWO_GPUS)
    for require in (require_training_device, require_torch_device):
        with pytest.raises(UsageError, match=rf"^--device {name}: name cpu, or a GPU by its number: gpu:0$"):
            require(name)


def test_a_gpu_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", WITH_TWO_GPUS)
    for require in (require_training_device, require_torch_device):
        assert [require(name) for name in ("cpu", "gpu:0", "gpu:1")] == ["cpu", "gpu:0", "gpu:1"]
        with pytest.raises(EnvironmentFault, match=r"--device gpu:2: PyTorch finds 2 GPUs; check the driver"):
            require("gpu:2")


def test_without_pytorch_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for require, name in ((require_training_device, "gpu:0"), (require_torch_device, "cpu")):
        with pytest.raises(EnvironmentFault, match=rf"{name}: PyTorch is needed .* pip install 'sentiment-warehouse\["):
            require(name)


@needs_mxnet
def test_mxnet_trains_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentiment_core.training.steps.fine_tuning import FineTuning
    from sentiment_core.training.steps.pretraining import Pretraining

    monkeypatch.setitem(sys.modules, "torch", None)
    assert require_training_device("cpu") == "cpu"
    assert fine_tuning_on("cpu") is FineTuning
    assert pretraining_on("cpu") is Pretraining


def test_without_mxnet_and_pytorch_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mxnet", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EnvironmentFault, match=r"needs MXNet or PyTorch, .* Python 3.11 .* pip install '.*\[gpu\]'"):
        require_training_device("cpu")


def test_without_mxnet_pytorch_trains_on_the_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = SimpleNamespace(TorchFineTuning=object(), TorchPretraining=object())
    monkeypatch.setitem(sys.modules, "sentiment_core.training.steps.torch", kinds)
    monkeypatch.setitem(sys.modules, "torch", WITH_TWO_GPUS)
    assert (fine_tuning_on("gpu:0"), pretraining_on("gpu:1")) == (kinds.TorchFineTuning, kinds.TorchPretraining)
    monkeypatch.setitem(sys.modules, "mxnet", None)
    assert require_training_device("cpu") == "cpu"
    assert (fine_tuning_on("cpu"), pretraining_on("cpu")) == (kinds.TorchFineTuning, kinds.TorchPretraining)
