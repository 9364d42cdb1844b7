"""SentimentNet in PyTorch, for GPUs: cuDNN's LSTM in float16 or float32.

Axes: T tokens (time), N texts (batch), H units.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sentiment_core.artifact import Model
from sentiment_core.errors import EnvironmentFault

__all__ = ["TorchEngine"]

# PyTorch's names; its gates are in our order.
_NAMES = {"weight_ih": "i2h_weight", "weight_hh": "h2h_weight", "bias_ih": "i2h_bias", "bias_hh": "h2h_bias"}


class TorchEngine:
    """Logits of padded token batches of any shape.

    Parameters
    ----------
    model : Model
    precision : str
        ``float32`` or ``float16``; the mean over time is taken in float32.
    gpu : int, optional
        Ordinal of the GPU; None computes on the CPU.
    threads : int
        CPU threads.

    Raises
    ------
    EnvironmentFault
        If the GPU cannot be used.
    """

    length_step = 1
    concurrency = 1

    def __init__(self, model: Model, *, precision: str, gpu: int | None, threads: int) -> None:
        torch.set_num_threads(threads)
        if gpu is not None and gpu >= torch.cuda.device_count():
            raise EnvironmentFault(
                f"PyTorch finds {torch.cuda.device_count()} GPUs, so it cannot use GPU {gpu}; check the driver, "
                "install a CUDA build of PyTorch, or use the device cpu"
            )
        self.name = f"torch {precision}"
        self.batch_tokens = 16_384 if gpu is None else 262_144
        self.device = "cpu" if gpu is None else f"gpu:{gpu}"
        self._device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
        try:
            torch.zeros(1, device=self._device) + 1
        except RuntimeError as error:
            raise EnvironmentFault(
                f"PyTorch cannot compute on GPU {gpu}: {str(error).splitlines()[0]}; install a PyTorch that knows the "
                "card and its driver, or use the device cpu"
            ) from error
        dtype = torch.float16 if precision == "float16" else torch.float32
        # Full float32: TF32 would have 10 bits of mantissa.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

        def tensor(name: str, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.from_numpy(model.weights[name].astype(np.float32)).to(self._device, dtype)

        self._embedding = tensor("embedding.weight")
        self._layers = []
        for layer, (inputs, units) in enumerate(model.architecture.layer_sizes):
            lstm = torch.nn.LSTM(inputs, units, device=self._device, dtype=dtype)
            own = {f"{kind}_l0": tensor(f"lstm.{layer}.{theirs}") for kind, theirs in _NAMES.items()}
            lstm.load_state_dict(own)
            self._layers.append(lstm.eval())
        self._output = tensor("output.weight", torch.float32)
        self._bias = tensor("output.bias", torch.float32)

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits."""
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self._logits(*self._states(token_ids, valid_length)).cpu().numpy()
        return logits

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it."""
        with torch.inference_mode():
            states, lengths = self._states(token_ids, valid_length)
            shares = (states.float() @ self._output[0]) / lengths.clamp(min=1)  # (T, N)
            logits = self._logits(states, lengths)
            found: npt.NDArray[np.float32] = torch.cat([logits[:, None], shares.T], dim=1).cpu().numpy()
        return found

    def _states(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States (T, N, H), zeros past each text, and lengths (N,)."""
        lengths = torch.from_numpy(valid_length).to(self._device)
        states = torch.nn.functional.embedding(torch.from_numpy(token_ids).to(self._device), self._embedding)
        for lstm in self._layers:
            states, _ = lstm(states)
        inside = torch.arange(len(token_ids), device=self._device)[:, None] < lengths  # (T, N)
        return torch.where(inside[..., None], states, 0), lengths

    def _logits(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        total = states.sum(dim=0, dtype=torch.float32)  # (N, H)
        pooled = total / lengths.clamp(min=1)[:, None]
        return (pooled @ self._output.T + self._bias)[:, 0]
