"""Which engine computes, in which precision, on which device.

`auto` takes the fastest that the machine has: on a CPU ONNX Runtime in int8, or MXNet where that is missing; on a GPU
PyTorch in float16, or MXNet where that is missing. Engines are imported when they are made, each alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Model
from sentiment_core.errors import EnvironmentFault, UsageError
from sentiment_core.mxnet_setup import available_cores, prepare_mxnet

__all__ = ["ENGINES", "PRECISIONS", "Engine", "choose_engine", "make_engine"]

ENGINES = ("auto", "onnx", "mxnet", "torch")
PRECISIONS = ("auto", "float32", "int8", "float16")
# By kind of device: engines in the order in which `auto` takes them, each with its precisions, the default first.
_CHOICES = {
    "cpu": {"onnx": ("int8", "float32"), "mxnet": ("float32",), "torch": ("float32",)},
    "gpu": {"torch": ("float16", "float32"), "mxnet": ("float32",)},
}
_PACKAGES = {"onnx": ("onnxruntime", "onnx"), "mxnet": ("mxnet",), "torch": ("torch",)}
_CURES = {
    "onnx": "install the package again: pip install onnxruntime onnx",
    "mxnet": "install the package for Python 3.11 on Linux x86-64, with libgomp1 and libquadmath0",
    "torch": "pip install 'sentiment-warehouse[gpu]'",
}


class Engine(Protocol):
    """What turns a padded token batch into logits."""

    @property
    def name(self) -> str:
        """Engine and precision, as in ``onnx int8``."""

    @property
    def device(self) -> str:
        """Where it computes, ``cpu`` or ``gpu:N``."""

    @property
    def length_step(self) -> int:
        """Padded lengths must be multiples of it; 1 where a new shape costs nothing."""

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a batch at which it is fastest."""

    @property
    def concurrency(self) -> int:
        """Batches that it computes at a time, called by as many threads; 1 where a call takes all of its threads."""

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids, (N,) lengths -> (N,) logits."""

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids, (N,) lengths -> (N, 1 + T): the logit, and what each token's state adds to it.

        The logit is the output's bias and the mean over a text's tokens of ``output weight . state``; a token adds its
        part of the mean. 0 past the text.
        """


def choose_engine(engine: str, *, precision: str, device: str) -> tuple[str, str]:
    """Resolve ``auto``.

    Parameters
    ----------
    engine : str
        One of ``ENGINES``.
    precision : str
        One of ``PRECISIONS``.
    device : str
        ``cpu`` or ``gpu:N``.

    Returns
    -------
    engine, precision : str
        Neither of them ``auto``.

    Raises
    ------
    UsageError
        If an option has no such value, or the engine has no such precision.
    EnvironmentFault
        If the engine has no such device.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if device != "cpu" and not (device.startswith("gpu:") and device[4:].isdigit()):
        raise UsageError(f"device must be cpu or gpu:N, not {device!r}")
    kind = device[:3]
    choices = _CHOICES[kind]
    if engine == "auto":
        able = [name for name, precisions in choices.items() if precision in ("auto", *precisions)]
        if not able:
            raise UsageError(f"no engine computes in {precision} on a {kind.upper()}; leave out the precision")
        engine = next((name for name in able if all(map(find_spec, _PACKAGES[name]))), able[0])
    elif engine not in choices:
        raise EnvironmentFault(
            f"the {engine} engine does not compute on a {kind.upper()}; use the engine auto, or another device"
        )
    if precision == "auto":
        precision = choices[engine][0]
    elif precision not in choices[engine]:
        raise UsageError(
            f"the {engine} engine computes in {' or '.join(choices[engine])} on a {kind.upper()}, not in {precision}"
        )
    return engine, precision


def make_engine(model: Model, *, engine: str, precision: str, device: str, threads: int | None) -> Engine:
    """Load an engine; see `choose_engine`.

    Parameters
    ----------
    threads : int, optional
        CPU threads; all cores that this process may use by default. MXNet reads it once, at its import.

    Raises
    ------
    UsageError
        If an option has no such value.
    EnvironmentFault
        If the engine's package or device is not there.
    """
    name, precision = choose_engine(engine, precision=precision, device=device)
    gpu = None if device == "cpu" else int(device[4:])
    if threads is None:
        threads = available_cores()
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    try:
        if name == "onnx":
            from sentiment_core.engines.onnx import OnnxEngine

            return OnnxEngine(model, precision=precision, threads=threads)
        if name == "torch":
            if gpu is not None:
                from sentiment_core.engines.cuda import CudaEngine

                return CudaEngine(model, precision=precision, gpu=gpu)
            from sentiment_core.engines.torch import TorchEngine

            return TorchEngine(model, threads=threads)
        prepare_mxnet(threads=threads)
        from sentiment_core.engines.mxnet import MXNetEngine
    except (ImportError, OSError) as error:
        raise EnvironmentFault(f"the {name} engine cannot be loaded ({error}); {_CURES[name]}") from error
    return MXNetEngine(model, gpu=gpu)
