"""Every engine agrees with the oracle, and the company of a text does not move its score."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from sentiment_core.artifact import Model, bundled_model_path, load_model
from sentiment_core.engines import onnx as onnx_engine
from sentiment_core.engines import onnx_graph
from sentiment_core.engines.selection import make_engine
from sentiment_core.errors import EnvironmentFault, NonFiniteError, UsageError
from sentiment_core.scoring.scorer import Scorer
from tests.support.models import random_texts, tiny_model
from tests.support.packages import needs_mxnet
from tests.support.reference import reference_logit, reference_probability

ROOT = Path(__file__).parents[3]
Ids = npt.NDArray[np.int32]

TEXTS = random_texts(120, seed=5)
MODELS: dict[str, dict[str, Any]] = {
    "usual": {},
    "one layer": {"num_layers": 1},
    "three layers": {"num_layers": 3, "embed_size": 4, "hidden_size": 9},
    "one unit below": {"hidden_size": 1},
    "one unit": {"embed_size": 1, "hidden_size": 1},
    "odd sizes": {"embed_size": 7, "hidden_size": 3},
    "aligned sizes": {"embed_size": 14, "hidden_size": 30},
    "half precision": {"dtype": np.float16},
    "short": {"max_tokens": 7},
}


needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed; the extra gpu brings it")
FLOAT32 = [pytest.param("mxnet", marks=needs_mxnet), "onnx", pytest.param("torch", marks=needs_torch)]
ONNX = ["float32", "int8"]
ENGINES = [pytest.param("mxnet", "float32", marks=needs_mxnet), ("onnx", "float32"), ("onnx", "int8")]


@cache
def model_of(name: str) -> Model:
    return tiny_model(7, **MODELS[name])


@cache
def scorer_of(name: str, engine: str, precision: str = "float32", threads: int = 1) -> Scorer:
    return Scorer(model_of(name), engine=engine, precision=precision, threads=threads)


@cache
def expected_of(name: str) -> npt.NDArray[np.float64]:
    expected = reference_probability(model_of(name), TEXTS)
    expected.flags.writeable = False
    return expected


def probability(scorer: Scorer, texts: Any, *, max_batch_tokens: int = 16_384) -> npt.NDArray[np.float64]:
    scorer.max_batch_tokens = max_batch_tokens
    return scorer.score_texts(texts).positive_probability


# The oracle.


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", FLOAT32)
def test_float32_agrees_with_the_oracle(engine: str, name: str) -> None:
    found = probability(scorer_of(name, engine), TEXTS, max_batch_tokens=400)
    np.testing.assert_allclose(found, expected_of(name), atol=1e-5)
    assert np.nanstd(found) > 0.005


@pytest.mark.parametrize("engine", FLOAT32)
@pytest.mark.parametrize("max_batch_tokens", [1, 50, 333, 16_384])
def test_the_size_of_the_batches_does_not_move_it(engine: str, max_batch_tokens: int) -> None:
    found = probability(scorer_of("usual", engine), TEXTS, max_batch_tokens=max_batch_tokens)
    np.testing.assert_allclose(found, expected_of("usual"), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_near_the_oracle(name: str) -> None:
    """Random weights amplify what is rounded: the probability moves by up to 0.026 here, in trained models less."""
    found = probability(scorer_of(name, "onnx", "int8"), TEXTS)
    np.testing.assert_allclose(found, expected_of(name), atol=0.05)
    assert np.nanmean(np.abs(found - expected_of(name))) < 0.006


def test_the_bundled_model_agrees_with_the_oracle() -> None:
    """In int8 its probabilities move by up to 0.004 on these reviews."""
    model = load_model(bundled_model_path())
    rows = json.loads((ROOT / "tests/golden/reviews.json").read_text())
    texts = [row["text"] for row in rows if row["text"]][:8]
    expected = reference_probability(model, texts)
    assert np.nanstd(expected) > 0.1
    for precision, most in (("float32", 1e-5), ("int8", 0.01)):
        scorer = Scorer(model, engine="onnx", precision=precision, threads=1)
        np.testing.assert_allclose(probability(scorer, texts), expected, atol=most)


# Company. In both precisions each text's arithmetic is the same in every batch, to the last bit.


@pytest.mark.parametrize("name", ["odd sizes", "aligned sizes"])
@pytest.mark.parametrize("precision", ONNX)
@given(data=st.data())
@settings(max_examples=40)
def test_neighbours_order_and_batches_move_no_bit(precision: str, name: str, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(TEXTS) - 1), max_size=len(TEXTS)))
    max_batch_tokens = data.draw(st.integers(1, 2_000))
    threads = data.draw(st.sampled_from([1, 2]))
    alone = probability(scorer_of(name, "onnx", precision), TEXTS)
    texts = [TEXTS[index] for index in chosen]
    found = probability(scorer_of(name, "onnx", precision, threads), texts, max_batch_tokens=max_batch_tokens)
    np.testing.assert_array_equal(found, alone[chosen])


@given(data=st.data())
@settings(max_examples=40)
@pytest.mark.parametrize("precision", ONNX)
def test_nothing_past_a_text_moves_a_bit(precision: str, data: st.DataObject) -> None:
    """Neither more padding, nor what stands there, nor places without a text."""
    engine = scorer_of("odd sizes", "onnx", precision).engine
    vocab_size = model_of("odd sizes").architecture.vocab_size
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    more_rows, more_columns = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    valid_length = np.array(lengths, np.int32)
    token_ids = rng.integers(0, vocab_size, (max(lengths), len(lengths))).astype(np.int32)
    wider = rng.integers(0, vocab_size, (max(lengths) + more_rows, len(lengths) + more_columns)).astype(np.int32)
    inside = np.arange(max(lengths))[:, None] < valid_length
    wider[: max(lengths), : len(lengths)][inside] = token_ids[inside]
    found = engine.logits(wider, np.concatenate([valid_length, np.zeros(more_columns, np.int32)]))
    np.testing.assert_array_equal(found[: len(lengths)], engine.logits(token_ids, valid_length))


@pytest.mark.parametrize("engine", FLOAT32)
def test_a_text_without_a_token_has_the_pooled_state_zero(engine: str) -> None:
    model = model_of("usual")
    length = 2 * scorer_of("usual", engine).engine.length_step
    token_ids = np.full((length, 2), 9, np.int32)
    found = scorer_of("usual", engine).engine.logits(token_ids, np.array([length, 0], np.int32))
    np.testing.assert_allclose(found, [reference_logit(model, [9] * length), reference_logit(model, [])], atol=1e-5)


def test_without_units_that_hold_the_range_neighbours_would_move_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which shows that the tests above would find it."""
    monkeypatch.setattr(onnx_graph, "range_ends", lambda extra: np.zeros(extra, np.float32))
    scorer = Scorer(model_of("odd sizes"), engine="onnx", precision="int8", threads=1)
    together, alone = (probability(scorer, TEXTS, max_batch_tokens=size) for size in (16_384, 1))
    assert np.nanmax(np.abs(together - alone)) > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_the_units_that_hold_the_range_keep_it_over_the_longest_text(name: str) -> None:
    """After each step of a layer two of them are 1 and -1; larger is no unit, but for rounding."""
    content = onnx.load_from_string(onnx_graph.onnx_graph(replace_largest(model_of(name)), precision="int8"))
    layers = [node.output[0] for node in content.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    content.graph.output.extend(onnx.helper.make_tensor_value_info(layer, 1, None) for layer in layers)
    session = onnx_engine.inference_session(content.SerializeToString())
    token_ids = np.random.default_rng(0).integers(0, 59, (400, 3)).astype(np.int32)
    for states in session.run(layers, {"token_ids": token_ids, "valid_length": np.full(3, 400, np.int32)}):
        assert states.shape[-1] % 8 == 0
        assert ((states == 1).any(axis=-1) & (states == -1).any(axis=-1)).all()
        assert np.abs(states).max() <= 1 + 3e-7


def replace_largest(model: Model) -> Model:
    """The model with recurrent weights so large that its own units saturate too."""
    grown = {name: 20 * tensor if name.startswith("lstm") else tensor for name, tensor in model.weights.items()}
    return replace(model, weights=grown)


# The ranges of types.


@pytest.mark.parametrize("precision", ONNX)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e3])
def test_extreme_weights_give_finite_scores(precision: str, dtype: Any, scale: float) -> None:
    model = model_of("odd sizes")
    weights = {name: (scale * tensor).astype(dtype) for name, tensor in model.weights.items()}
    model = replace(model, weights=weights)
    with np.errstate(invalid="raise", divide="raise"):  # a scale of 0 would be a cast of NaN, whose value is undefined
        found = probability(Scorer(model, engine="onnx", precision=precision, threads=1), TEXTS[:20])
    with np.errstate(over="ignore"):
        expected = reference_probability(model, TEXTS[:20])
    if scale < 1:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:  # chaotic: rounding decides which way a unit goes
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


