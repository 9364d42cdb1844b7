"""The loop of a training run: steps, schedule, progress, checkpoints, resumption. What a step does is the run's own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import Decision
from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.training.recipes import LoopSettings
from sentiment_core.training.steps.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sentiment_core.training.steps.schedule import Schedule

__all__ = ["BestEpoch", "Run", "perplexity_of", "run_loop"]

_LOGGER = logging.getLogger(__name__)
_STEPS_BETWEEN_LINES = 50
# Guessing among all words of a vocabulary of 100 million is 18.
_LARGEST_LOSS = 20.0
_SMOOTHING = 0.98  # of the loss that is shown


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


class BestEpoch:
    """The epoch of lowest validation loss, and what each epoch measured.

    Parameters
    ----------
    patience : int
        Epochs without a lower validation loss that end the run.
    """

    def __init__(self, *, patience: int) -> None:
        self.patience = patience
        self.history: list[dict[str, float]] = []
        self.weights: dict[str, npt.NDArray[Any]] = {}
        self.logits: npt.NDArray[Any] = np.empty(0, np.float32)

    @staticmethod
    def storable(weights: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float16]]:
        """The weights as a model stores them.

        Raises
        ------
        InputError
            If one is too large for half precision.
        """
        largest = max(float(np.abs(array).max()) for array in weights.values())
        if not largest <= np.finfo(np.float16).max:
            raise InputError(
                f"a weight has grown to {largest:.3g}, too large to be stored; start again with a lower --learning-rate"
            )
        return {name: array.astype(np.float16) for name, array in weights.items()}

    def add(
        self,
        epoch: int,
        train_loss: float,
        *,
        weights: dict[str, npt.NDArray[Any]],
        logits: npt.NDArray[np.float32],
        positive: npt.NDArray[np.float32],
    ) -> bool:
        """Note an epoch, counted from 0, and its logits on the validation part; True ends the run."""
        metrics = evaluate_probabilities(positive >= 0.5, Decision().probability(logits))
        if metrics.log_loss < min((before["validation_loss"] for before in self.history), default=math.inf):
            self.weights, self.logits = weights, logits
        self.history.append(
            {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                "validation_loss": metrics.log_loss,
                "validation_accuracy": metrics.accuracy,
            }
        )
        _LOGGER.info(
            "epoch %d done, validation loss %.4f, accuracy %.4f +- %.4f, AUC %.4f",
            epoch + 1, metrics.log_loss, metrics.accuracy, metrics.standard_error, metrics.auc,
        )  # fmt: skip
        losses = [epoch["validation_loss"] for epoch in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Weights and logits of the best epoch, for a checkpoint; the history is the loop's own."""
        return {f"best/{name}": array for name, array in self.weights.items()} | {"best_logits": self.logits}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Inverse of `arrays`."""
        self.weights, self.logits = checkpoint.part("best"), checkpoint.arrays["best_logits"]


def perplexity_of(loss: float, *, epoch: int, train_loss: float) -> dict[str, float]:
    """What an epoch of pre-training, counted from 0, adds to the history.

    Raises
    ------
    InputError
        If the held-out loss is that of guessing.
    """
    if not loss <= _LARGEST_LOSS:
        raise InputError(
            f"the held-out loss is {loss:.3g}: nothing is learnt; start again with a lower --learning-rate"
        )
    _LOGGER.info("epoch %d done, held-out perplexity %.1f", epoch + 1, math.exp(loss))
    return {"epoch": epoch + 1, "sampled_loss": train_loss, "held_out_perplexity": math.exp(loss)}
