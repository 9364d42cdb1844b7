"""The steps of fine-tuning: what one update does, what an epoch measures, and the recipe's settings.

Axes: N reviews, T tokens, V words, E embedding units.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
from mxnet import autograd, gluon

from sentiment_core.artifact import Architecture, Decision
from sentiment_core.checkpoint import Checkpoint
from sentiment_core.dataset import Dataset
from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation import evaluate_probabilities
from sentiment_core.network import (
    SentimentNet,
    drop_recurrent_weights,
    read_weights,
    sentiment_parameters,
    write_weights,
)
from sentiment_core.optimization import Adam, LayerRates
from sentiment_core.training_loop import LoopSettings

__all__ = ["FineTuning", "TrainSettings"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(LoopSettings):
    """Recipe of the fine-tuning.

    Parameters
    ----------
    vocab_size : int
        Words of the vocabulary at most; a model to start from has its own.
    min_count : int
        Occurrences that a word needs to be in the vocabulary.
    hidden_size : int
        Units of an LSTM layer, and numbers of a word vector; a model to start from has its own.
    num_layers : int
        LSTM layers; a model to start from has its own.
    max_tokens : int
        Tokens of a review that are trained on and will be scored: its head.
    patience : int
        Epochs without a lower validation loss that end the run.
    batch_tokens : int
        Tokens of a batch at most.
    num_buckets : int
        Lengths to which reviews are padded.
    dropout : float
        Rate of dropout before the output.
    encoder_dropout : float
        Rate of dropout between the LSTM layers.
    word_dropout : float
        Share of the vocabulary that a step does not see (whole words; Gal and Ghahramani 2016).
    weight_drop : float
        Share of the hidden-to-hidden weights that a step does not see (Merity et al. 2018).
    weight_average : float
        Decay of the moving average of the weights, which is what is measured and stored.
    layer_decay : float
        Factor on the learning rate for each layer further down (Howard and Ruder 2018 take 1 / 2.6).
    unfreeze_fraction : float
        Share of the steps over which the layers begin to learn one after another, from the output down (gradual
        unfreezing, same paper); 0 trains all from the start.
    adversarial_epsilon : float
        Norm of the worst-case shift of a review's word vectors, in units of their standard deviation, on which the
        loss is taken a second time (Miyato et al. 2017 take 5); 0 leaves it out and halves the cost.
    excerpt_share : float
        Sentences cut from the reviews that are trained on as well, as a share of the reviews, so that texts of a few
        words are understood, and scored with due doubt.
    """

    vocab_size: int = 30_000
    min_count: int = 2
    max_tokens: int = 1_000
    hidden_size: int = 200
    num_layers: int = 2
    epochs: int = 4
    patience: int = 2
    batch_tokens: int = 8_000
    num_buckets: int = 20
    learning_rate: float = 4e-3
    warmup_fraction: float = 0.05
    dropout: float = 0.4
    encoder_dropout: float = 0.2
    word_dropout: float = 0.1
    weight_drop: float = 0.0
    weight_average: float = 0.99
    layer_decay: float = 1.0
    unfreeze_fraction: float = 0.0
    adversarial_epsilon: float = 0.0
    excerpt_share: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_counts("patience", "batch_tokens", "num_buckets", "hidden_size", "num_layers")
        self._require_shares("dropout", "encoder_dropout", "word_dropout", "weight_drop", "weight_average")
        for name in ("adversarial_epsilon", "excerpt_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.unfreeze_fraction <= 1:
            raise UsageError(f"unfreeze_fraction must be from 0 to 1, not {self.unfreeze_fraction}")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay}")


class FineTuning:
    """One run of fine-tuning: network, optimiser, averaged weights, best epoch so far (see `training_loop.Run`)."""

    def __init__(
        self,
        data: Dataset,
        validation: Dataset,
        *,
        architecture: Architecture,
        settings: TrainSettings,
        device: mx.Context,
    ) -> None:
        self.data = data
        self.validation = validation
        self.settings = settings
        self.device = device
        mx.random.seed(settings.seed)
        np.random.seed(settings.seed)  # MXNet's initialisers draw from NumPy's global generator
        self.net = SentimentNet(
            architecture,
            encoder_dropout=settings.encoder_dropout,
            dropout=settings.dropout,
            sparse_grad=True,
        )
        self.net.embedding.initialize(mx.init.Uniform(0.1), ctx=device)
        self.net.classifier.initialize(mx.init.Uniform(1 / math.sqrt(architecture.hidden_size)), ctx=device)
        self.net.classifier.hybridize()
        self.loss = gluon.loss.SigmoidBinaryCrossEntropyLoss()
        self.parameters = sentiment_parameters(self.net)
        self.classifier_parameters = self.net.classifier.collect_params()
        self.classifier_parameters.setattr("grad_req", "add")  # a step may take the loss twice
        drop_recurrent_weights(self.net.classifier.encoder, settings.weight_drop)
        # The first call reads the weights twice. In a training step it would draw the dropped ones twice, and the step
        # after a resumption would be another one than in a run that was not killed.
        self.net.classifier(mx.nd.zeros((1, 1, architecture.embed_size), ctx=device), mx.nd.ones((1,), ctx=device))
        self.steps_per_epoch = len(self._sampler(data, shuffle=False))
        if self.steps_per_epoch < 2:
            raise InputError(
                f"{len(data):,} reviews are one batch only, which teaches nothing; give more reviews or a smaller "
                "--batch-tokens"
            )
        self.optimizer = Adam(
            self.parameters,
            clip_norm=settings.clip_norm,
            layer_rates=LayerRates(
                layers=(
                    "output",
                    *(f"lstm.{layer}" for layer in reversed(range(architecture.num_layers))),
                    "embedding",
                ),
                decay=settings.layer_decay,
                unfreeze_steps=settings.unfreeze_fraction * settings.epochs * self.steps_per_epoch,
            ),
        )
        self.word_vector_scale = 0.0
        self.average: dict[str, mx.nd.NDArray] = {}
        self.history: list[dict[str, float]] = []
        self.best_loss = math.inf
        self.best_weights: dict[str, npt.NDArray[Any]] = {}
        self.best_logits: npt.NDArray[Any] = np.empty(0, np.float32)

    def start(self) -> None:
        """Take note of the weights that the run begins with, whether it is then resumed or not."""
        self.word_vector_scale = float(self.net.embedding.weight.data().asnumpy().std())
        self.average = {name: parameter.data().copy() for name, parameter in self.parameters.items()}

    def batches(self, epoch: int, first: int) -> Iterator[list[int]]:
        """Indices of the reviews of each batch."""
        np.random.seed((self.settings.seed, epoch))
        yield from list(self._sampler(self.data, shuffle=True))[first:]

    def step(self, batch: list[int], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of tokens."""
        settings, device = self.settings, self.device
        token_ids, lengths = self.data.batch(batch)
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mask_seed = int(rng.integers(1 << 31))
        vocab_size = self.net.embedding.weight.shape[0]
        keep = (rng.random(vocab_size) >= settings.word_dropout).astype(np.float32) / (1 - settings.word_dropout)
        ids = mx.nd.array(token_ids, ctx=device, dtype=np.int32)
        inputs = (
            mx.nd.array(keep[token_ids][:, :, None], ctx=device),
            mx.nd.array(lengths, ctx=device),
            mx.nd.array(self.data.positive[batch], ctx=device),
        )
        self.classifier_parameters.zero_grad()
        embedded = self.net.embedding(ids)
        loss, gradient = self._backward(embedded, *inputs, mask_seed=mask_seed)
        passes = 1
        if settings.adversarial_epsilon:
            norms = gradient.square().sum(axis=(0, 2), keepdims=True).sqrt()
            shift = settings.adversarial_epsilon * self.word_vector_scale * gradient / (norms + 1e-12)
            _, adversarial_gradient = self._backward(embedded + shift, *inputs, mask_seed=mask_seed)
            gradient = gradient + adversarial_gradient
            passes = 2
        with autograd.record():
            # Outside `hybridize`, so that the gradient of the embedding stays row-sparse.
            embedded = self.net.embedding(ids)
        embedded.backward(gradient)
        norm = self.optimizer.update(step=step, learning_rate=learning_rate, grad_scale=1 / passes)
        if not math.isfinite(norm):
            return math.nan, 0
        # The average is short at first, so that the early weights are forgotten.
        keep_share = min(settings.weight_average, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            average = self.average[name]
            average += (1 - keep_share) * (parameter.data() - average)
        return float(loss.asscalar()), int(lengths.sum())

    def _backward(
        self,
        embedded: mx.nd.NDArray,
        kept: mx.nd.NDArray,
        lengths: mx.nd.NDArray,
        labels: mx.nd.NDArray,
        *,
        mask_seed: int,
    ) -> tuple[mx.nd.NDArray, mx.nd.NDArray]:
        """Add the gradients above the embedding; returns the mean loss and that of the word vectors, (T, N, E)."""
        embedded = embedded.detach()
        embedded.attach_grad()
        mx.random.seed(mask_seed)  # both losses of a step see the same dropout
        with autograd.record():
            loss = self.loss(self.net.classifier(embedded * kept, lengths), labels).mean()
        loss.backward()
        return loss, embedded.grad

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure the averaged weights, as they will be stored, and keep them if they are the best so far."""
        current = read_weights(self.parameters)
        averaged = {name: average.asnumpy() for name, average in self.average.items()}
        largest = max(float(np.abs(array).max()) for array in averaged.values())
        if not largest <= np.finfo(np.float16).max:
            raise InputError(
                f"a weight has grown to {largest:.3g}, too large to be stored; start again with a lower --learning-rate"
            )
        write_weights(self.parameters, {name: array.astype(np.float16) for name, array in averaged.items()})
        logits = self._logits(self.validation)
        write_weights(self.parameters, current)
        metrics = evaluate_probabilities(self.validation.positive >= 0.5, Decision().probability(logits))
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
        if metrics.log_loss < self.best_loss:
            self.best_loss, self.best_weights, self.best_logits = metrics.log_loss, averaged, logits
        losses = [epoch["validation_loss"] for epoch in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= self.settings.patience

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights, moments, averages and the best epoch."""
        arrays = {f"weights/{name}": array for name, array in read_weights(self.parameters).items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        arrays |= {f"average/{name}": array.asnumpy() for name, array in self.average.items()}
        arrays |= {f"best/{name}": array for name, array in self.best_weights.items()}
        return arrays | {"best_logits": self.best_logits}

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        write_weights(self.parameters, checkpoint.part("weights"))
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        average = checkpoint.part("average")
        self.average = {name: mx.nd.array(average[name], ctx=self.device) for name in self.parameters}
        self.best_weights = checkpoint.part("best")
        self.best_logits = checkpoint.arrays["best_logits"]
        self.best_loss = min((epoch["validation_loss"] for epoch in self.history), default=math.inf)

    def _sampler(self, part: Dataset, *, shuffle: bool) -> Any:
        settings = self.settings
        return part.sampler(batch_tokens=settings.batch_tokens, num_buckets=settings.num_buckets, shuffle=shuffle)

    def _logits(self, part: Dataset) -> npt.NDArray[np.float32]:
        logits = np.empty(len(part), np.float32)
        for indices in self._sampler(part, shuffle=False):
            token_ids, lengths = part.batch(indices)
            embedded = self.net.embedding(mx.nd.array(token_ids, ctx=self.device, dtype=np.int32))
            logits[indices] = self.net.classifier(embedded, mx.nd.array(lengths, ctx=self.device)).asnumpy()
        return logits
