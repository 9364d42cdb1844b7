"""SentimentNet and the language model's encoder in PyTorch: what trains on GPUs.

The last build of MXNet for GPUs holds no code for cards of 2022 and later, so that these are served by PyTorch. The
weights have the same names, shapes and order of gates.

Axes: T tokens (time), N texts (batch), E embedding units, H hidden units, V words. Sequences are time-major.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sentiment_core.artifact import Architecture, Weights

__all__ = [
    "TorchEncoder",
    "TorchSentimentNet",
    "locked_dropout",
    "read_weights",
    "torch_device",
    "write_weights",
]

# PyTorch's names of an LSTM layer's tensors; its gates are in our order.
_LAYER_NAMES = {
    "weight_ih_l0": "i2h_weight",
    "weight_hh_l0": "h2h_weight",
    "bias_ih_l0": "i2h_bias",
    "bias_hh_l0": "h2h_bias",
}


def torch_device(name: str) -> torch.device:
    """The device of ``cpu`` or ``gpu:N``."""
    return torch.device(name.replace("gpu", "cuda"))


def locked_dropout(states: torch.Tensor, rate: float, *, training: bool) -> torch.Tensor:
    """Dropout of (T, N, H) whose mask is shared over time."""
    if not training or not rate:
        return states
    keep = torch.rand(states.shape[1:], device=states.device) >= rate
    return states * (keep / (1 - rate))


class TorchEncoder(nn.Module):
    """Stacked LSTM layers with dropout after each but the last; masks are shared over time."""

    def __init__(self, architecture: Architecture, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.rate = dropout
        self.layers = nn.ModuleList(nn.LSTM(inputs, units) for inputs, units in architecture.layer_sizes)
        bound = 1 / math.sqrt(architecture.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, inputs: torch.Tensor, states: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """(T, N, E), states of each layer or None for zeros -> (T, N, H), new states."""
        new_states = []
        for index, lstm in enumerate(self.layers):
            if index:
                inputs = locked_dropout(inputs, self.rate, training=self.training)
            inputs, state = lstm(inputs, states[index] if states else None)
            new_states.append(state)
        return inputs, new_states

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters under the names that they have in an artifact."""
        return {
            f"lstm.{index}.{ours}": getattr(lstm, theirs)
            for index, lstm in enumerate(self.layers)
            for theirs, ours in _LAYER_NAMES.items()
        }


class TorchSentimentNet(nn.Module):
    """Embedding -> LSTM layers -> mean pooling -> dropout -> dense 1; returns logits.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    encoder_dropout, dropout : float
        Rates between the LSTM layers and before the output, 0 to 1.
    """

    def __init__(self, architecture: Architecture, *, encoder_dropout: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size)
        self.encoder = TorchEncoder(architecture, dropout=encoder_dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(architecture.embed_size, 1)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, embedded: torch.Tensor, valid_length: torch.Tensor) -> torch.Tensor:
        """(T, N, E), (N,) -> logits (N,)."""
        states, _ = self.encoder(embedded)  # (T, N, H)
        inside = torch.arange(len(embedded), device=embedded.device)[:, None] < valid_length  # (T, N)
        total = torch.where(inside[..., None], states, 0).sum(dim=0)  # (N, H)
        pooled = total / valid_length.clamp(min=1)[:, None]
        logits: torch.Tensor = self.output(self.dropout(pooled))[:, 0]
        return logits

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters under the names that they have in an artifact."""
        return {
            "embedding.weight": self.embedding.weight,
            **self.encoder.named(),
            "output.weight": self.output.weight,
            "output.bias": self.output.bias,
        }


def read_weights(parameters: dict[str, nn.Parameter]) -> dict[str, npt.NDArray[np.float32]]:
    """Copy parameters out as float32 arrays."""
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in parameters.items()}


def write_weights(parameters: dict[str, nn.Parameter], weights: Weights) -> None:
    """Copy arrays into the parameters of the same names; names that only one side has are left."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name in weights:
                parameter.copy_(torch.from_numpy(weights[name].astype(np.float32)))
