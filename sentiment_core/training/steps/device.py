"""Which library trains on which device: MXNet on the CPU, PyTorch on GPUs.

MXNet has wheels for Python 3.11 on Linux x86-64 only. Where it is not installed, PyTorch trains on the CPU, too.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sentiment_core.errors import EnvironmentFault, UsageError

__all__ = ["fine_tuning_on", "pretraining_on", "require_torch_device", "require_training_device"]


def require_training_device(name: str) -> str:
    """The device, once it is known that it can be trained on.

    Parameters
    ----------
    name : str
        ``cpu``, or ``gpu:N`` with an ordinal.

    Raises
    ------
    UsageError
        If the name is of neither form.
    EnvironmentFault
        If the library that trains on the device is not installed, or finds no such GPU.
    """
    if name != "cpu":
        return require_torch_device(name)
    if not _is_installed("mxnet") and not _is_installed("torch"):
        raise EnvironmentFault(
            "training on the CPU needs MXNet or PyTorch, and neither is installed; MXNet has wheels for Python 3.11 on "
            "Linux x86-64 only, so use that Python, or pip install 'sentiment-warehouse[gpu]' and run this again"
        )
    return name


def require_torch_device(name: str) -> str:
    """The device, once it is known that PyTorch can compute on it.

    Parameters
    ----------
    name : str
        ``cpu``, or ``gpu:N`` with an ordinal.

    Raises
    ------
    UsageError
        If the name is of neither form.
    EnvironmentFault
        If PyTorch is not installed, or finds no such GPU.
    """
    if name != "cpu" and not (name.startswith("gpu:") and name[4:].isdecimal()):
        raise UsageError(f"--device {name}: name cpu, or a GPU by its number: gpu:0")
    try:
        import torch
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"--device {name}: PyTorch is needed and not installed; pip install 'sentiment-warehouse[gpu]'"
        ) from error
    if name == "cpu":
        return name
    found = torch.cuda.device_count()
    if int(name[4:]) >= found:
        raise EnvironmentFault(
            f"--device {name}: PyTorch finds {found} GPUs; check the driver, install PyTorch for CUDA, or use cpu"
        )
    return name


def fine_tuning_on(device: str) -> Any:
    """The class of a run of fine-tuning on the device."""
    if device == "cpu" and _is_installed("mxnet"):
        from sentiment_core.training.steps.fine_tuning import FineTuning

        return FineTuning
    from sentiment_core.training.steps.torch import TorchFineTuning

    return TorchFineTuning


def pretraining_on(device: str) -> Any:
    """The class of a run of pre-training on the device."""
    if device == "cpu" and _is_installed("mxnet"):
        from sentiment_core.training.steps.pretraining import Pretraining

        return Pretraining
    from sentiment_core.training.steps.torch import TorchPretraining

    return TorchPretraining


def _is_installed(package: str) -> bool:
    try:
        import_module(package)
    except ModuleNotFoundError:
        return False
    return True
