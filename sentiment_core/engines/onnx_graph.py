"""SentimentNet as an ONNX graph: real lengths, masked mean inside, one logit a text.

In float32 the layers are ONNX's ``LSTM``; in int8 they are ONNX Runtime's ``DynamicQuantizeLSTM``: 8-bit weights, one
scale a gate unit, and 8-bit activations. That operator measures the range of its activations over the batch, so that
a text's score would depend on its neighbours. Here it does not: two extra units hold the ends of the range in each
batch and at each step. Their forget gate is open and their input gate shut, so that they keep the state they begin
with, whose output is 1 and -1; another unit's is larger by a rounding at most. The embedding likewise has two columns
that hold plus and minus its largest value. No weight reads them.

Axes: T tokens (time), N texts (batch), E embedding units, H hidden units; gates in the order in, out, forget, cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sentiment_core.artifact import Model

__all__ = ["IR_VERSION", "OPSET", "onnx_graph"]

Floats = npt.NDArray[np.float32]

# Matrix products are faster at multiples of it.
_ALIGNMENT = 8
# tanh and sigmoid of it are 1 in float32.
_SATURATED = 30.0
OPSET, IR_VERSION = 17, 9


def onnx_graph(
    model: Model, *, precision: str, weight_type: npt.DTypeLike = np.int8, contributions: bool = False
) -> bytes:
    """Build the graph.

    Parameters
    ----------
    model : Model
        Of the kind ``sentiment``.
    precision : str
        ``float32`` or ``int8``.
    weight_type : data type
        Of int8's weights, ``int8`` or ``uint8``; the products are the same.
    contributions : bool
        Whether the graph has its second output.

    Returns
    -------
    bytes
        A serialised graph: ``token_ids`` int32 (T, N) and ``valid_length`` int32 (N,) -> ``logits`` float32 (N,) and
        ``contributions`` float32 (T, N), which with the output's bias add up to them.
    """
    graph = _Graph()
    weights = {name: tensor.astype(np.float32) for name, tensor in model.weights.items()}
    embedding = model.weights["embedding.weight"]
    extra = 0
    if precision == "int8":
        extra = _extra_units(embedding.shape[1])
        largest = np.abs(embedding).max()
        embedding = np.pad(embedding, [(0, 0), (0, extra)])
        embedding[:, -extra:] = range_ends(extra).astype(embedding.dtype) * largest
    # Rows in the type that they are stored in, so that a float16 table stays half as large.
    rows = graph.node("Gather", graph.constant(embedding), "token_ids")
    states = graph.node("Cast", rows, to=TensorProto.FLOAT)  # (T, N, E)
    for layer, (_, units) in enumerate(model.architecture.layer_sizes):
        tensors = {
            name: _in_onnx_order(weights[f"lstm.{layer}.{name}"])
            for name in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        }
        bias = tensors["i2h_bias"] + tensors["h2h_bias"]
        if precision == "int8":
            outputs = _quantized_lstm(
                graph, states, tensors["i2h_weight"], tensors["h2h_weight"], bias, extra=extra, weight_type=weight_type
            )
            extra = _extra_units(units)
        else:
            biases = np.concatenate([bias, np.zeros_like(bias)])
            parameters = [graph.constant(part[None]) for part in (tensors["i2h_weight"], tensors["h2h_weight"], biases)]
            outputs = graph.node("LSTM", states, *parameters, "valid_length", hidden_size=units)
        states = graph.node("Squeeze", outputs, graph.constant(np.array([1])))  # (T, 1, N, H) -> (T, N, H)
    # States past a text's length are zeros.
    total = graph.node("ReduceSum", states, graph.constant(np.array([0])), keepdims=0)  # (N, H)
    lengths = graph.node("Cast", "valid_length", to=TensorProto.FLOAT)
    divisor = graph.node("Max", lengths, graph.constant(np.ones(1, np.float32)))
    pooled = graph.node("Div", total, graph.node("Unsqueeze", divisor, graph.constant(np.array([1]))))
    output = graph.constant(np.pad(weights["output.weight"], [(0, 0), (0, extra)]).T)
    logits = graph.node("MatMul", pooled, output)
    logits = graph.node("Add", logits, graph.constant(weights["output.bias"]))  # (N, 1)
    graph.node("Squeeze", logits, graph.constant(np.array([1])), name="logits")
    if contributions:
        shares = graph.node("Squeeze", graph.node("MatMul", states, output), graph.constant(np.array([2])))  # (T, N)
        graph.node("Div", shares, divisor, name="contributions")
    return graph.serialized(contributions=contributions)


class _Graph:
    """Nodes and constants under names that count up."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add an operator; returns the name of its first output."""
        output = name or f"node_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def serialized(self, *, contributions: bool) -> bytes:
        """The model with the inputs and the outputs that `onnx_graph` names."""
        outputs = {"logits": ["N"]} | ({"contributions": ["T", "N"]} if contributions else {})
        graph = helper.make_graph(
            self._nodes,
            "SentimentNet",
            inputs=[
                helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["T", "N"]),
                helper.make_tensor_value_info("valid_length", TensorProto.INT32, ["N"]),
            ],
            outputs=[helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in outputs.items()],
            initializer=self._constants,
        )
        operator_sets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        content: bytes = helper.make_model(
            graph, opset_imports=operator_sets, ir_version=IR_VERSION
        ).SerializeToString()
        return content