def test_unsigned_weights_give_the_bits_of_signed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    if not onnx_engine.adds_exactly():
        pytest.skip("this processor's products of signed bytes are not exact")
    signed = probability(scorer_of("odd sizes", "onnx", "int8"), TEXTS)
    monkeypatch.setattr(onnx_engine, "adds_exactly", lambda: False)
    types = []
    build = onnx_graph.onnx_graph
    monkeypatch.setattr(
        onnx_engine,
        "onnx_graph",
        lambda *args, **options: types.append(options["weight_type"]) or build(*args, **options),
    )
    unsigned = Scorer(model_of("odd sizes"), engine="onnx", precision="int8", threads=1)
    np.testing.assert_array_equal(probability(unsigned, TEXTS), signed)
    assert types == [np.uint8]


@pytest.mark.parametrize(("product", "exact"), [(64 * 255 * 127, True), (32 * 32_767, False)])
def test_a_processor_whose_products_saturate_is_found(
    monkeypatch: pytest.MonkeyPatch, product: int, exact: bool
) -> None:
    class Session:
        def run(self, outputs: Any, inputs: dict[str, Any]) -> list[Any]:
            return [np.full((1, 64), product, np.int32)]

    monkeypatch.setattr(onnx_engine, "inference_session", lambda content: Session())
    assert onnx_engine.adds_exactly.__wrapped__() is exact


