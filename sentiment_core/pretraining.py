"""The steps of pre-training a language model: what one update does, how perplexity is measured, the recipe's settings.

Axes: T steps of back-propagation, N lanes of text side by side, K sampled words, V words, E = H units, M = T * N.
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
from mxnet.gluon import nn

from sentiment_core.artifact import Architecture
from sentiment_core.checkpoint import Checkpoint
from sentiment_core.corpus import Corpus
from sentiment_core.errors import InputError
from sentiment_core.network import LSTMEncoder, drop_recurrent_weights, encoder_parameters, read_weights, write_weights
from sentiment_core.optimization import Adam
from sentiment_core.training_loop import LoopSettings

__all__ = ["MEASURED_LANES", "MEASURED_STEPS", "PretrainSettings", "Pretraining"]

_LOGGER = logging.getLogger(__name__)

# Perplexity is measured on lanes side by side, in windows of this many steps.
MEASURED_LANES, MEASURED_STEPS = 16, 50
# Guessing among all words of a vocabulary of 100 million is 18.
_LARGEST_LOSS = 20.0


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LoopSettings):
    """What the language model is and how it is trained; the defaults are those of the bundled one.

    Parameters
    ----------
    vocab_size : int
        Words of the vocabulary at most; a language model to start from has its own.
    min_count : int
        Occurrences that a word needs to be in the vocabulary.
    hidden_size : int
        Units of an LSTM layer, and numbers of a word vector; a language model to start from has its own.
    num_layers : int
        LSTM layers; a language model to start from has its own.
    batch_size : int
        Lanes of text that are read side by side.
    bptt : int
        Words of a lane in each step, through which the error is traced back.
    negatives : int
        Words that are sampled for the softmax in each step.
    dropout : float
        Rate of dropout between the LSTM layers and before the output, one mask for all time steps.
    weight_drop : float
        Share of the hidden-to-hidden weights that a step does not see (Merity et al. 2018).
    """

    vocab_size: int = 30_000
    min_count: int = 2
    hidden_size: int = 200
    num_layers: int = 2
    epochs: int = 5
    batch_size: int = 64
    bptt: int = 70
    negatives: int = 512
    learning_rate: float = 3e-3
    warmup_fraction: float = 0.03
    dropout: float = 0.1
    weight_drop: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_counts("batch_size", "bptt", "negatives", "hidden_size", "num_layers")
        self._require_shares("dropout", "weight_drop")


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
        device: mx.Context,
    ) -> None:
        self.data = data
        self.measured = measured
        self.settings = settings
        self.device = device
        self.history: list[dict[str, float]] = []
        self.steps_per_epoch = (len(data.token_ids) // settings.batch_size - 1) // settings.bptt
        mx.random.seed(settings.seed)
        np.random.seed(settings.seed)  # MXNet's initialisers draw from NumPy's global generator
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size, sparse_grad=True)
        self.encoder = LSTMEncoder(architecture, dropout=settings.dropout)
        self.dropout = nn.Dropout(settings.dropout, axes=(0,))
        self.loss = NextWord()
        self.bias = gluon.Parameter("decoder_bias", shape=(architecture.vocab_size,))
        self.embedding.initialize(mx.init.Uniform(0.1), ctx=device)
        self.encoder.initialize(mx.init.Uniform(1 / math.sqrt(architecture.hidden_size)), ctx=device)
        counts = np.bincount(data.token_ids, minlength=architecture.vocab_size) + 1.0
        self.bias.initialize(mx.init.Constant(mx.nd.array(np.log(counts / counts.sum()))), ctx=device)
        flattened = counts**0.75 / (counts**0.75).sum()
        self.cumulative = np.cumsum(flattened)
        # log of the expected number of draws of each word in a step
        self.log_draws = np.log(settings.negatives * flattened).astype(np.float32)
        drop_recurrent_weights(self.encoder, settings.weight_drop)
        self.encoder.hybridize(static_alloc=True, static_shape=True)
        self.loss.hybridize(static_alloc=True, static_shape=True)
        self.states = self.encoder.begin_state(settings.batch_size, device)
        # The first call reads the weights twice. In a training step it would draw the dropped ones twice, and the step
        # after a resumption would be another one than in a run that was not killed.
        self.encoder(mx.nd.zeros((1, 1, architecture.embed_size), ctx=device), *self.encoder.begin_state(1, device))
        self.parameters = {
            "embedding.weight": self.embedding.weight,
            **encoder_parameters(self.encoder),
            "decoder.bias": self.bias,
        }
        self.optimizer = Adam(self.parameters, clip_norm=settings.clip_norm)

    def batches(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int32]]:
        """Windows of (T + 1, N) tokens: the last row of one is the first of the next."""
        settings = self.settings
        order = np.random.default_rng((settings.seed, epoch)).permutation(len(self.data.offsets) - 1)
        lanes = self.data.lanes(settings.batch_size, order=order)
        if first == 0:
            self.states = self.encoder.begin_state(settings.batch_size, self.device)
        for position in range(first, self.steps_per_epoch):
            yield lanes[position * settings.bptt : (position + 1) * settings.bptt + 1].astype(np.int32)

    def step(self, batch: npt.NDArray[np.int32], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of tokens, and carries the states on."""
        settings, device = self.settings, self.device
        steps, lanes = batch.shape[0] - 1, batch.shape[1]
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mx.random.seed(int(rng.integers(1 << 31)))
        sampled = np.searchsorted(self.cumulative, rng.random(settings.negatives)).astype(np.int32)
        sampled = np.minimum(sampled, len(self.cumulative) - 1)
        targets = batch[1:].reshape(-1)
        wanted = mx.nd.array(np.concatenate([batch.reshape(-1), sampled]), ctx=device, dtype=np.int32)
        draws = mx.nd.array(self.log_draws[np.concatenate([targets, sampled])], ctx=device)
        collides = mx.nd.array(targets[:, None] == sampled[None, :], ctx=device, dtype=np.float32)
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
        perplexity = self.perplexity()
        self.history.append({"epoch": epoch + 1, "sampled_loss": train_loss, "held_out_perplexity": perplexity})
        _LOGGER.info("epoch %d done, held-out perplexity %.1f", epoch + 1, perplexity)
        return False

    def perplexity(self, *, max_tokens: int = 200_000) -> float:
        """Perplexity per token over the whole vocabulary, on the held-out texts."""
        lanes = self.measured.lanes(MEASURED_LANES, order=np.arange(len(self.measured.offsets) - 1))
        lanes = lanes[: max_tokens // MEASURED_LANES].astype(np.int32)
        states = self.encoder.begin_state(MEASURED_LANES, self.device)
        total, count = 0.0, 0
        weight, bias = self.embedding.weight.data(), self.bias.data()
        for start in range(0, len(lanes) - MEASURED_STEPS, MEASURED_STEPS):  # the encoder keeps to one shape
            window = lanes[start : start + MEASURED_STEPS + 1]
            embedded = self.embedding(mx.nd.array(window[:-1], ctx=self.device, dtype=np.int32))
            hidden, *states = self.encoder(embedded, *states)
            logits = mx.nd.dot(hidden.reshape((-1, hidden.shape[2])), weight, transpose_b=True) + bias
            targets = mx.nd.array(window[1:].reshape(-1), ctx=self.device)
            total -= float(mx.nd.pick(mx.nd.log_softmax(logits, axis=1), targets, axis=1).sum().asscalar())
            count += window[1:].size
        loss = total / count
        if not loss <= _LARGEST_LOSS:
            raise InputError(
                f"the held-out loss is {loss:.3g}: nothing is learnt; start again with a lower --learning-rate"
            )
        return math.exp(loss)

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
