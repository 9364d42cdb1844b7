"""Other forms of the int8 engine beside the one that scores: sizes of batches, threads, libraries, and a bound.

Usage: ``python -m tools.benchmarks.int8_forms REVIEWS.parquet [--reviews N] [--rounds N] [--model DIR]``. Forms whose
package is missing are left out and named: ``pip install torch openvino``. The forms take turns in each round, and a
form's figure is the median of its ratios to the engine as it is.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.engines.onnx import OnnxEngine, inference_session
from sentiment_core.engines.onnx_graph import onnx_graph
from sentiment_core.logistic import sigmoid
from sentiment_core.scoring.scorer import Scorer
from tools.benchmarks.figures import Spread, markdown_table, paired_ratio

__all__ = ["Batches", "Form", "forms", "main", "measure"]

Batches = Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
# (T, N) ids, (N,) lengths -> (N,) logits; none for a form that only bounds the time.
Logits = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int32]], Any]
Form = tuple[Logits, int, int]  # and batches at a time, tokens a batch

THREADS = 2
_TOKENS = OnnxEngine.batch_tokens
# A table of products of the first layer would leave it no product of inputs: the least that a graph can have instead.
_FEWEST_INPUTS = 14


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("input", type=Path)
    parser.add_argument("--reviews", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, default=bundled_model_path())
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    texts = pq.read_table(options.input, columns=["text"])["text"].combine_chunks().slice(0, options.reviews)
    found = forms(model)
    rows = measure(found, model, texts, rounds=options.rounds)
    header = ["form", "speed, 1 is the engine's", "tokens/s", "largest, mean change of a probability"]
    print(markdown_table(header, rows))
    return 0


def forms(model: Model) -> dict[str, Form]:
    """Each form by its name; the engine as it is comes first."""
    graph = onnx_graph(model, precision="int8")
    alone, both = (_session(graph, threads=threads) for threads in (1, THREADS))
    found: dict[str, Form] = {"as it is": (alone, THREADS, _TOKENS)}
    for tokens in (1_024, 2_048, 8_192, 16_384):
        found[f"batches of {tokens:,} tokens"] = (alone, THREADS, tokens)
    found["a batch on both threads"] = (both, 1, _TOKENS)
    found["a batch of 8,192 on both threads"] = (both, 1, 8_192)
    bound = _bounded(_first_layer_without_inputs(model))
    found["bound: no product of the first layer's inputs"] = (bound, THREADS, _TOKENS)
    found["float32"] = (_session(onnx_graph(model, precision="float32"), threads=1), THREADS, _TOKENS)
    for name, build in {"PyTorch's dynamic int8": _pytorch, "OpenVINO's int8": _openvino}.items():
        try:
            found[name] = (build(model), THREADS, _TOKENS)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed", file=sys.stderr)
    return found


def measure(found: dict[str, Form], model: Model, texts: pa.Array, *, rounds: int) -> list[list[str]]:
    """A row of the table for each form."""
    batches = {tokens: _batches(model, texts, tokens) for tokens in {tokens for _, _, tokens in found.values()}}
    n_tokens = sum(int(lengths.sum()) for _, lengths in batches[_TOKENS])
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, (logits, lanes, tokens) in found.items():
            started = time.perf_counter()
            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(lambda batch, logits=logits: logits(*batch), batches[tokens]))
            seconds[name].append(time.perf_counter() - started)
    reference = next(iter(seconds.values()))
    exact = _probabilities(next(iter(found.values()))[0], batches[_TOKENS])
    rows = []
    for name, (logits, _, _) in found.items():
        change = ""
        if (own := _probabilities(logits, batches[_TOKENS])) is not None and exact is not None:
            difference = np.abs(own - exact)
            change = f"{difference.max():.4f}, {difference.mean():.4f}"
        speed = n_tokens / Spread.of(seconds[name]).median
        rows.append([name, f"{paired_ratio(reference, seconds[name]):.2f}", f"{speed:,.0f}", change])
    return rows


def _batches(model: Model, texts: pa.Array, tokens: int) -> Batches:
    """What a `Scorer` gives its engine."""
    given: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []

    class Recording(OnnxEngine):
        def logits(
            self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
        ) -> npt.NDArray[np.float32]:
            given.append((token_ids.copy(), valid_length.copy()))
            return super().logits(token_ids, valid_length)

    scorer = Scorer(model, engine="onnx", precision="int8", max_batch_tokens=tokens)
    scorer.engine = Recording(model, precision="int8", threads=1)
    scorer.score_texts(texts)
    return given


def _probabilities(logits: Logits, batches: Batches) -> npt.NDArray[np.float64] | None:
    found = [logits(*batch) for batch in batches]
    return None if found[0] is None else sigmoid(np.concatenate(found).astype(np.float64))


def _session(graph: bytes, *, threads: int) -> Logits:
    session = inference_session(graph, threads=threads)
    return lambda ids, lengths: session.run(["logits"], {"token_ids": ids, "valid_length": lengths})[0]


def _bounded(logits: Logits) -> Logits:
    """What it finds is of another network."""

    def computed(ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> None:
        logits(ids, lengths)

    return computed


def _first_layer_without_inputs(model: Model) -> Logits:
    cut = {"embedding.weight", "lstm.0.i2h_weight"}
    weights = {name: part[:, :_FEWEST_INPUTS] if name in cut else part for name, part in model.weights.items()}
    network: Any = SimpleNamespace(weights=weights, architecture=model.architecture)
    return _session(onnx_graph(network, precision="int8"), threads=1)


def _pytorch(model: Model) -> Logits:
    import torch  # an extra

    from tools.benchmarks.peer_torch import SentimentLSTM

    torch.set_num_threads(1)
    network = SentimentLSTM(model).eval()
    network.lstm.batch_first = False
    torch.backends.quantized.engine = "x86"
    quantized = torch.ao.quantization.quantize_dynamic(
        torch.nn.Sequential(network.lstm), {torch.nn.LSTM}, dtype=torch.qint8
    )[0]

    def logits(ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            states, _ = quantized(network.embedding(torch.from_numpy(ids.astype(np.int64))))
        return _pooled(model, states.numpy(), lengths)

    return logits


def _openvino(model: Model) -> Logits:
    """8-bit inputs, states and weights.

    Inputs and states of a layer have one scale there, and so have both weights of a gate's unit: the embedding is
    scaled to -1 to 1, as states are.
    """
    import openvino  # for this comparison alone
    from openvino import opset13 as ops

    def rounded(values: Any, low: Any, high: Any, levels: int) -> Any:
        return ops.fake_quantize(values, low, high, low, high, levels)

    def forget_first(tensor: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        in_gate, forget_gate, candidate, out_gate = np.split(tensor.astype(np.float32), 4)
        return np.concatenate([forget_gate, in_gate, candidate, out_gate])

    ends = np.float32(-1), np.float32(127 / 128)
    ids = ops.parameter([-1, -1], np.int32, name="token_ids")  # (N, T)
    lengths = ops.parameter([-1], np.int32, name="valid_length")
    table = model.weights["embedding.weight"].astype(np.float32)
    largest = np.abs(table).max()
    states = ops.gather(ops.constant(table / largest), ids, ops.constant(np.int32(0)))
    n_texts = ops.shape_of(lengths)
    for layer, (_, units) in enumerate(model.architecture.layer_sizes):
        of_inputs = forget_first(model.weights[f"lstm.{layer}.i2h_weight"]) * (1 if layer else largest)
        of_states = forget_first(model.weights[f"lstm.{layer}.h2h_weight"])
        bound = np.maximum(*(np.abs(part).max(axis=1, keepdims=True) for part in (of_inputs, of_states)))[None]
        i2h, h2h = (rounded(ops.constant(part[None]), -bound, bound, 255) for part in (of_inputs, of_states))
        bias = forget_first(model.weights[f"lstm.{layer}.i2h_bias"] + model.weights[f"lstm.{layer}.h2h_bias"])
        shape = ops.concat([n_texts, ops.constant(np.array([1, units]))], 0)
        begin = ops.broadcast(ops.constant(np.float32(0)), shape)
        outputs = ops.lstm_sequence(
            rounded(states, *ends, 256), rounded(begin, *ends, 256), begin, lengths, i2h, h2h, ops.constant(bias[None]),
            units, "forward",
        )  # fmt: skip
        states = ops.squeeze(outputs.output(0), ops.constant(np.array([1])))
    compiled = openvino.Core().compile_model(
        openvino.Model([states], [ids, lengths]), "CPU", {"INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": THREADS}
    )
    of_thread = threading.local()

    def logits(ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        if not hasattr(of_thread, "request"):
            of_thread.request = compiled.create_infer_request()
        states = next(iter(of_thread.request.infer([np.ascontiguousarray(ids.T), lengths]).values()))
        return _pooled(model, states.swapaxes(0, 1), lengths)

    return logits


def _pooled(model: Model, states: npt.NDArray[Any], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """(T, N, H) states of the last layer, (N,) lengths -> (N,) logits."""
    is_token = np.arange(len(states))[:, None] < lengths
    mean = (states * is_token[..., None]).sum(axis=0) / np.maximum(lengths, 1)[:, None]
    weight, bias = (model.weights[f"output.{part}"].astype(np.float32)[0] for part in ("weight", "bias"))
    return np.asarray(mean @ weight + bias, np.float32)


if __name__ == "__main__":
    sys.exit(main())