def test_weights_are_stored_in_few_bytes() -> None:
    """Half precision embeddings stay so, int8 weights are bytes."""
    model = model_of("half precision")
    for precision in ONNX:
        content = onnx.load_from_string(onnx_graph.onnx_graph(model, precision=precision))
        onnx.checker.check_model(content)
        arrays = [numpy_helper.to_array(constant) for constant in content.graph.initializer]
        (table,) = (array for array in arrays if len(array) == model.architecture.vocab_size)
        assert table.dtype == np.float16
        assert sum(array.dtype == np.int8 for array in arrays) == (8 if precision == "int8" else 0)


# Extremes of tables and texts.


@pytest.mark.parametrize(("engine", "precision"), ENGINES)
@pytest.mark.parametrize(
    "texts",
    [[], [None, "", " "], ["good"], ["zorblat"], [None, "good", ""], ["good bad " * 2_500], ["good"] * 3_000],
    ids=["no text", "no token", "one token", "one unknown token", "one of three", "very long", "one text often"],
)
def test_extremes_are_scored(engine: str, precision: str, texts: list[str | None]) -> None:
    model = tiny_model(7, max_tokens=2_000)
    found = Scorer(model, engine=engine, precision=precision, threads=1).score_texts(texts).positive_probability
    distinct = list(dict.fromkeys(texts))
    by_text = dict(zip(distinct, reference_probability(model, distinct)))
    expected = np.array([by_text[text] for text in texts], np.float64)
    np.testing.assert_allclose(found, expected, atol=0.02 if precision == "int8" else 1e-5)


