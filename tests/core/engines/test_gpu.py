"""The GPU's engine: what it computes, on the CPU wherever PyTorch is; how it computes, where there is a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.artifact import Model
from sentiment_core.scoring.lanes import in_order
from sentiment_core.scoring.scorer import Scorer
from tests.support.models import random_texts, tiny_model
from tests.support.reference import reference_contributions, reference_logit, reference_probability

torch = pytest.importorskip("torch", reason="PyTorch is not installed; the extra gpu brings it")

from sentiment_core.engines.cuda import CudaEngine  # noqa: E402
from tools.benchmarks.gpu_engines import ENGINES  # noqa: E402, they need PyTorch
from tools.benchmarks.peer_torch import torch_loop  # noqa: E402

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
DEVICES = [None, pytest.param(0, marks=needs_gpu)]
FORMS = [form for form in ENGINES if form != "packed, pinned copies"]  # memory is pinned where there is a GPU
TEXTS = random_texts(120, seed=5)
MODELS: dict[str, dict[str, Any]] = {
    "usual": {},
    "one layer": {"num_layers": 1},
    "three layers, the last one smaller": {"num_layers": 3, "embed_size": 4, "hidden_size": 9},
    "half precision": {"dtype": np.float16},
    "aligned sizes": {"embed_size": 16, "hidden_size": 16},
}


def scorer_of(model: Model, engine: CudaEngine, **options: Any) -> Scorer:
    scorer = Scorer(model, engine="onnx", precision="float32", threads=1, **options)
    scorer.engine = engine
    return scorer


@pytest.mark.parametrize("gpu", DEVICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_every_form_agrees_with_the_oracle(name: str, form: str, gpu: int | None) -> None:
    model = tiny_model(7, **MODELS[name])
    expected = reference_probability(model, TEXTS)
    scorer = scorer_of(model, ENGINES[form](model, precision="float32", gpu=gpu))
    for max_batch_tokens in (1, 50, 16_384):
        scorer.max_batch_tokens = max_batch_tokens
        found = scorer.score_texts(TEXTS).positive_probability
        np.testing.assert_allclose(found, expected, atol=1e-5 if gpu is None else 1e-4)
    assert np.nanstd(expected) > 0.005


@pytest.mark.parametrize("gpu", DEVICES)
@given(data=st.data())
@settings(max_examples=25)
def test_lengths_in_any_order_with_zeros_and_padding_to_spare(gpu: int | None, data: st.DataObject) -> None:
    model = tiny_model(7)
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=8))
    n_steps = max(1, *lengths) + data.draw(st.integers(0, 3)) if len(lengths) > 1 else max(1, lengths[0])
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    token_ids = rng.integers(0, model.architecture.vocab_size, (n_steps, len(lengths))).astype(np.int32)
    valid_length = np.array(lengths, np.int32)
    engine = CudaEngine(model, precision="float32", gpu=gpu)
    texts = [token_ids[:length, place] for place, length in enumerate(lengths)]
    expected = [reference_logit(model, ids) for ids in texts]
    np.testing.assert_allclose(engine.logits(token_ids, valid_length), expected, atol=1e-4)
    found = engine.contributions(token_ids, valid_length)
    assert found.shape == (len(lengths), 1 + n_steps)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    for row, ids in zip(found[:, 1:], texts):
        np.testing.assert_allclose(row[: len(ids)], reference_contributions(model, ids), atol=1e-4)
        assert not row[len(ids) :].any()


def test_a_scorer_on_a_gpu_has_a_lane_more_than_it_has_threads() -> None:
    model = tiny_model()
    scorer = Scorer(model, engine="onnx", threads=3)
    assert scorer.lanes == 1
    scorer.engine = engine = CudaEngine(model, precision="float32", gpu=None)
    assert scorer.lanes == 1
    engine.device = "gpu:0"
    assert scorer.lanes == 4


@pytest.mark.parametrize("gpu", DEVICES)
def test_threads_that_score_at_the_same_time_get_their_own_scores(gpu: int | None) -> None:
    model = tiny_model(7)
    scorer = scorer_of(model, CudaEngine(model, precision="float32", gpu=gpu, streams=3), max_batch_tokens=300)
    slices = [pa.array(random_texts(60, seed=seed), pa.large_string()) for seed in range(12)]
    found = list(in_order(lambda texts: scorer.score_texts(texts).positive_probability, slices, lanes=5))
    for texts, probabilities in zip(slices, found):
        np.testing.assert_allclose(probabilities, reference_probability(model, texts.to_pylist()), atol=1e-4)


# On a GPU.


@needs_gpu
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("float16", 2e-3)])
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_agrees_with_the_oracle(name: str, precision: str, most: float) -> None:
    model = tiny_model(7, **MODELS[name])
    scorer = Scorer(model, engine="torch", precision=precision, device="gpu:0", threads=2)
    assert (scorer.engine.name, scorer.engine.device, scorer.lanes) == (f"torch {precision}", "gpu:0", 3)
    expected = reference_probability(model, TEXTS)
    for max_batch_tokens in (50, 16_384):
        scorer.max_batch_tokens = max_batch_tokens
        np.testing.assert_allclose(scorer.score_texts(TEXTS).positive_probability, expected, atol=most)


@pytest.fixture
def little_memory() -> Any:
    """Leave this process so many bytes of the GPU's memory."""

    def leave(n_bytes: int) -> None:
        torch.cuda.empty_cache()
        limit = torch.cuda.memory_reserved() + n_bytes
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@needs_gpu
def test_a_gpu_too_small_for_the_batches_scores_all_texts(little_memory: Any) -> None:
    model = tiny_model(7, embed_size=64, hidden_size=64)
    texts = [f"{text} {number}" for number, text in enumerate(random_texts(30_000, seed=5))]
    scorer = Scorer(model, engine="torch", precision="float16", device="gpu:0", threads=1)
    logits, sizes = scorer.engine.logits, []

    def noting(token_ids: Any, valid_length: Any) -> Any:
        sizes.append(len(valid_length))
        return logits(token_ids, valid_length)

    scorer.engine.logits = noting  # type: ignore[method-assign]
    expected = scorer.score_texts(texts).positive_probability
    batches = len(sizes)
    little_memory(100 << 20)
    scores = scorer.score_texts(texts, mark_failed=True)
    assert len(sizes) > 2 * batches, "the batches fitted"
    assert not scores.failures()
    np.testing.assert_allclose(scores.positive_probability, expected, atol=2e-3)


