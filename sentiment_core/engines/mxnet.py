"""The reference engine: SentimentNet in MXNet, on the CPU or a GPU.

MXNet must be imported in the process that uses it: a process forked after the import runs without OpenMP and can
deadlock. `OMP_NUM_THREADS` counts only if it is set before the import. Hence this module is imported late.

Axes: T tokens (time), N texts (batch).
"""

from __future__ import annotations

import mxnet as mx
import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Model
from sentiment_core.errors import EnvironmentFault
from sentiment_core.network import SentimentNet, sentiment_parameters, write_weights

__all__ = ["MXNetEngine"]

_LENGTHS = 20


class MXNetEngine:
    """Logits of padded token batches.

    Each distinct batch shape is compiled once and stays in memory, so callers keep to few shapes.

    Parameters
    ----------
    model : Model
        Weights of any supported type; computed in float32.
    gpu : int, optional
        Ordinal of the GPU; None computes on the CPU.

    Raises
    ------
    EnvironmentFault
        If the GPU cannot be used.
    """

    name = "mxnet float32"
    batch_tokens = 16_384
    concurrency = 1

    def __init__(self, model: Model, *, gpu: int | None = None) -> None:
        # Each shape is compiled: twenty padded lengths are few enough.
        self.length_step = -(-model.text.settings.max_tokens // _LENGTHS)
        self._context = mx.cpu() if gpu is None else mx.gpu(gpu)
        try:
            mx.nd.zeros((1,), ctx=self._context).wait_to_read()
        except mx.MXNetError as error:
            raise EnvironmentFault(
                f"MXNet cannot use GPU {gpu}: {str(error).splitlines()[-1]}; install a CUDA build of MXNet or "
                "use --device cpu"
            ) from error
        self._net = SentimentNet(model.architecture)
        self._net.initialize(ctx=self._context)
        write_weights(sentiment_parameters(self._net), model.weights)
        # static_shape would be 14 to 21 % faster, but then the same batch gives other last digits after other shapes.
        self._net.hybridize(static_alloc=True)

    @property
    def device(self) -> str:
        """Where the engine computes, ``cpu`` or ``gpu:N``."""
        return "cpu" if self._context.device_type == "cpu" else f"gpu:{self._context.device_id}"

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits."""
        logits: npt.NDArray[np.float32] = self._net(*self._inputs(token_ids, valid_length)).asnumpy()
        return logits

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it."""
        ids, lengths = self._inputs(token_ids, valid_length)
        logits, contributions = self._net.classifier.explain(self._net.embedding(ids), lengths)
        return np.column_stack([logits.asnumpy(), contributions.asnumpy().T])

    def _inputs(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> tuple[mx.nd.NDArray, mx.nd.NDArray]:
        ids = mx.nd.array(token_ids, ctx=self._context, dtype=np.int32)
        return ids, mx.nd.array(valid_length, ctx=self._context, dtype=np.float32)
