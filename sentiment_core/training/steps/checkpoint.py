"""Checkpoints that survive a kill: one safetensors file, written under another name, flushed, then renamed.

MXNet's `Trainer` keeps its states in a pickle; here they are plain arrays beside the weights.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from sentiment_core.durable import replace_durably
from sentiment_core.errors import EnvironmentFault, InputError

__all__ = ["Checkpoint", "data_digest", "load_checkpoint", "save_checkpoint"]

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Arrays by name, and what else a run needs to go on, as JSON values."""

    arrays: Arrays
    progress: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays below a prefix, without it."""
        return {
            name.removeprefix(prefix + "/"): array
            for name, array in self.arrays.items()
            if name.startswith(prefix + "/")
        }


def data_digest(*arrays: npt.NDArray[Any], also: str = "") -> str:
    """SHA-256 of arrays, and of a name: tells whether a checkpoint belongs to a run on the same data."""
    digest = hashlib.sha256(also.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Replace the checkpoint at ``path``; a kill or a full disk leaves the old one whole.

    Raises
    ------
    EnvironmentFault
        If it cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
    content = safetensors.numpy.save(arrays, metadata={"progress": json.dumps(checkpoint.progress)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, content)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: the checkpoint cannot be written ({error.strerror}), the one before it is kept; make room and go "
            "on with --resume"
        ) from error


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
