from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.errors import EnvironmentFault, InputError, UsageError
from sentiment_core.training.recipes import LoopSettings
from sentiment_core.training.steps import loop as training_loop
from sentiment_core.training.steps.checkpoint import Checkpoint, load_checkpoint
from sentiment_core.training.steps.loop import run_loop
from sentiment_core.training.steps.schedule import Schedule
from tests.support.runs import Killed, fill_disk

SETTINGS = LoopSettings(
    epochs=3, learning_rate=0.1, warmup_fraction=0.2, clip_norm=1.0, seed=5, checkpoint_seconds=1000.0
)
Trace = list[tuple[int, float, tuple[int, int]]]


class Walk:
    """A run that can be followed on paper; its weights depend on all steps and their order.

    It dies at its ``dies_at``-th call of `step`, `finish_epoch` or `arrays`: before a step, at the end of an epoch,
    before a checkpoint.
    """

    def __init__(
        self,
        n_batches: int,
        *,
        ends_after: int | None = None,
        dies_at: int | None = None,
        losses: Mapping[int, float] | None = None,
    ) -> None:
        self.n_batches, self.ends_after, self.dies_at = n_batches, ends_after, dies_at
        self.losses = losses or {}
        self.history: list[dict[str, float]] = []
        self.weights = np.zeros(2)
        self.trace: Trace = []
        self.n_calls = 0
        self.n_saved = 0

    def batches(self, epoch: int, first: int) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((SETTINGS.seed, epoch)).permutation(self.n_batches)
        yield from ((epoch, int(batch)) for batch in order[first:])

    def step(self, batch: tuple[int, int], *, step: int, learning_rate: float) -> tuple[float, int]:
        self._call()
        loss = self.losses.get(step, loss_of(batch))
        if math.isfinite(loss):
            self.trace.append((step, learning_rate, batch))
            self.weights = 0.9 * self.weights + learning_rate * np.array(batch)
        return loss, 7

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        self._call()
        self.history.append({"epoch": epoch, "train_loss": train_loss, "weight": float(self.weights.sum())})
        return epoch + 1 == self.ends_after

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        self._call()
        self.n_saved += 1
        return {"weights": self.weights}

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        assert len(self.history) == step // self.n_batches, "the history is there already"
        self.weights = checkpoint.arrays["weights"]

    def _call(self) -> None:
        if self.n_calls == self.dies_at:
            raise Killed
        self.n_calls += 1


def loss_of(batch: tuple[int, int]) -> float:
    return 1.0 + math.sin(3 * batch[0] + batch[1])


def go(run: Walk, path: Path, *, settings: LoopSettings = SETTINGS, data: str = "ab", resume: bool = False) -> Walk:
    run_loop(
        run,
        steps_per_epoch=run.n_batches,
        settings=settings,
        data_sha256=data,
        checkpoint_path=path / "checkpoint",
        resume=resume,
    )
    return run


@pytest.fixture
def walk(tmp_path: Path) -> Callable[..., Walk]:
    """Let a run go; what another one is compared with goes elsewhere."""

    def walk(run: Walk, *, elsewhere: bool = False, **options: Any) -> Walk:
        return go(run, tmp_path / "elsewhere" if elsewhere else tmp_path, **options)

    return walk


class Clock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loop, "time", Clock())


def assert_same(left: Walk, right: Walk) -> None:
    assert left.history == right.history
    np.testing.assert_array_equal(left.weights, right.weights)


# Every step, once.


@pytest.mark.parametrize(("n_batches", "epochs"), [(1, 1), (1, 4), (7, 1), (5, 3)])
def test_each_epoch_has_each_batch_once_at_the_rate_of_its_step(
    walk: Callable[..., Walk], n_batches: int, epochs: int
) -> None:
    run = walk(Walk(n_batches), settings=replace(SETTINGS, epochs=epochs))
    schedule = Schedule(peak=0.1, total_steps=n_batches * epochs, warmup_fraction=0.2)
    steps, rates, batches = zip(*run.trace)
    assert list(steps) == list(range(n_batches * epochs))
    assert rates == pytest.approx([schedule.rate(step) for step in steps])
    for epoch in range(epochs):
        of_epoch = batches[epoch * n_batches : (epoch + 1) * n_batches]
        assert list(of_epoch) == list(run.batches(epoch, 0))
        assert sorted(of_epoch) == [(epoch, batch) for batch in range(n_batches)]
    assert [row["epoch"] for row in run.history] == list(range(epochs))


