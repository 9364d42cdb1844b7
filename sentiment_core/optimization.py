"""Adam with a schedule, layer-wise rates and gradient clipping, and checkpoints that survive a kill.

MXNet's `Trainer` keeps its states in a pickle; here the states are plain arrays beside the weights, so that a
checkpoint is one safetensors file: written under another name, flushed, then renamed over the last one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from sentiment_core.errors import InputError

__all__ = ["Adam", "Checkpoint", "Schedule", "data_digest", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Slanted triangle (Howard and Ruder 2018): linear warm-up, then linear decay to ``final_ratio``."""

    peak: float
    total_steps: int
    warmup_fraction: float = 0.1
    final_ratio: float = 0.03

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = max(1, round(self.total_steps * self.warmup_fraction))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
        return self.peak * (1.0 - (1.0 - self.final_ratio) * done)


class Adam:
    """Adam over named Gluon parameters, lazy on row-sparse gradients.

    Parameters
    ----------
    parameters : dict of str to Parameter
        What is trained, by artifact name.
    clip_norm : float
        Largest global norm of the gradients.
    rate_multipliers : dict of str to float
        Factor on the learning rate by parameter name; 1 where not named.
    weight_decay : float
        L2 penalty on matrices, never on biases.
    """

    def __init__(
        self,
        parameters: dict[str, mx.gluon.Parameter],
        *,
        clip_norm: float,
        rate_multipliers: Mapping[str, float] | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = parameters
        self.clip_norm = clip_norm
        self.rate_multipliers = dict(rate_multipliers or {})
        self.weight_decay = weight_decay
        self._restart(step=0)
        self._states = {
            name: self._optimizer.create_state(index, parameter.data())
            for index, (name, parameter) in enumerate(parameters.items())
        }

    def _restart(self, *, step: int) -> None:
        self._optimizer = mx.optimizer.Adam(lazy_update=True, begin_num_update=step)
        names = enumerate(self.parameters)
        self._optimizer.set_lr_mult({index: self.rate_multipliers.get(name, 1.0) for index, name in names})

    def update(self, *, learning_rate: float, grad_scale: float = 1.0) -> float:
        """Apply the gradients that `backward` left; returns their global norm before clipping."""
        gradients = [parameter.grad() for parameter in self.parameters.values()]
        norm = grad_scale * float(sum(gradient.norm().square() for gradient in gradients).sqrt().asscalar())
        if not np.isfinite(norm):
            return norm
        self._optimizer.set_learning_rate(learning_rate)
        self._optimizer.rescale_grad = grad_scale * min(1.0, self.clip_norm / max(norm, 1e-12))
        for index, (name, parameter) in enumerate(self.parameters.items()):
            self._optimizer.wd = self.weight_decay if name.endswith("weight") else 0.0
            self._optimizer.update(index, parameter.data(), parameter.grad(), self._states[name])
        return norm

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The moments as arrays, for a checkpoint."""
        return {
            f"{moment}/{name}": state.asnumpy()
            for name, states in self._states.items()
            for moment, state in zip(("mean", "variance"), states)
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], *, step: int) -> None:
        """Inverse of `arrays`, after ``step`` updates."""
        self._restart(step=step)
        for name, states in self._states.items():
            for moment, state in zip(("mean", "variance"), states):
                state[:] = arrays[f"{moment}/{name}"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Arrays by name, and what else a run needs to go on, as JSON values."""

    arrays: Mapping[str, npt.NDArray[Any]]
    progress: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays below a prefix, without it."""
        return {
            name.removeprefix(prefix + "/"): array
            for name, array in self.arrays.items()
            if name.startswith(prefix + "/")
        }


def data_digest(*arrays: npt.NDArray[Any]) -> str:
    """SHA-256 of arrays: tells whether a checkpoint belongs to a run on the same data."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Replace the checkpoint at ``path``; a kill or a full disk leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
    content = safetensors.numpy.save(arrays, metadata={"progress": json.dumps(checkpoint.progress)})
    staging = path.with_name(path.name + ".new")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises
    ------
    InputError
        If there is no readable checkpoint at the path.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            return Checkpoint(arrays=arrays, progress=json.loads(file.metadata()["progress"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"{path}: no checkpoint to resume from ({error}); start without --resume") from error
