"""Adam on MXNet's parameters, with gradient clipping and a rate of its own for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt

from sentiment_core.training.steps.schedule import LayerRates

__all__ = ["Adam"]


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