def test_the_loss_of_training_is_smoothed_from_its_first_value_on(walk: Callable[..., Walk]) -> None:
    run = walk(Walk(40))
    smoothed, expected = None, []
    for step, _, batch in run.trace:
        smoothed = loss_of(batch) if smoothed is None else 0.98 * smoothed + 0.02 * loss_of(batch)
        if step % 40 == 39:
            expected.append(smoothed)
    assert [row["train_loss"] for row in run.history] == pytest.approx(expected)


def test_progress_is_told_now_and_then(walk: Callable[..., Walk], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        walk(Walk(60), settings=replace(SETTINGS, epochs=2))
        walk(Walk(60), settings=replace(SETTINGS, epochs=2), resume=True)
    told = [record.getMessage().split(",")[0] for record in caplog.records]
    assert told == ["step 10 of 120", "step 50 of 120", "step 100 of 120", "resumed at step 120 of 120"]
    assert "epoch 0.83, loss " in caplog.messages[1]


# Checkpoints.


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("seconds", "expected"), [(1e9, 3), (0.0, 30), (4.5, 6), (9.5, 3)])
def test_a_checkpoint_is_written_from_time_to_time_and_after_each_epoch(
    walk: Callable[..., Walk], seconds: float, expected: int
) -> None:
    """A look at the clock after each step: 4.5 seconds are five steps, 9.5 an epoch."""
    run = walk(Walk(10), settings=replace(SETTINGS, checkpoint_seconds=seconds))
    assert run.n_saved == expected


RUNS = st.fixed_dictionaries(
    {
        "n_batches": st.integers(1, 5),
        "epochs": st.integers(1, 4),
        "ends_after": st.none() | st.integers(1, 4),
        "seconds": st.sampled_from([0.0, 2.5, 1e9]),
        "deaths": st.lists(st.integers(0, 14), min_size=1, max_size=4),
    }
)


@settings(max_examples=100)
@given(RUNS)
def test_a_run_that_is_killed_anywhere_goes_on_as_if_nothing_had_been(case: dict[str, Any]) -> None:
    recipe = replace(SETTINGS, epochs=case["epochs"], checkpoint_seconds=case["seconds"])

    def walk(where: str, *, dies_at: int | None = None, resume: bool = False) -> tuple[Walk, bool]:
        run = Walk(case["n_batches"], ends_after=case["ends_after"], dies_at=dies_at)
        try:
            go(run, Path(where), settings=recipe, resume=resume)
        except Killed:
            return run, False
        return run, True

    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
    ):
        patch.setattr(training_loop, "time", Clock())
        patch.setattr(os, "fsync", lambda file: None)
        whole, _ = walk(one)
        n_epochs = min(case["epochs"], case["ends_after"] or case["epochs"])
        assert len(whole.trace) == n_epochs * case["n_batches"]
        trace: Trace = []
        for dies_at in [*case["deaths"], None]:
            resume = Path(other, "checkpoint").exists()
            if not resume:
                with pytest.raises(InputError, match="no checkpoint to resume from"):
                    walk(other, resume=True)
            run, done = walk(other, dies_at=dies_at, resume=resume)
            first_step = run.trace[0][0] if run.trace else len(trace)
            assert first_step <= len(trace), "no step is left out"
            assert first_step >= len(trace) - case["n_batches"], "and at most an epoch is repeated"
            if case["seconds"] == 0 and resume:
                assert first_step >= len(trace) - 1, "here only the last step"
            trace = trace[:first_step] + run.trace
            assert trace == whole.trace[: len(trace)]
        assert done
        assert trace == whole.trace
        assert_same(run, whole)


@pytest.mark.parametrize("ends_after", [1, 2, 3])
def test_a_run_that_ended_early_has_ended_after_a_resumption_too(walk: Callable[..., Walk], ends_after: int) -> None:
    whole = walk(Walk(4, ends_after=ends_after))
    assert len(whole.trace) == 4 * ends_after
    resumed = walk(Walk(4), resume=True)
    assert resumed.trace == []
    assert_same(resumed, whole)


