from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.spark import devices
from jobs.spark.devices import check_engine, task_device
from sentiment_core.engines import selection
from sentiment_core.errors import EnvironmentFault, UsageError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task with these GPU addresses in a process whose packages find so many GPUs; only named packages are there."""

    def machine(*addresses: str, **gpus: int) -> None:
        resources = {"gpu": SimpleNamespace(addresses=list(addresses))} if addresses else {}
        context = SimpleNamespace(resources=lambda: resources, cpus=lambda: 1)
        monkeypatch.setattr(devices, "TaskContext", SimpleNamespace(get=lambda: context))
        monkeypatch.setattr(devices, "gpu_count", lambda engine: gpus.get(engine, 0))
        monkeypatch.setattr(selection, "find_spec", lambda name: object() if name in {*gpus, "onnx"} else None)

    return machine


@pytest.mark.parametrize(
    ("engine", "precision", "gpus", "device"),
    [
        ("auto", "auto", {"torch": 1}, "gpu:3"),
        ("auto", "auto", {"mxnet": 1}, "gpu:3"),
        ("auto", "auto", {}, "cpu"),
        # The engine that would be chosen finds none, whatever another one finds.
        ("auto", "auto", {"torch": 0, "mxnet": 1}, "cpu"),
        ("mxnet", "auto", {"torch": 0, "mxnet": 1}, "gpu:3"),
        ("auto", "float16", {"torch": 1}, "gpu:3"),
        # What GPUs do not compute is computed on the CPU.
        ("auto", "int8", {"torch": 1}, "cpu"),
        ("onnx", "auto", {"torch": 1}, "cpu"),
    ],
)
def test_auto_takes_the_gpu_of_the_task_where_the_engine_can(
    machine: Any, engine: str, precision: str, gpus: dict[str, int], device: str
) -> None:
    machine("3", **gpus)
    assert task_device("auto", engine=engine, precision=precision) == (device, ("3",))


def test_a_task_without_a_gpu(machine: Any) -> None:
    machine(torch=1)
    assert task_device("auto", engine="auto", precision="auto") == ("cpu", ())
    with pytest.raises(EnvironmentFault, match=r"Spark assigned no GPU to the task; set spark.executor.resource"):
        task_device("gpu", engine="auto", precision="auto")


def test_an_address_that_is_no_ordinal_is_named(machine: Any) -> None:
    machine("GPU-5f", torch=1)
    with pytest.raises(EnvironmentFault, match=r"the GPU address 'GPU-5f' is no ordinal"):
        task_device("gpu", engine="auto", precision="auto")
    assert task_device("cpu", engine="auto", precision="auto")[0] == "cpu"


@pytest.mark.parametrize(
    ("engine", "precision", "device"),
    [
        ("auto", "auto", "auto"),
        ("onnx", "int8", "auto"),
        ("torch", "float16", "auto"),
        ("torch", "float16", "gpu"),
        ("mxnet", "float32", "gpu"),
        ("auto", "int8", "cpu"),
    ],
)
def test_what_some_task_can_do_is_let_pass(engine: str, precision: str, device: str) -> None:
    check_engine(engine, precision=precision, device=device)


@pytest.mark.parametrize(
    ("engine", "precision", "device", "fault", "says"),
    [
        ("mxnet", "int8", "auto", UsageError, "the mxnet engine computes in float32 on a CPU, not in int8"),
        ("onnx", "auto", "gpu", EnvironmentFault, "the onnx engine does not compute on a GPU"),
        ("auto", "int8", "gpu", UsageError, "no engine computes in int8 on a GPU"),
        ("torch", "float16", "cpu", UsageError, "the torch engine computes in float32 on a CPU, not in float16"),
    ],
)
def test_what_no_task_can_do_is_refused_before_any_of_them(
    engine: str, precision: str, device: str, fault: type[Exception], says: str
) -> None:
    with pytest.raises(fault, match=says):
        check_engine(engine, precision=precision, device=device)
