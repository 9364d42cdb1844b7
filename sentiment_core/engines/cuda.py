"""SentimentNet in PyTorch on a CUDA GPU: packed texts, all layers in one call of cuDNN, several streams.

On a GPU the time of a batch is that of its steps, not of its tokens. Packed texts have no padding: step t computes the
texts of more than t tokens. So one batch holds texts of every length and takes as many steps as the longest has tokens.

Axes: T tokens (time), N texts (batch), P tokens of all texts, H units.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from queue import LifoQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sentiment_core.artifact import Model
from sentiment_core.engines.torch import lstm_weights, tensor_of
from sentiment_core.errors import EnvironmentFault

__all__ = ["CudaEngine"]

Ids = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]


class CudaEngine:
    """Logits of padded token batches of any shape; as many threads may call it at a time as it has streams.

    Parameters
    ----------
    model : Model
    precision : str
        ``float32`` or ``float16``; the mean over time is taken in float32.
    gpu : int, optional
        Ordinal of the GPU; None computes on the CPU, which is for tests.
    streams : int
        Batches that the GPU computes at a time. A batch whose steps have few texts does not fill it.

    Raises
    ------
    EnvironmentFault
        If the GPU cannot be used.
    """

    length_step = 1
    batch_tokens = 1 << 20

    def __init__(self, model: Model, *, precision: str, gpu: int | None, streams: int = 2) -> None:
        self.name = f"torch {precision}"
        self.device = "cpu" if gpu is None else f"gpu:{gpu}"
        self.concurrency = streams
        self._device = torch.device("cpu") if gpu is None else _usable(gpu)
        # Full float32: TF32 would have 10 bits of mantissa.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._type = getattr(torch, precision)
        self._embedding = tensor_of(model, "embedding.weight").to(self._device, self._type)
        self._layers = self._loaded(model)
        self._output = tensor_of(model, "output.weight").to(self._device)[0]  # (H,)
        self._bias = tensor_of(model, "output.bias").to(self._device)
        self._streams: LifoQueue[torch.cuda.Stream | None] = LifoQueue()
        for _ in range(streams):
            self._streams.put(None if gpu is None else torch.cuda.Stream(self._device))
        if gpu is not None:
            torch.cuda.synchronize(self._device)  # the weights were copied in a stream that is none of these

    def logits(self, token_ids: Ids, valid_length: Ids) -> Logits:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits."""
        with self._stream() as stream:
            shares = self._shares(token_ids, valid_length)
            return _fetched(shares.sum(dim=0) + self._bias, stream)

    def contributions(self, token_ids: Ids, valid_length: Ids) -> Logits:
        """(T, N) ids padded at the end, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it."""
        with self._stream() as stream:
            shares = self._shares(token_ids, valid_length)
            logits = shares.sum(dim=0) + self._bias
            return _fetched(torch.cat([logits[:, None], shares.T], dim=1), stream)

    def _loaded(self, model: Model) -> list[torch.nn.LSTM]:
        """Layers one above the other; cuDNN computes those of one size together, a step of each at a time."""
        loaded = []
        of_one_size = groupby(enumerate(model.architecture.layer_sizes), key=lambda layer: layer[1][1])
        for units, group in of_one_size:
            layers = list(group)
            inputs = layers[0][1][0]
            lstm = torch.nn.LSTM(inputs, units, len(layers), device=self._device, dtype=self._type)
            own: dict[str, torch.Tensor] = {}
            for place, (layer, _) in enumerate(layers):
                own |= lstm_weights(model, layer, place=place)
            lstm.load_state_dict(own)
            loaded.append(lstm.eval())
        return loaded

    @contextmanager
    def _stream(self) -> Iterator[torch.cuda.Stream | None]:
        """A stream that no other batch is in; waits for one."""
        stream = self._streams.get()
        try:
            with torch.inference_mode(), nullcontext() if stream is None else torch.cuda.stream(stream):
                yield stream
        finally:
            self._streams.put(stream)

    def _shares(self, token_ids: Ids, valid_length: Ids) -> torch.Tensor:
        """What each token's state adds to the logit, float32, (T, N); 0 past the text."""
        order = np.argsort(-valid_length, kind="stable")
        sorted_ids = token_ids if (np.diff(order) == 1).all() else token_ids[:, order]
        ids, lengths, columns = map(self._sent, (sorted_ids, valid_length[order], order))
        shares = torch.zeros(token_ids.shape, device=self._device)
        shares[:, columns] = self._sorted_shares(ids, lengths, valid_length[order])
        return shares

    def _sorted_shares(self, ids: torch.Tensor, lengths: torch.Tensor, known_lengths: Ids) -> torch.Tensor:
        """`_shares` of texts that are sorted, longest first; their lengths are known on both sides.

        A packed token stands behind those of the steps before, in the column of its text.
        """
        packed_lengths = np.maximum(known_lengths, 1)  # cuDNN takes no text of length 0
        n_packed, n_steps = int(packed_lengths.sum()), int(packed_lengths[0])
        done = np.searchsorted(packed_lengths[::-1], np.arange(n_steps), side="right")  # texts that end before a step
        batch_sizes = len(packed_lengths) - done  # (steps,)
        starts = self._sent(np.cumsum(batch_sizes) - batch_sizes)
        step = torch.arange(len(ids), device=self._device)[:, None]
        column = torch.arange(len(lengths), device=self._device)
        inside = step < lengths.clamp(min=1)  # (T, N)
        place = torch.where(inside, starts[step.clamp(max=n_steps - 1)] + column, n_packed)  # all others: one dump
        packed_ids = ids.new_zeros(n_packed + 1).scatter_(0, place.flatten(), ids.flatten())
        inputs = torch.nn.functional.embedding(packed_ids[:-1], self._embedding)
        states = torch.nn.utils.rnn.PackedSequence(inputs, torch.from_numpy(batch_sizes))
        for lstm in self._layers:
            states, _ = lstm(states)
        packed_shares = torch.cat([states.data.float() @ self._output, self._output.new_zeros(1)])  # (P + 1,)
        return torch.where(step < lengths, packed_shares[place], 0) / lengths.clamp(min=1)

    def _sent(self, array: npt.NDArray[np.integer[Any]]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _usable(gpu: int) -> torch.device:
    found = torch.cuda.device_count()
    if gpu >= found:
        raise EnvironmentFault(
            f"PyTorch finds {found} GPUs, so it cannot use GPU {gpu}; check the driver, install a CUDA build of "
            "PyTorch, or use the device cpu"
        )
    device = torch.device("cuda", gpu)
    try:
        torch.zeros(1, device=device) + 1
    except RuntimeError as error:
        raise EnvironmentFault(
            f"PyTorch cannot compute on GPU {gpu}: {str(error).splitlines()[0]}; install a PyTorch that knows the "
            "card and its driver, or use the device cpu"
        ) from error
    return device


def _fetched(result: torch.Tensor, stream: torch.cuda.Stream | None) -> Logits:
    """The array, once it is computed; the thread sleeps until then, because others need its core to read texts."""
    if stream is not None:
        done = torch.cuda.Event(blocking=True)
        done.record(stream)
        done.synchronize()
    found: Logits = result.cpu().numpy()
    return found