def test_the_loss_goes_on_where_it_was(walk: Callable[..., Walk]) -> None:
    whole = walk(Walk(4), elsewhere=True)
    with pytest.raises(Killed):
        walk(Walk(4, dies_at=9))  # the third step of the second epoch
    assert walk(Walk(4), resume=True).history[1]["train_loss"] == whole.history[1]["train_loss"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(
    walk: Callable[..., Walk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    whole = walk(Walk(4), elsewhere=True)
    run = Walk(4)
    with monkeypatch.context() as patch:
        finish_epoch = run.finish_epoch

        def filling(epoch: int, train_loss: float) -> bool:
            if epoch == 1:
                fill_disk(patch, failing=failing)
            return finish_epoch(epoch, train_loss)

        patch.setattr(run, "finish_epoch", filling)
        with pytest.raises(EnvironmentFault, match="No space left"):
            walk(run)
    assert load_checkpoint(tmp_path / "checkpoint").progress["step"] == 4
    resumed = walk(Walk(4), resume=True)
    assert resumed.trace == whole.trace[4:]
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4}, {"learning_rate": 0.2}, {"warmup_fraction": 0.1}, {"clip_norm": 2.0}, {"seed": 6},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_other_settings_is_refused(
    walk: Callable[..., Walk], tmp_path: Path, change: dict[str, float]
) -> None:
    walk(Walk(2))
    before = (tmp_path / "checkpoint").read_bytes()
    run = Walk(2)
    with pytest.raises(InputError, match="belongs to a run with other settings; repeat its options or start anew"):
        walk(run, settings=replace(SETTINGS, **change), resume=True)  # type: ignore[arg-type]
    assert (run.trace, run.history) == ([], [])
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_how_often_a_run_is_kept_may_change(walk: Callable[..., Walk]) -> None:
    walk(Walk(2))
    walk(Walk(2), settings=replace(SETTINGS, checkpoint_seconds=60.0), resume=True)


def test_a_checkpoint_of_other_data_is_refused(walk: Callable[..., Walk]) -> None:
    walk(Walk(2))
    run = Walk(2)
    with pytest.raises(InputError, match="belongs to a run on other reviews or from another language model; repeat"):
        walk(run, data="ac", resume=True)
    assert (run.trace, run.history) == ([], [])


def test_a_run_does_not_start_anew_over_a_checkpoint(walk: Callable[..., Walk], tmp_path: Path) -> None:
    """It may hold hours of work, and --resume is easily forgotten."""
    whole = walk(Walk(2))
    before = (tmp_path / "checkpoint").read_bytes()
    run = Walk(2)
    with pytest.raises(
        UsageError, match=r"checkpoint: holds an earlier run; go on with it by --resume, or remove the file"
    ):
        walk(run)
    assert (run.trace, run.n_saved) == ([], 0)
    assert (tmp_path / "checkpoint").read_bytes() == before
    (tmp_path / "checkpoint").unlink()
    assert_same(walk(Walk(2)), whole)


# Losses that are no numbers.


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 5, 6, 11])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint_before(
    walk: Callable[..., Walk], tmp_path: Path, loss: float, step: int
) -> None:
    recipe = replace(SETTINGS, checkpoint_seconds=0.0)
    whole = walk(Walk(4), settings=recipe, elsewhere=True)
    run = Walk(4, losses={step: loss})
    with pytest.raises(InputError, match=rf"not finite at step {step} of 12; .*checkpoint is from before: .* lower"):
        walk(run, settings=recipe)
    assert run.trace == whole.trace[:step]
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.progress["step"] == step
    np.testing.assert_array_equal(checkpoint.arrays["weights"], run.weights)
    resumed = walk(Walk(4), settings=recipe, resume=True)
    assert resumed.trace == whole.trace[step:]
    assert_same(resumed, whole)


def test_a_first_loss_that_is_not_finite_leaves_no_checkpoint(walk: Callable[..., Walk], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the loss is not finite at step 0 of 12; start again with a lower"):
        walk(Walk(4, losses={0: math.nan}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": math.inf}, {"learning_rate": math.nan},
        {"clip_norm": -1.0}, {"warmup_fraction": 1.1}, {"warmup_fraction": math.nan}, {"seed": -1}, {"seed": 1 << 32},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} must be"):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]
