"""Pre-train a word language model on reviews, or import one from GluonNLP.

Embedding, LSTM layers and an output tied to the embedding predict the next word; SentimentNet then takes over the
embedding and the LSTM. The softmax over the vocabulary is sampled: each step contrasts the true next words with
words drawn from the unigram distribution and corrects for the draw (Bengio and Senecal 2008).

Axes: T steps of back-propagation, N lanes of text side by side, K sampled words, V words, E = H units.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from mxnet import autograd, gluon
from mxnet.gluon import nn

from sentiment_core.artifact import Architecture, Model
from sentiment_core.errors import InputError, UsageError
from sentiment_core.network import LSTMEncoder, drop_recurrent_weights, encoder_parameters, read_weights, write_weights
from sentiment_core.optimization import Adam, Checkpoint, Schedule, data_digest, load_checkpoint, save_checkpoint
from sentiment_core.text import END_ID, TextPipeline, TextSettings, build_vocabulary

__all__ = ["PretrainSettings", "pretrain"]

_LOGGER = logging.getLogger(__name__)
_WHOLE_TEXT = 100_000
# Perplexity is measured on lanes side by side, in windows of this many steps.
_MEASURED_LANES, _MEASURED_STEPS = 16, 50


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What the language model is and how it is trained; the defaults are those of the bundled one."""

    vocab_size: int = 30_000
    min_count: int = 2
    max_tokens: int = 500
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
        for name in ("epochs", "batch_size", "bptt", "negatives", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dropout", "weight_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")


def pretrain(
    corpus: Callable[[], Iterable[pa.Array]],
    *,
    held_out: Callable[[], Iterable[pa.Array]],
    checkpoint_path: Path,
    language_model: Model | None = None,
    settings: PretrainSettings | None = None,
    resume: bool = False,
    device: mx.Context | None = None,
) -> Model:
    """Train a language model.

    Parameters
    ----------
    corpus : callable returning an iterable of Arrow arrays of string
        The texts; read twice, in the same order.
    held_out : callable returning an iterable of Arrow arrays of string
        Texts that are only measured.
    checkpoint_path : Path
        Where the run is kept, so that it can be resumed.
    language_model : Model
        One to train further, say on other reviews; gives vocabulary, sizes and weights. None starts anew.
    settings : PretrainSettings
        Recipe; vocabulary and sizes count only without a language model.
    resume : bool
        Go on from the checkpoint; a run that was killed then follows the same curve.
    device : mxnet.Context
        CPU by default.

    Raises
    ------
    InputError
        If the corpus is too small for one step, the loss is not finite, or the checkpoint is another run's.
    """
    settings = settings or PretrainSettings()
    device = device or mx.cpu()
    if language_model is None:
        whole = TextSettings(max_tokens=_WHOLE_TEXT)
        vocabulary, _ = build_vocabulary(
            corpus(), settings=whole, max_size=settings.vocab_size, min_count=settings.min_count
        )
        architecture = Architecture(
            vocab_size=len(vocabulary),
            embed_size=settings.hidden_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
        )
    else:
        whole = replace(language_model.text.settings, max_tokens=_WHOLE_TEXT)
        vocabulary, architecture = language_model.text.vocabulary, language_model.architecture
    pipeline = TextPipeline(settings=whole, vocabulary=vocabulary)
    data = _Corpus.encode(corpus(), pipeline)
    measured = _Corpus.encode(held_out(), pipeline)
    counts = np.bincount(data.token_ids, minlength=len(vocabulary))
    steps_per_epoch = (len(data.token_ids) // settings.batch_size - 1) // settings.bptt
    if steps_per_epoch < 1:
        raise InputError(
            f"{len(data.token_ids):,} tokens are too few for one step of {settings.batch_size} x "
            f"{settings.bptt} tokens; give more reviews or a smaller --batch-size"
        )
    if len(measured.token_ids) // _MEASURED_LANES <= _MEASURED_STEPS:
        raise InputError(
            f"{len(measured.token_ids):,} held-out tokens are too few to measure, "
            f"{_MEASURED_LANES * (_MEASURED_STEPS + 1)} are needed; hold out a larger --validation-fraction"
        )
    _LOGGER.info(
        "%s reviews, %s tokens, %s words; %s steps an epoch",
        f"{len(data.offsets) - 1:,}", f"{len(data.token_ids):,}", f"{len(vocabulary):,}", f"{steps_per_epoch:,}",
    )  # fmt: skip
    run = _Run(architecture, counts=counts, settings=settings, device=device)
    if language_model is not None:
        write_weights(run.parameters, language_model.weights)
    run.train(data, measured, steps_per_epoch=steps_per_epoch, checkpoint_path=checkpoint_path, resume=resume)
    return Model(
        kind="language_model",
        architecture=architecture,
        text=TextPipeline(settings=replace(whole, max_tokens=settings.max_tokens), vocabulary=vocabulary),
        weights={name: array.astype(np.float16) for name, array in run.weights().items()},
        metrics={"history": run.history, "held_out_perplexity": run.history[-1]["held_out_perplexity"]},
        provenance={
            "corpus_reviews": len(data.offsets) - 1,
            "corpus_tokens": len(data.token_ids),
            "held_out_reviews": len(measured.offsets) - 1,
            "settings": asdict(settings),
            "language_model_sha256": language_model.sha256 if language_model else None,
        },
        card=f"# Word language model\n\nTrained on {len(data.offsets) - 1:,} reviews; see `config.json` for the "
        f"recipe. Held-out perplexity {run.history[-1]['held_out_perplexity']:.1f}.\n",
    )


@dataclass(frozen=True, kw_only=True)
class _Corpus:
    """Texts as ids, each followed by ``<eos>``; text i is token_ids[offsets[i]:offsets[i + 1]]."""

    token_ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def encode(cls, batches: Iterable[pa.Array], pipeline: TextPipeline) -> _Corpus:
        # Two bytes a token where the vocabulary allows it: a billion tokens are then 2 GB.
        kind = np.uint16 if len(pipeline.vocabulary) <= 1 << 16 else np.int32
        parts, lengths = [np.empty(0, kind)], [np.empty(0, np.int64)]
        for texts in batches:
            encoded = pipeline.encode(texts)
            ends = encoded.offsets[1:]
            parts.append(np.insert(encoded.token_ids, ends, END_ID).astype(kind))
            lengths.append(encoded.valid_length.astype(np.int64) + 1)
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
        return cls(token_ids=np.concatenate(parts), offsets=offsets)

    def lanes(self, n_lanes: int, *, order: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The texts in the given order as one stream, cut into lanes: (total // n_lanes, n_lanes)."""
        lengths = np.diff(self.offsets)[order]
        ends = np.cumsum(lengths)
        gather = np.repeat(self.offsets[order] - ends + lengths, lengths)
        stream = self.token_ids[gather + np.arange(len(gather))]
        length = len(stream) // n_lanes
        return np.ascontiguousarray(stream[: length * n_lanes].reshape(n_lanes, length).T)


class _NextWord(nn.HybridBlock):
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


class _Run:
    """One training run: network, optimiser, history."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        counts: npt.NDArray[np.int64],
        settings: PretrainSettings,
        device: mx.Context,
    ) -> None:
        self.settings = settings
        self.device = device
        self.architecture = architecture
        self.history: list[dict[str, float]] = []
        self.sampled_loss = math.nan  # smoothed over the steps
        self.data_sha256 = ""
        mx.random.seed(settings.seed)
        np.random.seed(settings.seed)  # MXNet's initialisers draw from NumPy's global generator
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size, sparse_grad=True)
        self.encoder = LSTMEncoder(architecture, dropout=settings.dropout)
        self.dropout = nn.Dropout(settings.dropout, axes=(0,))
        self.loss = _NextWord()
        self.bias = gluon.Parameter("decoder_bias", shape=(architecture.vocab_size,))
        self.embedding.initialize(mx.init.Uniform(0.1), ctx=device)
        self.encoder.initialize(mx.init.Uniform(1 / math.sqrt(architecture.hidden_size)), ctx=device)
        frequency = (counts + 1.0) / (counts + 1.0).sum()
        self.bias.initialize(mx.init.Constant(mx.nd.array(np.log(frequency))), ctx=device)
        flattened = frequency**0.75 / (frequency**0.75).sum()
        self.cumulative = np.cumsum(flattened)
        # log of the expected number of draws of each word in a step
        self.log_draws = np.log(settings.negatives * flattened).astype(np.float32)
        drop_recurrent_weights(self.encoder, settings.weight_drop)
        self.encoder.hybridize(static_alloc=True, static_shape=True)
        self.loss.hybridize(static_alloc=True, static_shape=True)
        # The first call reads the weights twice. In a training step it would draw the dropped ones twice, and the step
        # after a resumption would be another one than in a run that was not killed.
        self.encoder(mx.nd.zeros((1, 1, architecture.embed_size), ctx=device), *self.encoder.begin_state(1, device))
        self.parameters = {
            "embedding.weight": self.embedding.weight,
            **encoder_parameters(self.encoder),
            "decoder.bias": self.bias,
        }
        self.optimizer = Adam(self.parameters, clip_norm=settings.clip_norm)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return read_weights(self.parameters)

    def train(
        self, data: _Corpus, measured: _Corpus, *, steps_per_epoch: int, checkpoint_path: Path, resume: bool
    ) -> None:
        settings = self.settings
        self.data_sha256 = data_digest(data.token_ids, data.offsets, measured.token_ids)
        total_steps = steps_per_epoch * settings.epochs
        schedule = Schedule(
            peak=settings.learning_rate, total_steps=total_steps, warmup_fraction=settings.warmup_fraction
        )
        step, states = 0, self.encoder.begin_state(settings.batch_size, self.device)
        if resume:
            step, states = self._resume(checkpoint_path)
            _LOGGER.info("resumed at step %s of %s", f"{step:,}", f"{total_steps:,}")
        started, first_step, saved = time.monotonic(), step, time.monotonic()
        while step < total_steps:
            epoch, position = divmod(step, steps_per_epoch)
            if position == 0 or step == first_step:
                order = np.random.default_rng((settings.seed, epoch)).permutation(len(data.offsets) - 1)
                lanes = data.lanes(settings.batch_size, order=order)
                if position == 0:
                    states = self.encoder.begin_state(settings.batch_size, self.device)
            window = lanes[position * settings.bptt : (position + 1) * settings.bptt + 1]
            loss, states = self._step(window.astype(np.int32), states, step=step, rate=schedule.rate(step))
            step += 1
            self.sampled_loss = loss if math.isnan(self.sampled_loss) else 0.99 * self.sampled_loss + 0.01 * loss
            if step % 100 == 0 or step == first_step + 20:
                speed = (step - first_step) / (time.monotonic() - started)
                tokens = speed * settings.batch_size * settings.bptt
                left = (total_steps - step) / speed
                _LOGGER.info(
                    "step %s/%s, epoch %.2f, sampled loss %.3f, %.0f tokens/s, %.0f min left",
                    step, total_steps, step / steps_per_epoch, self.sampled_loss, tokens, left / 60,
                )  # fmt: skip
            if step % steps_per_epoch == 0:
                perplexity = self.perplexity(measured)
                self.history.append(
                    {"epoch": epoch + 1, "sampled_loss": self.sampled_loss, "held_out_perplexity": perplexity}
                )
                _LOGGER.info("epoch %d done, held-out perplexity %.1f", epoch + 1, perplexity)
            if (
                step == total_steps
                or step % steps_per_epoch == 0
                or time.monotonic() - saved > settings.checkpoint_seconds
            ):
                self._save(checkpoint_path, step=step, states=states)
                saved = time.monotonic()

    def _step(
        self, window: npt.NDArray[np.int32], states: list[mx.nd.NDArray], *, step: int, rate: float
    ) -> tuple[float, list[mx.nd.NDArray]]:
        """One update on a window of (T + 1, N) tokens; returns the mean loss and the carried states."""
        settings, device = self.settings, self.device
        steps, lanes = window.shape[0] - 1, window.shape[1]
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mx.random.seed(int(rng.integers(1 << 31)))
        sampled = np.searchsorted(self.cumulative, rng.random(settings.negatives)).astype(np.int32)
        sampled = np.minimum(sampled, len(self.cumulative) - 1)
        targets = window[1:].reshape(-1)
        wanted = mx.nd.array(np.concatenate([window.reshape(-1), sampled]), ctx=device, dtype=np.int32)
        draws = mx.nd.array(self.log_draws[np.concatenate([targets, sampled])], ctx=device)
        collides = mx.nd.array(targets[:, None] == sampled[None, :], ctx=device, dtype=np.float32)
        with autograd.record():
            # Inputs, targets and samples in one call: its gradient is then one row-sparse array.
            rows = self.embedding(wanted)
            split = (steps + 1) * lanes
            hidden, *states = self.encoder(rows[: steps * lanes].reshape((steps, lanes, -1)), *states)
            hidden = self.dropout(hidden).reshape((steps * lanes, -1))
            shift = mx.nd.take(self.bias.data(), wanted[lanes:]) - draws
            loss = self.loss(
                hidden, rows[lanes:split], shift[: steps * lanes], rows[split:], shift[steps * lanes :], collides
            )
            mean = loss.mean()
        mean.backward()
        value = float(mean.asscalar())
        norm = self.optimizer.update(learning_rate=rate)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise InputError(
                f"the loss is not finite at step {step}; resume from the last checkpoint with a lower --learning-rate"
            )
        return value, [state.detach() for state in states]

    def perplexity(self, measured: _Corpus, *, max_tokens: int = 200_000) -> float:
        """Perplexity per token over the whole vocabulary."""
        lanes = measured.lanes(_MEASURED_LANES, order=np.arange(len(measured.offsets) - 1))
        lanes = lanes[: max_tokens // _MEASURED_LANES].astype(np.int32)
        states = self.encoder.begin_state(_MEASURED_LANES, self.device)
        total, count = 0.0, 0
        weight, bias = self.embedding.weight.data(), self.bias.data()
        for start in range(0, len(lanes) - _MEASURED_STEPS, _MEASURED_STEPS):  # the encoder keeps to one shape
            window = lanes[start : start + _MEASURED_STEPS + 1]
            embedded = self.embedding(mx.nd.array(window[:-1], ctx=self.device, dtype=np.int32))
            hidden, *states = self.encoder(embedded, *states)
            logits = mx.nd.dot(hidden.reshape((-1, hidden.shape[2])), weight, transpose_b=True) + bias
            targets = mx.nd.array(window[1:].reshape(-1), ctx=self.device)
            total -= float(mx.nd.pick(mx.nd.log_softmax(logits, axis=1), targets, axis=1).sum().asscalar())
            count += window[1:].size
        return math.exp(total / count)

    def _save(self, path: Path, *, step: int, states: list[mx.nd.NDArray]) -> None:
        arrays = {f"weights/{name}": array for name, array in self.weights().items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        arrays |= {f"states/{index}": state.asnumpy() for index, state in enumerate(states)}
        progress = {
            "step": step,
            "sampled_loss": self.sampled_loss,
            "history": self.history,
            "settings": asdict(self.settings),
            "data_sha256": self.data_sha256,
        }
        save_checkpoint(Checkpoint(arrays=arrays, progress=progress), path)

    def _resume(self, path: Path) -> tuple[int, list[mx.nd.NDArray]]:
        checkpoint = load_checkpoint(path)
        if checkpoint.progress["settings"] != asdict(self.settings):
            raise InputError(f"{path}: belongs to a run with other settings; repeat its options or start anew")
        weights = checkpoint.part("weights")
        if checkpoint.progress.get("data_sha256") != self.data_sha256:
            raise InputError(f"{path}: belongs to a run on other reviews; repeat its inputs or start anew")
        write_weights(self.parameters, weights)
        step = int(checkpoint.progress["step"])
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        self.sampled_loss = float(checkpoint.progress["sampled_loss"])
        self.history = list(checkpoint.progress["history"])
        states = checkpoint.part("states")
        return step, [mx.nd.array(states[str(index)], ctx=self.device) for index in range(len(states))]