@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_logits_that_overflow_are_an_error_that_names_the_texts(engine: str, precision: str) -> None:
    """Weights are finite in each artifact; what is computed of them need not be."""
    model = model_of("usual")
    output = {"output.weight": np.full((1, 8), -3e38, np.float32), "output.bias": np.full(1, 2.2e38, np.float32)}
    model = replace(model, weights={**model.weights, **output})
    scorer = Scorer(model, engine=engine, precision=precision, threads=1)
    texts = [text for text in TEXTS[:30] if text and text.strip()]
    largest = float(np.finfo(np.float32).max)
    encoded = model.text.encode(pa.array(texts))
    logits = [abs(reference_logit(model, encoded.of(index))) for index in range(len(texts))]
    overflowing = [index for index, logit in enumerate(logits) if logit > 1.1 * largest]
    clear = [text for text, logit in zip(texts, logits) if logit < 0.9 * largest]
    assert overflowing
    assert clear
    with pytest.raises(NonFiniteError) as caught:
        scorer.score_texts([None, *texts])
    assert {index + 1 for index in overflowing} <= set(caught.value.positions)
    assert np.isfinite(scorer.score_texts(clear).positive_probability).all()


# Machines.


def test_new_shapes_leave_no_memory_behind() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("the memory of a process is read from /proc")
    engine = scorer_of("aligned sizes", "onnx", "int8").engine
    rng = np.random.default_rng(0)

    def score(lengths: Any) -> None:
        for length in lengths:
            token_ids = rng.integers(0, 59, (length, 4_800 // length)).astype(np.int32)
            engine.logits(token_ids, np.full(token_ids.shape[1], length, np.int32))

    score([1, 40, 120, 4_800])
    before = resident_bytes()
    score(range(2, 120))
    assert resident_bytes() - before < 10 * 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    "call",
    [
        "from sentiment_core.artifact import bundled_model_path, load_model\n"
        "from sentiment_core.scoring.scorer import Scorer\n"
        "found = Scorer(load_model(bundled_model_path())).score_texts(['good'])\n"
        "assert found.status.tolist() == ['ok']\n",
        "from jobs import cli\nassert cli.main(['predict', 'good']) == 0\n",
        "import pandas\n"
        "from jobs.executor import score_group\n"
        "assert len(score_group(pandas.DataFrame({'id': [1], 'text': ['good']}))) == 1\n",
    ],
    ids=["Scorer", "predict", "worker"],
)
def test_the_default_engine_imports_no_other(call: str) -> None:
    check = (
        "import sys\nassert 'onnxruntime' in sys.modules\nassert not {'mxnet', 'gluonnlp', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", call + check], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_engines_say_what_they_are() -> None:
    assert [scorer_of("usual", "onnx", precision).engine.name for precision in ONNX] == ["onnx float32", "onnx int8"]
    assert scorer_of("usual", "onnx").engine.device == "cpu"
    assert scorer_of("usual", "onnx").engine.length_step == 1


@needs_mxnet
def test_mxnet_says_what_it_is() -> None:
    engine = scorer_of("usual", "mxnet").engine
    assert (engine.name, engine.device) == ("mxnet float32", "cpu")
    assert Scorer(tiny_model(max_tokens=500), engine="mxnet").engine.length_step == 25


@pytest.mark.parametrize("engine", [pytest.param("mxnet", marks=needs_mxnet), pytest.param("torch", marks=needs_torch)])
def test_a_gpu_that_is_not_there_is_a_fault_of_the_environment(engine: str) -> None:
    with pytest.raises(EnvironmentFault, match="cannot use GPU 63") as caught:
        make_engine(model_of("usual"), engine=engine, precision="auto", device="gpu:63", threads=1)
    assert caught.value.exit_code == 6


def test_a_model_larger_than_a_graph_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment_core.engines.onnx.LARGEST_MODEL", 1_000)
    with pytest.raises(UsageError, match=r"the onnx engine holds 0\.0 GB at most; use --engine mxnet"):
        make_engine(tiny_model(), engine="onnx", precision="float32", device="cpu", threads=1)


def test_no_threads_are_too_few() -> None:
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        make_engine(tiny_model(), engine="onnx", precision="float32", device="cpu", threads=0)