def _quantized_lstm(
    graph: _Graph,
    states: str,
    i2h_weight: Floats,
    h2h_weight: Floats,
    bias: Floats,
    *,
    extra: int,
    weight_type: npt.DTypeLike,
) -> str:
    """One int8 layer; ``extra`` is the number of range units among its inputs."""
    units = h2h_weight.shape[1]
    own = _extra_units(units)
    ends = range_ends(own)
    i2h_weight = _with_units(np.pad(i2h_weight, [(0, 0), (0, extra)]), own)
    h2h_weight = _with_units(np.pad(h2h_weight, [(0, 0), (0, own)]), own)
    gates = np.pad(bias.reshape(4, units), [(0, 0), (0, own)])  # in, out, forget, cell
    gates[:, units:] = _SATURATED * np.array([[-1], [1], [1], [0]])
    biases = np.concatenate([gates.ravel(), np.zeros(gates.size, np.float32)])
    begin = np.zeros((1, 1, units + own), np.float32)
    begin[..., units:] = ends
    batch = graph.node("Shape", "valid_length")
    shape = graph.node("Concat", graph.constant(np.array([1])), batch, graph.constant(np.array([units + own])), axis=0)
    hidden = graph.node("Expand", graph.constant(begin), shape)
    cell = graph.node("Expand", graph.constant(_SATURATED * begin), shape)
    quantized = [_quantized(weight, weight_type) for weight in (i2h_weight, h2h_weight)]
    return graph.node(
        "DynamicQuantizeLSTM",
        states,
        *(graph.constant(values) for values, _, _ in quantized),
        graph.constant(biases[None]),
        "valid_length",
        hidden,
        cell,
        "",  # no peepholes
        *(graph.constant(part) for _, scale, zero in quantized for part in (scale, zero)),
        domain="com.microsoft",
        hidden_size=units + own,
    )


def _quantized(weight: Floats, weight_type: npt.DTypeLike) -> tuple[npt.NDArray[Any], Floats, npt.NDArray[Any]]:
    """(4H, inputs) -> values (1, inputs, 4H), and a scale and a zero point for each gate unit, (1, 4H)."""
    scale = np.abs(weight).max(axis=1) / 127
    scale[scale == 0] = 1
    values = np.rint(weight / scale[:, None])
    zero = 0 if np.dtype(weight_type) == np.int8 else 128
    zeros = np.full((1, len(scale)), zero, weight_type)
    return (values + zero).T[None].astype(weight_type), scale[None].astype(np.float32), zeros


def _in_onnx_order(tensor: Floats) -> Floats:
    """Gates in, forget, cell, out -> in, out, forget, cell; shape (4H, ...)."""
    in_gate, forget_gate, candidate, out_gate = np.split(tensor, 4)
    return np.concatenate([in_gate, out_gate, forget_gate, candidate])


def _with_units(weight: Floats, extra: int) -> Floats:
    """(4H, inputs) -> (4 (H + extra), inputs): the extra units of each gate read nothing."""
    gates = weight.reshape(4, -1, weight.shape[1])
    return np.pad(gates, [(0, 0), (0, extra), (0, 0)]).reshape(-1, weight.shape[1])


def _extra_units(units: int) -> int:
    """Units to add: at least the two that hold the ends of the range."""
    return 2 + -(units + 2) % _ALIGNMENT


def range_ends(extra: int) -> Floats:
    """1, -1, and zeros for the units that only align, shape (extra,)."""
    ends = np.zeros(extra, np.float32)
    ends[:2] = 1, -1
    return ends
