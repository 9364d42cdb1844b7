"""Adam with gradient clipping and a rate of its own for each layer, and the schedule of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt

__all__ = ["Adam", "LayerRates", "Schedule"]


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


@dataclass(frozen=True, kw_only=True)
class LayerRates:
    """Factors on the learning rate by layer (Howard and Ruder 2018).

    Parameters
    ----------
    layers : tuple of str
        Names in front of the parameters' last dot, from the output down to the embedding.
    decay : float
        One factor more for each layer down.
    unfreeze_steps : int
        Gradual unfreezing: the output learns from step 0, the lowest layer from this step, the others between.
    """

    layers: tuple[str, ...]
    decay: float = 1.0
    unfreeze_steps: float = 0

    def factor(self, parameter: str, step: int) -> float:
        """Factor for a parameter at a step; 0 while its layer is frozen."""
        depth = self.layers.index(parameter.rsplit(".", 1)[0])
        if step < self.unfreeze_steps * depth / max(1, len(self.layers) - 1):
            return 0.0
        return self.decay**depth


class Adam:
    """Adam over named Gluon parameters, lazy on row-sparse gradients.

    Parameters
    ----------
    parameters : dict of str to Parameter
        What is trained, by artifact name.
    clip_norm : float
        Largest global norm of the gradients.
    layer_rates : LayerRates
        None gives all layers the same rate.
    """

    def __init__(
        self,
        parameters: dict[str, mx.gluon.Parameter],
        *,
        clip_norm: float,
        layer_rates: LayerRates | None = None,
    ) -> None:
        self.parameters = parameters
        self.clip_norm = clip_norm
        self.layer_rates = layer_rates
        self._optimizer = mx.optimizer.Adam(lazy_update=True)
        self._states = {
            name: self._optimizer.create_state(index, parameter.data())
            for index, (name, parameter) in enumerate(parameters.items())
        }

    def update(self, *, step: int, learning_rate: float, grad_scale: float = 1.0) -> float:
        """Apply the gradients that `backward` left; returns their global norm before clipping.

        Gradients that are not finite are not applied.
        """
        gradients = [parameter.grad() for parameter in self.parameters.values()]
        norm = grad_scale * float(sum(gradient.norm().square() for gradient in gradients).sqrt().asscalar())
        if not np.isfinite(norm):
            return norm
        self._optimizer.set_learning_rate(learning_rate)
        if self.layer_rates is not None:
            # A factor of 0 still moves the moments: a layer that thaws has them, and their count is the same for all.
            factors = {index: self.layer_rates.factor(name, step) for index, name in enumerate(self.parameters)}
            self._optimizer.set_lr_mult(factors)
        self._optimizer.rescale_grad = grad_scale * min(1.0, self.clip_norm / max(norm, 1e-12))
        for index, (name, parameter) in enumerate(self.parameters.items()):
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
        self._optimizer = mx.optimizer.Adam(lazy_update=True, begin_num_update=step)
        for name, states in self._states.items():
            for moment, state in zip(("mean", "variance"), states):
                state[:] = arrays[f"{moment}/{name}"]
