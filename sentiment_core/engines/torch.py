"""SentimentNet in PyTorch on the CPU, in float32: it shows what PyTorch does there. GPUs have `CudaEngine`.

Axes: T tokens (time), N texts (batch), H units.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sentiment_core.artifact import Model

__all__ = ["TorchEngine", "lstm_weights", "tensor_of"]

# PyTorch's names; its gates are in our order.
_NAMES = {"weight_ih": "i2h_weight", "weight_hh": "h2h_weight", "bias_ih": "i2h_bias", "bias_hh": "h2h_bias"}


def tensor_of(model: Model, name: str) -> torch.Tensor:
    """Weights in float32."""
    return torch.from_numpy(model.weights[name].astype(np.float32))


def lstm_weights(model: Model, layer: int, *, place: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a layer of the model by PyTorch's names, where it has this place in a module of PyTorch's."""
    return {f"{theirs}_l{place}": tensor_of(model, f"lstm.{layer}.{ours}") for theirs, ours in _NAMES.items()}


class TorchEngine:
    """Logits of padded token batches of any shape.

    Parameters
    ----------
    model : Model
    threads : int
    """

    name = "torch float32"
    device = "cpu"
    length_step = 1
    concurrency = 1
    batch_tokens = 16_384

    def __init__(self, model: Model, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._embedding = tensor_of(model, "embedding.weight")
        self._layers = []
        for layer, (inputs, units) in enumerate(model.architecture.layer_sizes):
            lstm = torch.nn.LSTM(inputs, units)
            lstm.load_state_dict(lstm_weights(model, layer))
            self._layers.append(lstm.eval())
        self._output = tensor_of(model, "output.weight")
        self._bias = tensor_of(model, "output.bias")

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits."""
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self._logits(*self._states(token_ids, valid_length)).numpy()
        return logits

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it."""
        with torch.inference_mode():
            states, lengths = self._states(token_ids, valid_length)
            shares = (states @ self._output[0]) / lengths.clamp(min=1)  # (T, N)
            logits = self._logits(states, lengths)
            found: npt.NDArray[np.float32] = torch.cat([logits[:, None], shares.T], dim=1).numpy()
        return found

    def _states(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States (T, N, H), zeros past each text, and lengths (N,)."""
        lengths = torch.from_numpy(valid_length)
        states = torch.nn.functional.embedding(torch.from_numpy(token_ids), self._embedding)
        for lstm in self._layers:
            states, _ = lstm(states)
        inside = torch.arange(len(token_ids))[:, None] < lengths  # (T, N)
        return torch.where(inside[..., None], states, 0), lengths

    def _logits(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        total = states.sum(dim=0)  # (N, H)
        pooled = total / lengths.clamp(min=1)[:, None]
        return (pooled @ self._output.T + self._bias)[:, 0]
