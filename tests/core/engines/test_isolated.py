"""Texts on which an engine or the text pipeline fails, in this process and in one of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_core.engines.halving import FAILURES
from sentiment_core.engines.isolated import IsolatedEngine
from sentiment_core.errors import AuditError, EnvironmentFault, UsageError
from sentiment_core.scoring.scorer import Scorer, Scores, score_by_each
from tests.support.models import random_texts, tiny_model
from tests.support.packages import needs_mxnet
from tests.support.waiting import MOST_SECONDS

INJECTION = Path(__file__).parents[3] / "tests" / "faults" / "injection"
MODEL = tiny_model(11)
OPTIONS = {"engine": "onnx", "precision": "int8", "threads": 1}
# Positions of texts with the word on which faults are injected.
POISON = "worst"
TEXTS = [text.replace(POISON, "bad") if text else text for text in random_texts(90, seed=5)]
BAD = (7, 40, 41, 89)
for place in BAD:
    TEXTS[place] = f"the {POISON} film {place}"


@pytest.fixture
def injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let child processes follow a plan of faults."""

    def inject(**rule: Any) -> None:
        (tmp_path / "plan.json").write_text(json.dumps([{"word": POISON, **rule}]))
        monkeypatch.setenv("FAULT_PLAN", str(tmp_path))
        monkeypatch.syspath_prepend(str(INJECTION))

    return inject


@pytest.fixture(scope="module")
def healthy() -> Scores:
    return Scorer(MODEL, **OPTIONS).score_texts(TEXTS)


def assert_only_bad_ones_failed(scores: Scores, healthy: Scores, *, reason: str, bad: tuple[int, ...] = BAD) -> None:
    """The others are as they would be without them."""
    assert [place for place, failure in enumerate(scores.failure) if failure] == list(bad)
    assert scores.failures() == {reason: len(bad)}
    assert {reason} <= set(FAILURES)
    assert [place for place, status in enumerate(scores.status) if status == "failed"] == list(bad)
    good = np.setdiff1d(np.arange(len(scores)), bad)
    np.testing.assert_array_equal(scores.positive_probability[good], healthy.positive_probability[good])
    assert np.isnan(scores.positive_probability[list(bad)]).all()
    for name in ("sentiment", "status", "n_tokens", "n_unknown", "truncated"):
        assert getattr(scores, name)[good].tolist() == getattr(healthy, name)[good].tolist()
    assert set(scores.sentiment[list(bad)]) == {None}


