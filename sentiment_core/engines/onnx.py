"""SentimentNet in ONNX Runtime, on the CPU: the default engine, in float32 or int8. It never imports MXNet.

Axes: T tokens (time), N texts (batch).
"""

from __future__ import annotations

from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from sentiment_core.artifact import Model
from sentiment_core.engines.onnx_graph import IR_VERSION, OPSET, onnx_graph
from sentiment_core.errors import UsageError

__all__ = ["OnnxEngine"]

# A graph is one protocol buffer of at most 2 GiB; what is stored in 16 bits is float32 there, but for the embedding.
LARGEST_MODEL = 1 << 30


class OnnxEngine:
    """Logits of padded token batches of any shape; a text's logit does not depend on the batch that it is in.

    Parameters
    ----------
    model : Model
    precision : str
        ``float32`` or ``int8``.
    threads : int
        Batches that are computed at a time, each by one thread: the products of one batch are too small to share.

    Raises
    ------
    UsageError
        If the model is larger than a graph may be.
    """

    device = "cpu"
    length_step = 1
    # Small enough for the caches, and for memory that the allocator keeps instead of asking for it anew each time.
    batch_tokens = 4_096

    def __init__(self, model: Model, *, precision: str, threads: int) -> None:
        size = sum(tensor.nbytes for tensor in model.weights.values())
        if size > LARGEST_MODEL:
            raise UsageError(
                f"the model's weights take {size / 1e9:.1f} GB, the onnx engine holds {LARGEST_MODEL / 1e9:.1f} GB at "
                "most; use --engine mxnet"
            )
        self.name = f"onnx {precision}"
        weight_type = np.int8 if precision == "int8" and adds_exactly() else np.uint8
        self._graph = partial(onnx_graph, model, precision=precision, weight_type=weight_type)
        self.concurrency = threads
        self._session = inference_session(self._graph())

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits."""
        logits: npt.NDArray[np.float32]
        (logits,) = self._session.run(["logits"], {"token_ids": token_ids, "valid_length": valid_length})
        return logits

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it."""
        names, inputs = ["logits", "contributions"], {"token_ids": token_ids, "valid_length": valid_length}
        logits, contributions = self._explaining.run(names, inputs)
        return np.column_stack([logits, contributions.T])

    @cached_property
    def _explaining(self) -> onnxruntime.InferenceSession:
        """A session of its own: ONNX Runtime computes all outputs of a graph, asked for or not."""
        return inference_session(self._graph(contributions=True))


def inference_session(content: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session of a serialised graph whose products are shared by so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Plans and arenas of many batch shapes would only grow.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@cache
def adds_exactly() -> bool:
    """Whether this processor's product of unsigned and signed bytes is exact.

    x86 processors without VNNI add pairs of products in 16 bits, which overflow; unsigned weights are slower there, but
    exact (ONNX Runtime, "Quantize ONNX models", on saturation).
    """
    product = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        inputs=[
            helper.make_tensor_value_info("left", TensorProto.UINT8, [1, 64]),
            helper.make_tensor_value_info("right", TensorProto.INT8, [64, 64]),
        ],
        outputs=[helper.make_tensor_value_info("product", TensorProto.INT32, [1, 64])],
    )
    content = helper.make_model(
        product, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    ).SerializeToString()
    factors = {"left": np.full((1, 64), 255, np.uint8), "right": np.full((64, 64), 127, np.int8)}
    (found,) = inference_session(content).run(None, factors)
    return bool((found == 64 * 255 * 127).all())
