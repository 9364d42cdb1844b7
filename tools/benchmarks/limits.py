"""What the machine could do at best: matrix products of 32-bit floats and of bytes.

The best of ONNX Runtime and NumPy, over a large product and over one of an LSTM's shape: an engine's share of it is
how near it comes to the hardware.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

__all__ = ["measure_limits", "operations_per_token"]

# Rows, inner, columns: a large product, and that of 64 reviews with the gates of 200 units.
SHAPES = {"large": (1024, 1024, 1024), "LSTM's": (64, 200, 800)}
_SECONDS = 1.0


def operations_per_token(layer_sizes: list[tuple[int, int]]) -> int:
    """Multiplications and additions of the matrix products of LSTM layers, given as (inputs, units)."""
    return sum(2 * 4 * units * (inputs + units) for inputs, units in layer_sizes)


def measure_limits(cores: int, *, seconds: float = _SECONDS) -> dict[str, Any]:
    """Operations a second, in 1e9: ``float32`` and ``int8``, each the best of its products, and all of them."""
    products: dict[str, dict[str, float]] = {"float32": {}, "int8": {}}
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for name, (rows, inner, columns) in SHAPES.items():
        operations = 2 * rows * inner * columns
        left = rng.normal(size=(rows, inner)).astype(np.float32)
        right = rng.normal(size=(inner, columns)).astype(np.float32)
        left8 = rng.integers(0, 255, left.shape, np.uint8)
        right8 = rng.integers(-127, 127, right.shape, np.int8)
        runs = {
            ("float32", "NumPy"): lambda left=left, right=right: left @ right,
            ("float32", "ONNX Runtime"): _product("MatMul", left, right, cores=cores),
            ("int8", "ONNX Runtime"): _product("MatMulInteger", left8, right8, cores=cores),
        }
        for (precision, library), run in runs.items():
            best = _best_seconds(run, seconds=seconds)
            products[precision][f"{library}, {name}"] = operations / best / 1e9
    best_of = {precision: max(found.values()) for precision, found in products.items()}
    return {"seconds": time.perf_counter() - started, "giga_operations_per_second": best_of, "products": products}


def _product(operator: str, left: Any, right: Any, *, cores: int) -> Any:
    """A product with a constant right side, which the library may arrange beforehand, as an engine's weights."""
    kinds = {np.float32: TensorProto.FLOAT, np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
    output = TensorProto.FLOAT if operator == "MatMul" else TensorProto.INT32
    constant = helper.make_tensor("right", kinds[right.dtype.type], right.shape, right.tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        inputs=[helper.make_tensor_value_info("left", kinds[left.dtype.type], left.shape)],
        outputs=[helper.make_tensor_value_info("product", output, [left.shape[0], right.shape[1]])],
        initializer=[constant],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def _best_seconds(run: Any, *, seconds: float) -> float:
    """The fastest of as many runs as the time allows: a limit is not a mean."""
    run()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return float(best)