@needs_gpu
def test_the_worker_s_function_computes_on_the_gpu_that_spark_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    import pandas as pd
    from pyspark import TaskContext

    from jobs import executor
    from tools.benchmarks.gpu_workers import announced_gpu, group_scorer

    monkeypatch.setattr(TaskContext, "_taskContext", announced_gpu("0", cpus=2))
    model = tiny_model(7)
    reports: list[dict[str, Any]] = []
    scorer = group_scorer(model.to_bytes(), statistics=reports)
    slices = [TEXTS[start : start + 20] for start in range(0, len(TEXTS), 20)]
    batches = (pa.RecordBatch.from_pydict({"id": list(range(20)), "text": texts}) for texts in slices)
    scored = pa.Table.from_batches(scorer(batches)).to_pandas()
    np.testing.assert_allclose(scored["positive_probability"], reference_probability(model, TEXTS), atol=2e-3)
    assert scored["id"].tolist() == list(range(20)) * len(slices)
    (report,) = (worker for added in reports for worker in added.values())
    assert (report["engines"], report["devices"], report["gpu_addresses"]) == (["torch float16"], ["gpu:0"], ["0"])
    assert report["rows"] == len(TEXTS)
    executor.SCORERS.clear()
    group = executor.score_group(pd.DataFrame({"id": [1, 2], "text": ["good film", None]}), device="gpu")
    assert group["score_status"].tolist() == ["ok", "empty"]


# What needs no GPU.


def test_the_worker_s_function_keeps_rows_and_order_on_several_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    from tools.benchmarks.gpu_workers import group_scorer

    model = tiny_model(7)
    score = group_scorer(model.to_bytes(), engine="onnx", precision="float32", device="cpu")
    slices = [TEXTS[start : start + 7] for start in range(0, len(TEXTS), 7)]

    def batches() -> Any:
        return (pa.RecordBatch.from_pydict({"id": list(range(len(texts))), "text": texts}) for texts in slices)

    alone = list(score(batches()))
    monkeypatch.setattr(Scorer, "lanes", 4)
    assert list(score(batches())) == alone


@pytest.mark.parametrize("by_length", [False, True])
def test_the_peer_answers_in_the_order_of_the_texts(by_length: bool) -> None:
    model = tiny_model(7)
    texts = ["good film", "bad " * 9, "the plot and the acting", "very very good", "worst"] * 4
    found = torch_loop(model, batch_size=3, by_length=by_length)(texts)
    np.testing.assert_allclose(found, reference_probability(model, texts), atol=1e-5)
