"""The steps of pre-training a language model in MXNet: what one update does, and how perplexity is measured.

Axes: T steps of back-propagation, N lanes of text side by side, K sampled words, V words, E = H units, M = T * N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
from mxnet import autograd, gluon
from mxnet.gluon import nn

from sentiment_core.artifact import Architecture, Weights
from sentiment_core.network import LSTMEncoder, drop_recurrent_weights, encoder_parameters, read_weights, write_weights
from sentiment_core.training.recipes import PretrainSettings
from sentiment_core.training.steps.checkpoint import Checkpoint
from sentiment_core.training.steps.corpus import MEASURED_LANES, Corpus, WordSampler
from sentiment_core.training.steps.loop import perplexity_of
from sentiment_core.training.steps.optimization import Adam

__all__ = ["Pretraining"]


class NextWord(nn.HybridBlock):
    """Loss of the true next words against K shared sampled words."""

    def hybrid_forward(
        self, F: Any, hidden: Any, true: Any, true_shift: Any, sampled: Any, sampled_shift: Any, collides: Any
    ) -> Any:
        """(M, H), (M, H), (M,), (K, H), (K,), (M, K) -> (M,)."""
        true_logits = F.sum(hidden * true, axis=1) + true_shift  # (M,)
        sampled_logits = F.dot(hidden, sampled, transpose_b=True)  # (M, K)
        sampled_logits = F.broadcast_add(sampled_logits, F.expand_dims(sampled_shift, axis=0))
        sampled_logits = sampled_logits - 1e4 * collides
        logits = F.concat(F.expand_dims(true_logits, axis=1), sampled_logits, dim=1)  # (M, 1 + K)
        return -F.slice_axis(F.log_softmax(logits, axis=1), axis=1, begin=0, end=1)  # (M, 1)


class Pretraining:
    """One run of pre-training: network, optimiser, carried states (see `training_loop.Run`)."""

    def __init__(
        self,
        data: Corpus,
        measured: Corpus,
        *,
        architecture: Architecture,
        settings: PretrainSettings,
        device: str = "cpu",
    ) -> None:
        self.data = data
        self.measured = measured
        self.settings = settings
        self.device = mx.Context(device)
        self.history: list[dict[str, float]] = []
        self.steps_per_epoch = (len(data.token_ids) // settings.batch_size - 1) // settings.bptt
        mx.random.seed(settings.seed)
        np.random.seed(settings.seed)  # MXNet's initialisers draw from NumPy's global generator
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size, sparse_grad=True)
        self.encoder = LSTMEncoder(architecture, dropout=settings.dropout)
        self.dropout = nn.Dropout(settings.dropout, axes=(0,))
        self.loss = NextWord()
        self.bias = gluon.Parameter("decoder_bias", shape=(architecture.vocab_size,))
        self.embedding.initialize(mx.init.Uniform(0.1), ctx=self.device)
        self.encoder.initialize(mx.init.Uniform(1 / math.sqrt(architecture.hidden_size)), ctx=self.device)
        self.sampler = WordSampler.of(data, vocab_size=architecture.vocab_size, negatives=settings.negatives)
        self.bias.initialize(mx.init.Constant(mx.nd.array(self.sampler.log_unigram)), ctx=self.device)
        drop_recurrent_weights(self.encoder, settings.weight_drop)
        self.encoder.hybridize(static_alloc=True, static_shape=True)
        self.loss.hybridize(static_alloc=True, static_shape=True)
        self.states = self.encoder.begin_state(settings.batch_size, self.device)
        # The first call reads the weights twice. In a training step it would draw the dropped ones twice, and the step
        # after a resumption would be another one than in a run that was not killed.
        self.encoder(
            mx.nd.zeros((1, 1, architecture.embed_size), ctx=self.device), *self.encoder.begin_state(1, self.device)
        )
        self.parameters = {
            "embedding.weight": self.embedding.weight,
            **encoder_parameters(self.encoder),
            "decoder.bias": self.bias,
        }
        self.optimizer = Adam(self.parameters, clip_norm=settings.clip_norm)

    def load(self, weights: Weights) -> None:
        """Start from weights of the same names."""
        write_weights(self.parameters, weights)

    def batches(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int32]]:
        """Windows of (T + 1, N) tokens: the last row of one is the first of the next."""
        if first == 0:
            self.states = self.encoder.begin_state(self.settings.batch_size, self.device)
        return self.data.windows(self.settings, epoch=epoch, first=first, steps=self.steps_per_epoch)

    def step(self, batch: npt.NDArray[np.int32], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of tokens, and carries the states on."""
        settings = self.settings
        steps, lanes = batch.shape[0] - 1, batch.shape[1]
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mx.random.seed(int(rng.integers(1 << 31)))
        sampled = self.sampler.draw(rng)
        targets = batch[1:].reshape(-1)
        wanted = mx.nd.array(np.concatenate([batch.reshape(-1), sampled]), ctx=self.device, dtype=np.int32)
        draws = mx.nd.array(self.sampler.log_draws[np.concatenate([targets, sampled])], ctx=self.device)
        collides = mx.nd.array(targets[:, None] == sampled[None, :], ctx=self.device, dtype=np.float32)
        with autograd.record():
            # Inputs, targets and samples in one call: its gradient is then one row-sparse array.
            rows = self.embedding(wanted)
            split = (steps + 1) * lanes
            hidden, *states = self.encoder(rows[: steps * lanes].reshape((steps, lanes, -1)), *self.states)
            hidden = self.dropout(hidden).reshape((steps * lanes, -1))
            shift = mx.nd.take(self.bias.data(), wanted[lanes:]) - draws
            loss = self.loss(
                hidden, rows[lanes:split], shift[: steps * lanes], rows[split:], shift[steps * lanes :], collides
            )
            mean = loss.mean()
        mean.backward()
        norm = self.optimizer.update(step=step, learning_rate=learning_rate)
        self.states = [state.detach() for state in states]
        return float(mean.asscalar()) if math.isfinite(norm) else math.nan, steps * lanes

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure the perplexity."""
        self.history.append(perplexity_of(self.held_out_loss(), epoch=epoch, train_loss=train_loss))
        return False

    def held_out_loss(self) -> float:
        """Mean loss per token over the whole vocabulary, on the held-out texts."""
        states = self.encoder.begin_state(MEASURED_LANES, self.device)
        total, count = 0.0, 0
        weight, bias = self.embedding.weight.data(), self.bias.data()
        for window in self.measured.measured_windows():
            embedded = self.embedding(mx.nd.array(window[:-1], ctx=self.device, dtype=np.int32))
            hidden, *states = self.encoder(embedded, *states)
            logits = mx.nd.dot(hidden.reshape((-1, hidden.shape[2])), weight, transpose_b=True) + bias
            targets = mx.nd.array(window[1:].reshape(-1), ctx=self.device)
            total -= float(mx.nd.pick(mx.nd.log_softmax(logits, axis=1), targets, axis=1).sum().asscalar())
            count += window[1:].size
        return total / count

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The weights by artifact name, float32."""
        return read_weights(self.parameters)

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights, moments and carried states."""
        arrays = {f"weights/{name}": array for name, array in self.weights().items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        return arrays | {f"states/{index}": state.asnumpy() for index, state in enumerate(self.states)}

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        write_weights(self.parameters, checkpoint.part("weights"))
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        states = checkpoint.part("states")
        self.states = [mx.nd.array(states[str(index)], ctx=self.device) for index in range(len(states))]
