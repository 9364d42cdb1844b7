"""The loop of a training run: steps, schedule, progress, checkpoints, resumption. What a step does is the run's own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from sentiment_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sentiment_core.errors import InputError, UsageError
from sentiment_core.optimization import Schedule

__all__ = ["LoopSettings", "Run", "run_loop"]

_LOGGER = logging.getLogger(__name__)
_STEPS_BETWEEN_LINES = 50
_LARGEST_FLOAT = 1e38  # MXNet computes in single precision
_SMOOTHING = 0.98  # of the loss that is shown


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What every kind of training has.

    Parameters
    ----------
    epochs : int
        Passes over the data.
    learning_rate : float
        Peak of the schedule: a short rise, then a linear fall.
    warmup_fraction : float
        Share of the steps in which the rate rises.
    clip_norm : float
        Largest global norm of the gradients.
    seed : int
        Of everything that is drawn: order, masks, sampled words, first weights.
    checkpoint_seconds : float
        Seconds between checkpoints; each epoch ends with one too.
    """

    epochs: int
    learning_rate: float
    warmup_fraction: float
    clip_norm: float
    seed: int
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        self._require_counts("epochs")
        if not 0 <= self.warmup_fraction <= 1:
            raise UsageError(f"warmup_fraction must be from 0 to 1, not {self.warmup_fraction}")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < _LARGEST_FLOAT:
                raise UsageError(f"{name} must be above 0 and below {_LARGEST_FLOAT:.0e}, not {getattr(self, name)}")
        if not 0 <= self.seed < 1 << 32:
            raise UsageError(f"seed must be from 0 to 4294967295, not {self.seed}")

    def _require_counts(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")

    def _require_shares(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")


class Run(Protocol):
    """A kind of training."""

    def batches(self, epoch: int, first: int) -> Iterator[Any]:
        """The batches of an epoch from the ``first`` on, the same on every call."""

    def step(self, batch: Any, *, step: int, learning_rate: float) -> tuple[float, int]:
        """Update the weights; returns loss and number of tokens. A loss that is not finite changes nothing."""

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure; True ends the run."""

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All that the next step depends on, for a checkpoint."""

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""

    history: list[dict[str, float]]


def run_loop(
    run: Run,
    *,
    steps_per_epoch: int,
    settings: LoopSettings,
    data_sha256: str,
    checkpoint_path: Path,
    resume: bool,
) -> None:
    """Train to the end, from the start or from the checkpoint.

    Raises
    ------
    InputError
        If the loss is not finite, or the checkpoint cannot be read or is another run's.
    UsageError
        If there is a checkpoint, and the run is to start anew: hours of work would be lost.
    """
    if checkpoint_path.exists() and not resume:
        raise UsageError(f"{checkpoint_path}: holds an earlier run; go on with it by --resume, or remove the file")
    total_steps = steps_per_epoch * settings.epochs
    schedule = Schedule(peak=settings.learning_rate, total_steps=total_steps, warmup_fraction=settings.warmup_fraction)
    recipe = asdict(settings)
    del recipe["checkpoint_seconds"]  # how often a run is kept does not change it
    identity = {"settings": recipe, "data_sha256": data_sha256}
    step, train_loss, finished = 0, math.nan, False
    if resume:
        checkpoint = load_checkpoint(checkpoint_path)
        _refuse_another(checkpoint, identity, checkpoint_path)
        step = int(checkpoint.progress["step"])
        train_loss, finished = float(checkpoint.progress["train_loss"]), bool(checkpoint.progress["finished"])
        run.history = list(checkpoint.progress["history"])
        run.restore(checkpoint, step=step)
        _LOGGER.info("resumed at step %s of %s", f"{step:,}", f"{total_steps:,}")

    def save() -> None:
        progress = {"step": step, "train_loss": train_loss, "history": run.history, "finished": finished}
        save_checkpoint(Checkpoint(arrays=run.arrays(), progress=identity | progress), checkpoint_path)

    started, saved, tokens, first_step = time.monotonic(), time.monotonic(), 0, step
    while step < total_steps and not finished:
        epoch, position = divmod(step, steps_per_epoch)
        for batch in run.batches(epoch, position):
            loss, n_tokens = run.step(batch, step=step, learning_rate=schedule.rate(step))
            if not math.isfinite(loss):
                kept = f"{checkpoint_path} is from before: remove it and " if checkpoint_path.exists() else ""
                raise InputError(
                    f"the loss is not finite at step {step:,} of {total_steps:,}; {kept}start again with a lower "
                    "--learning-rate"
                )
            step += 1
            tokens += n_tokens
            train_loss = loss if math.isnan(train_loss) else _SMOOTHING * train_loss + (1 - _SMOOTHING) * loss
            if step % _STEPS_BETWEEN_LINES == 0 or step == first_step + 10:
                seconds = time.monotonic() - started
                _LOGGER.info(
                    "step %s of %s, epoch %.2f, loss %.3f, %s tokens/s, %.0f min left",
                    f"{step:,}", f"{total_steps:,}", step / steps_per_epoch, train_loss, f"{tokens / seconds:,.0f}",
                    (total_steps - step) * seconds / (step - first_step) / 60,
                )  # fmt: skip
            if time.monotonic() - saved > settings.checkpoint_seconds and step % steps_per_epoch:
                save()
                saved = time.monotonic()
        finished = run.finish_epoch(epoch, train_loss)
        save()
        saved = time.monotonic()


def _refuse_another(checkpoint: Checkpoint, identity: Mapping[str, Any], path: Path) -> None:
    if checkpoint.progress.get("settings") != identity["settings"]:
        raise InputError(f"{path}: belongs to a run with other settings; repeat its options or start anew")
    if checkpoint.progress.get("data_sha256") != identity["data_sha256"]:
        raise InputError(
            f"{path}: belongs to a run on other reviews or from another language model; repeat its inputs or start anew"
        )