def test_an_engine_in_a_process_of_its_own_gives_the_same_bits(healthy: Scores) -> None:
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    alone = Scorer(MODEL, **OPTIONS)
    assert isinstance(scorer.engine, IsolatedEngine)
    for name in ("name", "device", "length_step", "batch_tokens"):
        assert getattr(scorer.engine, name) == getattr(alone.engine, name)
    for texts in (TEXTS, [], [None], ["good\ud800"]):
        found, expected = scorer.score_texts(texts), alone.score_texts(texts)
        np.testing.assert_array_equal(found.positive_probability, expected.positive_probability)
        assert found.status.tolist() == expected.status.tolist()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"do": ["nan"]}, "non_finite"),
        ({"do": ["raise", "error"]}, "error"),
        ({"do": ["raise", "memory"], "in": "encode"}, "memory"),
    ],
    ids=str,
)
def test_texts_on_which_the_child_fails_are_marked_and_the_others_scored(
    injected: Any, healthy: Scores, rule: dict[str, Any], reason: str
) -> None:
    injected(**rule)
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    assert_only_bad_ones_failed(scorer.score_texts(TEXTS, mark_failed=True), healthy, reason=reason)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"do": ["segfault"]}, "crash"),
        # As the kernel ends what needs too much of it.
        pytest.param({"do": ["kill-self"]}, "memory", marks=pytest.mark.slow),
        pytest.param({"do": ["abort"], "in": "encode"}, "crash", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_texts_on_which_the_child_dies_are_marked_and_the_others_scored(
    injected: Any, rule: dict[str, Any], reason: str
) -> None:
    texts = [f"the {POISON} film", "good", "bad film"]
    healthy = Scorer(MODEL, **OPTIONS).score_texts(texts)
    injected(**rule)
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    assert_only_bad_ones_failed(scorer.score_texts(texts, mark_failed=True), healthy, reason=reason, bad=(0,))


@pytest.mark.slow
def test_more_texts_on_which_the_child_dies_than_may_fail_are_not_looked_for(
    injected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a new process, so that thousands would take hours."""
    injected(do=["segfault"])
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    start, starts = IsolatedEngine.start, []
    monkeypatch.setattr(IsolatedEngine, "start", lambda engine: [starts.append(engine), start(engine)][1])
    texts = [f"the {POISON} film {number}" for number in range(64)]
    with pytest.raises(AuditError, match=r"more than 0 texts failed {'crash': 1}, more than --max-failed-ratio"):
        score_by_each([scorer], texts, most_failed=0)
    assert len(starts) < 12


@pytest.mark.parametrize("most_failed", [0, 2, 3, 4])
def test_no_more_texts_may_fail_than_the_caller_says(injected: Any, healthy: Scores, most_failed: int) -> None:
    injected(do=["raise", "error"], **{"in": "encode"})
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    if most_failed < len(BAD):
        with pytest.raises(AuditError, match=f"more than {most_failed} texts failed"):
            score_by_each([scorer], TEXTS, most_failed=most_failed)
    else:
        (scores,) = score_by_each([scorer], TEXTS, most_failed=most_failed)
        assert_only_bad_ones_failed(scores, healthy, reason="error")


def test_a_text_on_which_the_child_hangs_is_marked(injected: Any) -> None:
    injected(do=["hang"])
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    assert isinstance(scorer.engine, IsolatedEngine)
    scorer.engine.call_seconds = 1.5
    assert scorer.score_texts([f"the {POISON}"], mark_failed=True).failure.tolist() == ["hang"]


def test_a_child_that_somebody_kills_costs_no_score(healthy: Scores) -> None:
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    assert isinstance(scorer.engine, IsolatedEngine)
    assert scorer.engine.process is not None
    scorer.engine.process.kill()
    found = scorer.score_texts(TEXTS, mark_failed=True)
    assert not found.failures()
    np.testing.assert_array_equal(found.positive_probability, healthy.positive_probability)


def test_a_child_that_dies_on_every_text_is_no_texts_fault(injected: Any) -> None:
    injected(do=["segfault"], word="<unk>")
    scorer = Scorer(MODEL, **OPTIONS, isolated=True)
    with pytest.raises(EnvironmentFault, match=r"the engine onnx int8 fails on every text \(crash, RowFailure\)"):
        scorer.score_texts(["zorblat"], mark_failed=True)


def test_what_the_child_refuses_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not 'int4'"):
        Scorer(MODEL, engine="onnx", precision="int4", isolated=True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentFault, match=r"the engine's own process did not start \(crash\)"):
        Scorer(MODEL, **OPTIONS, isolated=True)


def test_the_child_imports_no_spark_and_ends_with_its_parent() -> None:
    script = (
        "import os, sys\nsys.path[:0] = ['.', 'tests']\n"
        "from tests.support.models import tiny_model\nfrom sentiment_core.scoring.scorer import Scorer\n"
        "scorer = Scorer(tiny_model(), engine='onnx', isolated=True)\n"
        "print(scorer.engine.process.pid, flush=True)\nos.read(0, 1)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=INJECTION.parents[2]
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    loaded = Path(f"/proc/{child}/maps").read_text()
    assert "onnxruntime" in loaded
    assert not any(name in loaded for name in ("mxnet", "torch", "matplotlib"))
    descriptor = os.pidfd_open(child)
    parent.kill()
    parent.communicate()
    assert select.select([descriptor], [], [], MOST_SECONDS)[0], "the child lives on"
    os.close(descriptor)


# In this process.


class Failing:
    """An engine that does something where a text has the word."""

    def __init__(self, engine: Any, do: Any) -> None:
        self._engine, self._do = engine, do
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def logits(self, token_ids: Any, valid_length: Any) -> Any:
        self.calls += 1
        hit = (token_ids == MODEL.text.vocabulary.words.index(POISON)).any(axis=0)
        logits = self._engine.logits(token_ids, valid_length)
        return self._do(logits, hit) if hit.any() else logits


def failing(do: Any, **options: Any) -> tuple[Scorer, Failing]:
    scorer = Scorer(MODEL, **{**OPTIONS, **options})
    scorer.engine = engine = Failing(scorer.engine, do)  # type: ignore[assignment]
    return scorer, engine


def throw(error: Exception) -> Any:
    def do(logits: Any, hit: Any) -> Any:
        raise error

    return do


def spread(logits: Any, hit: Any) -> Any:
    """One bad text spoils the whole batch."""
    return np.full_like(logits, np.nan)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threads": 3, "max_batch_tokens": 60},
        {"precision": "float32"},
        pytest.param({"engine": "mxnet", "precision": "float32"}, marks=needs_mxnet),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (spread, "non_finite"),
        (lambda logits, hit: np.where(hit[: len(logits)], np.inf, logits), "non_finite"),
        (throw(RuntimeError("dimension mismatch in text 'secret'")), "error"),
        (throw(MemoryError()), "memory"),
        (throw(RuntimeError("[ONNXRuntimeError] : std::bad_alloc")), "memory"),
        (throw(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")), "memory"),
    ],
    ids=["spread", "inf", "error", "memory", "bad_alloc", "cublas"],
)
def test_texts_on_which_the_engine_fails_are_marked_and_the_others_get_the_same_bits(
    options: dict[str, Any], do: Any, reason: str
) -> None:
    scorer, _ = failing(do, **options)
    assert_only_bad_ones_failed(
        scorer.score_texts(TEXTS, mark_failed=True),
        Scorer(MODEL, **{**OPTIONS, **options}).score_texts(TEXTS),
        reason=reason,
    )


def test_gpu_out_of_memory_halves_the_batch_and_goes_on(healthy: Scores) -> None:
    class Small(Failing):
        def logits(self, token_ids: Any, valid_length: Any) -> Any:
            self.calls += 1
            if token_ids.shape[1] > 5:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self._engine.logits(token_ids, valid_length)

    scorer = Scorer(MODEL, **OPTIONS)
    scorer.engine = small = Small(scorer.engine, None)  # type: ignore[assignment]
    for mark_failed in (True, False):
        found = scorer.score_texts(TEXTS, mark_failed=mark_failed)
        np.testing.assert_array_equal(found.positive_probability, healthy.positive_probability)
        assert not found.failures()
    assert small.calls > 20


def test_a_fault_that_passes_leaves_no_mark(healthy: Scores) -> None:
    scorer, engine = failing(None)
    engine._do = lambda logits, hit: throw(RuntimeError("once"))(logits, hit) if engine.calls < 4 else logits
    found = scorer.score_texts(TEXTS, mark_failed=True)
    assert not found.failures()
    np.testing.assert_array_equal(found.positive_probability, healthy.positive_probability)


def test_a_text_that_fails_once_on_its_own_has_not_failed(healthy: Scores) -> None:
    """Always in company, and at the first of two attempts alone."""
    alone: list[bool] = []

    def once(logits: Any, hit: Any) -> Any:
        if len(hit) > 1 or len(alone) % 2 == 0:
            alone.extend([True] * (len(hit) == 1))
            raise RuntimeError("busy")
        alone.append(True)
        return logits

    scorer, _ = failing(once)
    found = scorer.score_texts(TEXTS, mark_failed=True)
    assert not found.failures()
    assert len(alone) == 2 * len(BAD)
    np.testing.assert_allclose(found.positive_probability, healthy.positive_probability, atol=0.05)


def test_an_engine_that_fails_on_everything_is_not_the_texts_fault() -> None:
    scorer, _ = failing(None)
    scorer.engine.logits = lambda ids, lengths: (_ for _ in ()).throw(RuntimeError("no 'secret'"))
    with pytest.raises(EnvironmentFault, match=r"fails on every text \(error, RuntimeError\); check it with") as caught:
        scorer.score_texts(TEXTS, mark_failed=True)
    assert "secret" not in str(caught.value)


def test_a_text_that_is_scored_for_somebody_raises_what_the_engine_raised() -> None:
    scorer, _ = failing(throw(RuntimeError("dimension mismatch")))
    with pytest.raises(RuntimeError, match="dimension mismatch"):
        scorer.score_texts(TEXTS)


def test_a_healthy_batch_is_computed_once() -> None:
    scorer, engine = failing(None)
    scorer.score_texts(["good film", "bad"], mark_failed=True)
    assert engine.calls == 1
