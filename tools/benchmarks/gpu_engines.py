"""Other ways to compute a batch on the GPU, to measure beside `CudaEngine`.

Axes: T tokens (time), N texts (batch), H units.
"""

from __future__ import annotations

import torch

from sentiment_core.artifact import Model
from sentiment_core.engines.cuda import CudaEngine, Ids
from sentiment_core.engines.torch import lstm_weights
from tests.support.reference import Floats

__all__ = ["ENGINES", "LayerByLayer", "Padded", "PaddedLayerByLayer", "Pinned"]


class LayerByLayer(CudaEngine):
    """A call of cuDNN for each layer."""

    def _loaded(self, model: Model) -> list[torch.nn.LSTM]:
        loaded = []
        for layer, (inputs, units) in enumerate(model.architecture.layer_sizes):
            lstm = torch.nn.LSTM(inputs, units, device=self._device, dtype=self._type)
            lstm.load_state_dict(lstm_weights(model, layer))
            loaded.append(lstm.eval())
        return loaded


class Padded(CudaEngine):
    """Every text padded to the longest of its batch."""

    def _sorted_shares(self, ids: torch.Tensor, lengths: torch.Tensor, known_lengths: Ids) -> torch.Tensor:
        states = torch.nn.functional.embedding(ids, self._embedding)
        for lstm in self._layers:
            states, _ = lstm(states)
        inside = torch.arange(len(ids), device=self._device)[:, None] < lengths  # (T, N)
        return torch.where(inside, states.float() @ self._output, 0) / lengths.clamp(min=1)


class PaddedLayerByLayer(Padded, LayerByLayer):
    """Both."""


class Pinned(CudaEngine):
    """Copies from page-locked memory, which do not wait for what the GPU does."""

    def _sent(self, array: Floats) -> torch.Tensor:
        return torch.from_numpy(array.copy()).pin_memory().to(self._device, non_blocking=True)


ENGINES = {
    "packed, layers together": CudaEngine,
    "packed, layer by layer": LayerByLayer,
    "padded, layers together": Padded,
    "padded, layer by layer": PaddedLayerByLayer,
    "packed, pinned copies": Pinned,
}
