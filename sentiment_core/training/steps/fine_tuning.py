"""The steps of fine-tuning in MXNet: what one update does, and what an epoch measures.

Axes: N reviews, T tokens, V words, E embedding units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
from mxnet import autograd, gluon

from sentiment_core.artifact import Architecture, Weights
from sentiment_core.dataset.batches import Dataset
from sentiment_core.errors import InputError
from sentiment_core.network import (
    SentimentNet,
    drop_recurrent_weights,
    read_weights,
    sentiment_parameters,
    write_weights,
)
from sentiment_core.training.recipes import TrainSettings
from sentiment_core.training.steps.checkpoint import Checkpoint
from sentiment_core.training.steps.loop import BestEpoch
from sentiment_core.training.steps.optimization import Adam
from sentiment_core.training.steps.schedule import LayerRates

__all__ = ["FineTuning"]


class FineTuning:
    """One run of fine-tuning: network, optimiser, averaged weights, best epoch so far (see `training_loop.Run`)."""

    def __init__(
        self,
        data: Dataset,
        validation: Dataset,
        *,
        architecture: Architecture,
        settings: TrainSettings,
        device: str = "cpu",
    ) -> None:
        self.data = data
        self.validation = validation
        self.settings = settings
        self.device = mx.Context(device)
        mx.random.seed(settings.seed)
        np.random.seed(settings.seed)  # MXNet's initialisers draw from NumPy's global generator
        self.net = SentimentNet(
            architecture,
            encoder_dropout=settings.encoder_dropout,
            dropout=settings.dropout,
            sparse_grad=True,
        )
        self.net.embedding.initialize(mx.init.Uniform(0.1), ctx=self.device)
        self.net.classifier.initialize(mx.init.Uniform(1 / math.sqrt(architecture.hidden_size)), ctx=self.device)
        self.net.classifier.hybridize()
        self.loss = gluon.loss.SigmoidBinaryCrossEntropyLoss()
        self.parameters = sentiment_parameters(self.net)
        self.classifier_parameters = self.net.classifier.collect_params()
        self.classifier_parameters.setattr("grad_req", "add")  # a step may take the loss twice
        drop_recurrent_weights(self.net.classifier.encoder, settings.weight_drop)
        # The first call reads the weights twice. In a training step it would draw the dropped ones twice, and the step
        # after a resumption would be another one than in a run that was not killed.
        self.net.classifier(
            mx.nd.zeros((1, 1, architecture.embed_size), ctx=self.device), mx.nd.ones((1,), ctx=self.device)
        )
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
        self.best = BestEpoch(patience=settings.patience)

    @property
    def history(self) -> list[dict[str, float]]:
        """What each epoch measured."""
        return self.best.history

    @history.setter
    def history(self, history: list[dict[str, float]]) -> None:
        self.best.history = history

    def load(self, weights: Weights) -> None:
        """Start from weights; names that only one side has are left."""
        write_weights({name: self.parameters[name] for name in weights if name in self.parameters}, weights)

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
        settings = self.settings
        token_ids, lengths = self.data.batch(batch)
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mask_seed = int(rng.integers(1 << 31))
        vocab_size = self.net.embedding.weight.shape[0]
        keep = (rng.random(vocab_size) >= settings.word_dropout).astype(np.float32) / (1 - settings.word_dropout)
        ids = mx.nd.array(token_ids, ctx=self.device, dtype=np.int32)
        inputs = (
            mx.nd.array(keep[token_ids][:, :, None], ctx=self.device),
            mx.nd.array(lengths, ctx=self.device),
            mx.nd.array(self.data.positive[batch], ctx=self.device),
        )
        self.classifier_parameters.zero_grad()
        embedded = self.net.embedding(ids)
        loss, gradient = self.backward(embedded, *inputs, mask_seed=mask_seed)
        passes = 1
        if settings.adversarial_epsilon:
            norms = gradient.square().sum(axis=(0, 2), keepdims=True).sqrt()
            shift = settings.adversarial_epsilon * self.word_vector_scale * gradient / (norms + 1e-12)
            _, adversarial_gradient = self.backward(embedded + shift, *inputs, mask_seed=mask_seed)
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

    def backward(
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
        write_weights(self.parameters, self.best.storable(averaged))
        logits = self._logits(self.validation)
        write_weights(self.parameters, current)
        return self.best.add(epoch, train_loss, weights=averaged, logits=logits, positive=self.validation.positive)

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights, moments, averages and the best epoch."""
        arrays = {f"weights/{name}": array for name, array in read_weights(self.parameters).items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        arrays |= {f"average/{name}": array.asnumpy() for name, array in self.average.items()}
        return arrays | self.best.arrays()

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        write_weights(self.parameters, checkpoint.part("weights"))
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        average = checkpoint.part("average")
        self.average = {name: mx.nd.array(average[name], ctx=self.device) for name in self.parameters}
        self.best.restore(checkpoint)

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
