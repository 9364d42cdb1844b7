"""Fine-tune SentimentNet on labelled reviews, from a language model or from scratch.

Axes: N reviews, T tokens, V words, E embedding units.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from mxnet import autograd, gluon

from sentiment_core.artifact import Architecture, Decision, Model
from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation import (
    calibration_table,
    choose_calibration,
    evaluate_probabilities,
    neutral_band,
)
from sentiment_core.network import (
    SentimentNet,
    drop_recurrent_weights,
    read_weights,
    sentiment_parameters,
    write_weights,
)
from sentiment_core.optimization import Adam, Checkpoint, Schedule, data_digest, load_checkpoint, save_checkpoint
from sentiment_core.text import PADDING_ID, TextPipeline, TextSettings, build_vocabulary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it registers optimisers that MXNet has by now
    import gluonnlp

__all__ = ["Labelled", "TrainSettings", "train"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Texts with their labels.

    Attributes
    ----------
    texts : Arrow array of string, shape (N,)
    positive : array of bool, shape (N,)
    """

    texts: pa.Array
    positive: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.positive)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Recipe of the fine-tuning; vocabulary and sizes count only without a language model.

    Parameters
    ----------
    word_dropout : float
        Share of the vocabulary that a step does not see (whole words; Gal and Ghahramani 2016).
    weight_drop : float
        Share of the hidden-to-hidden weights that a step does not see (Merity et al. 2018).
    weight_average : float
        Decay of the moving average of the weights, which is what is measured and stored.
    layer_decay : float
        Factor on the learning rate for each layer further down (Howard and Ruder 2018 take 1 / 2.6).
    adversarial_epsilon : float
        Norm of the worst-case shift of a review's word vectors, in units of their standard deviation, on which the
        loss is taken a second time (Miyato et al. 2017 take 5); 0 leaves it out and halves the cost.
    excerpt_share : float
        Short excerpts of reviews that are trained on as well, as a share of the reviews, so that texts of few
        words are scored with due doubt.
    """

    vocab_size: int = 30_000
    min_count: int = 2
    max_tokens: int = 500
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
    adversarial_epsilon: float = 0.0
    excerpt_share: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_tokens", "num_buckets", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dropout", "encoder_dropout", "word_dropout", "weight_drop", "weight_average"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")
        for name in ("adversarial_epsilon", "excerpt_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay}")


def train(
    data: Labelled,
    *,
    validation: Labelled,
    checkpoint_path: Path,
    language_model: Model | None = None,
    settings: TrainSettings | None = None,
    resume: bool = False,
    device: mx.Context | None = None,
) -> Model:
    """Train a model; the epoch of lowest validation loss is kept and calibrated on the validation part.

    Parameters
    ----------
    data, validation : Labelled
        Trained on; measured, calibrated and stopped on. Reviews without a token are left out.
    checkpoint_path : Path
        Where the run is kept, so that it can be resumed.
    language_model : Model
        Gives vocabulary, text settings, sizes, embedding and encoder; None starts from scratch.
    settings : TrainSettings
        Recipe.
    resume : bool
        Go on from the checkpoint; a run that was killed then follows the same curve.
    device : mxnet.Context
        CPU by default.

    Raises
    ------
    InputError
        If a part has labels of one class only, or the loss is not finite.
    """
    settings = settings or TrainSettings()
    if language_model is None:
        text_settings = TextSettings(max_tokens=settings.max_tokens)
        vocabulary, _ = build_vocabulary(
            [data.texts], settings=text_settings, max_size=settings.vocab_size, min_count=settings.min_count
        )
        pipeline = TextPipeline(settings=text_settings, vocabulary=vocabulary)
        architecture = Architecture(
            vocab_size=len(vocabulary),
            embed_size=settings.hidden_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
        )
    else:
        pipeline, architecture = language_model.text, language_model.architecture
    train_part = _Part.of(data, pipeline, name="training").with_excerpts(settings.excerpt_share, seed=settings.seed)
    validation_part = _Part.of(validation, pipeline, name="validation")
    run = _Run(architecture, settings=settings, device=device or mx.cpu())
    if language_model is not None:
        shared = {name: run.parameters[name] for name in language_model.weights if name in run.parameters}
        write_weights(shared, language_model.weights)
    run.train(train_part, validation_part, checkpoint_path=checkpoint_path, resume=resume)

    logits = run.best_logits.astype(np.float64)
    method, slope, intercept = choose_calibration(validation_part.positive, logits)
    probabilities = Decision(slope=slope, intercept=intercept).probability(logits)
    negative_below, positive_from = neutral_band(validation_part.positive, probabilities)
    outside = (probabilities < negative_below) | (probabilities >= positive_from)
    right = (probabilities >= 0.5) == validation_part.positive
    metrics = {
        "validation": evaluate_probabilities(validation_part.positive, probabilities).as_dict(),
        "labelled_share": float(outside.mean()),
        "labels_right": float(np.count_nonzero(right & outside) / max(1, np.count_nonzero(outside))),
        "calibration_table": calibration_table(validation_part.positive, probabilities),
        "history": run.history,
    }
    provenance = {
        "language_model_sha256": language_model.sha256 if language_model else None,
        "training_reviews": len(data),
        "validation_reviews": len(validation_part),
        "settings": asdict(settings),
    }
    decision = Decision(
        method=method,
        slope=slope,
        intercept=intercept,
        negative_below=negative_below,
        positive_from=positive_from,
    )
    return Model(
        kind="sentiment",
        architecture=architecture,
        text=pipeline,
        weights={name: array.astype(np.float16) for name, array in run.best_weights.items()},
        decision=decision,
        metrics=metrics,
        provenance=provenance,
        card=_card(metrics, provenance, decision),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Reviews of at least one token: text i is token_ids[starts[i] : starts[i] + lengths[i]]."""

    token_ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    positive: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, data: Labelled, pipeline: TextPipeline, *, name: str) -> _Part:
        encoded = pipeline.encode(data.texts)
        rows = np.flatnonzero(encoded.valid_length)
        positive = data.positive[rows]
        if len(rows) < len(data):
            _LOGGER.info("%d %s reviews without a token are left out", len(data) - len(rows), name)
        if len(rows) == 0 or positive.all() or not positive.any():
            raise InputError(
                f"the {name} part has {np.count_nonzero(positive)} positive reviews of {len(rows)}; it needs "
                "both classes: check --label-column, --positive-above and the size of the input"
            )
        return cls(
            token_ids=encoded.token_ids,
            starts=encoded.offsets[rows],
            lengths=encoded.valid_length[rows],
            positive=positive,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def with_excerpts(self, share: float, *, seed: int) -> _Part:
        """Add heads and tails of 5 to 40 tokens: where a review says what it thinks."""
        rng = np.random.default_rng((seed, 1 << 21))
        rows = rng.integers(len(self), size=round(share * len(self)))
        lengths = np.minimum(rng.integers(5, 41, size=len(rows)), self.lengths[rows]).astype(np.int32)
        tail = rng.random(len(rows)) < 0.5
        return _Part(
            token_ids=self.token_ids,
            starts=np.concatenate([self.starts, self.starts[rows] + tail * (self.lengths[rows] - lengths)]),
            lengths=np.concatenate([self.lengths, lengths]),
            positive=np.concatenate([self.positive, self.positive[rows]]),
        )

    def sampler(self, *, settings: TrainSettings, shuffle: bool) -> gluonnlp.data.FixedBucketSampler:
        """Batches of similar length under the token budget; shuffles by NumPy's global generator."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty bucket is no fault
            return gluonnlp.data.FixedBucketSampler(
                self.lengths,
                batch_size=settings.batch_tokens,
                num_buckets=settings.num_buckets,
                use_average_length=True,
                shuffle=shuffle,
            )

    def batch(self, indices: list[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Padded token ids (T, N) and valid lengths (N,) of some reviews."""
        pad = gluonnlp.data.batchify.Pad(axis=0, pad_val=PADDING_ID, ret_length=True, dtype=np.int32)
        spans = [(self.starts[index], self.starts[index] + self.lengths[index]) for index in indices]
        token_ids, lengths = pad([self.token_ids[start:end] for start, end in spans])
        return token_ids.asnumpy().T, lengths.asnumpy().astype(np.float32)


class _Run:
    """One training run: network, optimiser, averaged weights, best epoch so far."""

    def __init__(self, architecture: Architecture, *, settings: TrainSettings, device: mx.Context) -> None:
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
        self.optimizer = Adam(
            self.parameters,
            clip_norm=settings.clip_norm,
            rate_multipliers=_rate_multipliers(self.parameters, settings.layer_decay),
        )
        self.word_vector_scale = 0.0
        self.average: dict[str, mx.nd.NDArray] = {}
        self.history: list[dict[str, float]] = []
        self.train_loss = math.nan  # smoothed over the steps
        self.best_loss = math.inf
        self.best_weights: dict[str, npt.NDArray[Any]] = {}
        self.best_logits: npt.NDArray[Any] = np.empty(0, np.float32)
        self.data_sha256 = ""

    def train(self, data: _Part, validation: _Part, *, checkpoint_path: Path, resume: bool) -> None:
        settings = self.settings
        self.data_sha256 = data_digest(
            *(
                array
                for part in (data, validation)
                for array in (part.token_ids, part.starts, part.lengths, part.positive)
            )
        )
        steps_per_epoch = len(data.sampler(settings=settings, shuffle=False))
        total_steps = steps_per_epoch * settings.epochs
        schedule = Schedule(
            peak=settings.learning_rate, total_steps=total_steps, warmup_fraction=settings.warmup_fraction
        )
        # Of the weights that the run begins with: one that is resumed takes the same.
        self.word_vector_scale = float(self.net.embedding.weight.data().asnumpy().std())
        step = 0
        if resume:
            step = self._resume(checkpoint_path)
            _LOGGER.info("resumed at step %s of %s", f"{step:,}", f"{total_steps:,}")
        else:
            self.average = {name: parameter.data().copy() for name, parameter in self.parameters.items()}
        started, saved, tokens, first_step = time.monotonic(), time.monotonic(), 0, step
        while step < total_steps and not self._stalled():
            epoch, position = divmod(step, steps_per_epoch)
            np.random.seed((settings.seed, epoch))
            for indices in list(data.sampler(settings=settings, shuffle=True))[position:]:
                token_ids, lengths = data.batch(indices)
                loss = self._step(token_ids, lengths, data.positive[indices], step, schedule.rate(step))
                step += 1
                tokens += int(lengths.sum())
                self.train_loss = loss if math.isnan(self.train_loss) else 0.98 * self.train_loss + 0.02 * loss
                if step % 50 == 0 or step == first_step + 10:
                    seconds = time.monotonic() - started
                    _LOGGER.info(
                        "step %d/%d, epoch %.2f, loss %.3f, %.0f tokens/s, %.1f min left",
                        step, total_steps, step / steps_per_epoch, self.train_loss, tokens / seconds,
                        (total_steps - step) * seconds / (step - first_step) / 60,
                    )  # fmt: skip
                if time.monotonic() - saved > settings.checkpoint_seconds and step % steps_per_epoch:
                    self._save(checkpoint_path, step=step)
                    saved = time.monotonic()
            self._finish_epoch(validation, epoch=epoch)
            self._save(checkpoint_path, step=step)
            saved = time.monotonic()

    def _step(
        self,
        token_ids: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.float32],
        positive: npt.NDArray[np.bool_],
        step: int,
        rate: float,
    ) -> float:
        """One update on token ids (T, N); returns the mean loss."""
        settings, device = self.settings, self.device
        rng = np.random.default_rng((settings.seed, 1 << 20, step))
        mask_seed = int(rng.integers(1 << 31))
        vocab_size = self.net.embedding.weight.shape[0]
        keep = (rng.random(vocab_size) >= settings.word_dropout).astype(np.float32) / (1 - settings.word_dropout)
        ids = mx.nd.array(token_ids, ctx=device, dtype=np.int32)
        inputs = (
            mx.nd.array(keep[token_ids][:, :, None], ctx=device),
            mx.nd.array(lengths, ctx=device),
            mx.nd.array(positive, ctx=device, dtype=np.float32),
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
        value = float(loss.asscalar())
        norm = self.optimizer.update(learning_rate=rate, grad_scale=1 / passes)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise InputError(
                f"the loss is not finite at step {step}; resume from the last checkpoint with a lower --learning-rate"
            )
        # The average is short at first, so that the early weights are forgotten.
        keep_share = min(settings.weight_average, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            average = self.average[name]
            average += (1 - keep_share) * (parameter.data() - average)
        return value

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

    def _finish_epoch(self, validation: _Part, *, epoch: int) -> None:
        """Measure the averaged weights, as they will be stored, and keep them if they are the best so far."""
        current = read_weights(self.parameters)
        averaged = {name: average.asnumpy() for name, average in self.average.items()}
        write_weights(self.parameters, {name: array.astype(np.float16) for name, array in averaged.items()})
        logits = self._logits(validation)
        write_weights(self.parameters, current)
        metrics = evaluate_probabilities(validation.positive, Decision().probability(logits))
        self.history.append(
            {
                "epoch": epoch + 1,
                "train_loss": self.train_loss,
                "validation_loss": metrics.log_loss,
                "validation_accuracy": metrics.accuracy,
            }
        )
        _LOGGER.info(
            "epoch %d done, validation loss %.4f, accuracy %.4f +- %.4f",
            epoch + 1, metrics.log_loss, metrics.accuracy, metrics.standard_error,
        )  # fmt: skip
        if metrics.log_loss < self.best_loss:
            self.best_loss, self.best_weights, self.best_logits = metrics.log_loss, averaged, logits

    def _logits(self, part: _Part) -> npt.NDArray[np.float32]:
        logits = np.empty(len(part), np.float32)
        for indices in part.sampler(settings=self.settings, shuffle=False):
            token_ids, lengths = part.batch(indices)
            embedded = self.net.embedding(mx.nd.array(token_ids, ctx=self.device, dtype=np.int32))
            logits[indices] = self.net.classifier(embedded, mx.nd.array(lengths, ctx=self.device)).asnumpy()
        return logits

    def _stalled(self) -> bool:
        losses = [epoch["validation_loss"] for epoch in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= self.settings.patience if losses else False

    def _save(self, path: Path, *, step: int) -> None:
        arrays = {f"weights/{name}": array for name, array in read_weights(self.parameters).items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        arrays |= {f"average/{name}": array.asnumpy() for name, array in self.average.items()}
        arrays |= {f"best/{name}": array for name, array in self.best_weights.items()}
        arrays["best_logits"] = self.best_logits
        progress = {
            "step": step,
            "train_loss": self.train_loss,
            "history": self.history,
            "settings": asdict(self.settings),
            "data_sha256": self.data_sha256,
        }
        save_checkpoint(Checkpoint(arrays=arrays, progress=progress), path)

    def _resume(self, path: Path) -> int:
        checkpoint = load_checkpoint(path)
        if checkpoint.progress["settings"] != asdict(self.settings):
            raise InputError(f"{path}: belongs to a run with other settings; repeat its options or start anew")
        weights = checkpoint.part("weights")
        if checkpoint.progress.get("data_sha256") != self.data_sha256 or any(
            weights[name].shape != parameter.shape for name, parameter in self.parameters.items()
        ):
            raise InputError(f"{path}: belongs to a run on other reviews; repeat its input or start anew")
        write_weights(self.parameters, weights)
        step = int(checkpoint.progress["step"])
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        average = checkpoint.part("average")
        self.average = {name: mx.nd.array(average[name], ctx=self.device) for name in self.parameters}
        self.train_loss = float(checkpoint.progress["train_loss"])
        self.history = list(checkpoint.progress["history"])
        self.best_weights = checkpoint.part("best")
        self.best_logits = checkpoint.arrays["best_logits"]
        self.best_loss = min((epoch["validation_loss"] for epoch in self.history), default=math.inf)
        return step


def _rate_multipliers(parameters: dict[str, mx.gluon.Parameter], layer_decay: float) -> dict[str, float]:
    """Output 1, and one factor ``layer_decay`` more for each layer down to the embedding."""
    layers = sorted({name.rsplit(".", 1)[0] for name in parameters if name.startswith("lstm.")})
    order = ["embedding", *layers, "output"]
    return {name: layer_decay ** (len(order) - 1 - order.index(name.rsplit(".", 1)[0])) for name in parameters}


def _card(metrics: dict[str, Any], provenance: dict[str, Any], decision: Decision) -> str:
    """The model card, in Markdown."""
    validation = metrics["validation"]
    language_model = provenance["language_model_sha256"]
    origin = f"fine-tuned from the language model `{language_model[:12]}`" if language_model else "trained from scratch"
    return f"""# SentimentNet

Word embedding, LSTM layers, masked mean pooling over time, one sigmoid output; {origin} on
{provenance["training_reviews"]:,} labelled reviews.

## Quality on {validation["n"]:,} held-out reviews

| accuracy | standard error | AUC | F1 | log loss | Brier | calibration error |
|---|---|---|---|---|---|---|
| {validation["accuracy"]:.4f} | {validation["standard_error"]:.4f} | {validation["auc"]:.4f} | {validation["f1"]:.4f} \
| {validation["log_loss"]:.4f} | {validation["brier"]:.4f} | {validation["ece"]:.4f} |

The epoch of lowest validation loss was kept, and the probabilities were calibrated on the same reviews
(method `{decision.method}`, slope {decision.slope:.4f}, intercept {decision.intercept:.4f}; `temperature` or `platt`
is chosen by 5-fold cross-validated log loss), so the calibration error is a little optimistic.

## Labels

`negative` below {decision.negative_below}, `positive` from {decision.positive_from} on, `neutral` between: the
narrowest band around 0.5, at most 0.2 to 0.8, that makes 95 % of the labels outside it right. On the held-out reviews
{metrics["labels_right"]:.1%} of the labels outside it were right, and {metrics["labelled_share"]:.1%} of the reviews
were outside it.

## Recipe

See `provenance` in `config.json`: settings, seed, numbers of reviews; `metrics.json` has the history by epoch.
"""
