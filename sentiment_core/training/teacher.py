"""A sequence classifier of Hugging Face as the teacher of SentimentNet: fine-tuned here, or anyone's own.

A teacher directory is what ``save_pretrained`` writes; weights are read from safetensors only, and no code is. Of a
classifier with one output the sigmoid is the probability that a text is positive; with two, it is the softmax of the
second; with three (negative, neutral, positive) half of the neutral share counts; with five (stars) the expected grade.

Axes: N texts, T word pieces.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError

from sentiment_core.dataset.batches import shuffled_batches
from sentiment_core.dataset.labelled import Labelled, require_both_classes, without_texts_of
from sentiment_core.durable import make_parent
from sentiment_core.errors import EnvironmentFault, InputError, ModelError, UsageError
from sentiment_core.evaluation.metrics import evaluate_probabilities
from sentiment_core.logistic import sigmoid
from sentiment_core.text.pipeline import valid_utf8
from sentiment_core.training.recipes import TeacherSettings
from sentiment_core.training.steps.checkpoint import Checkpoint, data_digest
from sentiment_core.training.steps.loop import run_loop
from sentiment_core.training.steps.torch import TorchAdam
from sentiment_core.training.steps.torch_network import torch_device

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise EnvironmentFault(
        f"a teacher needs {error.name}, which is not installed: pip install 'sentiment-warehouse[teacher]'"
    ) from error

__all__ = ["Teacher", "fine_tune_teacher"]

_LOGGER = logging.getLogger(__name__)
_TEXTS_AT_ONCE = 20_000
# How texts were clipped when a teacher was made; `label` clips them in the same way.
_CLIPPING_FILE = "sentiment_teacher.json"
_LABELLING_TOKENS = {"cpu": 8_192, "cuda": 262_144}
# The probability that a text is positive is a weighted sum of the classes' probabilities; weights by their order, ...
_CLASS_VALUES = {2: (0.0, 1.0), 3: (0.0, 0.5, 1.0), 5: (0.0, 0.25, 0.5, 0.75, 1.0)}
# ... or by their names, where all of them are known.
_NAMED_VALUES = {"negative": 0.0, "neg": 0.0, "neutral": 0.5, "positive": 1.0, "pos": 1.0}


class Teacher:
    """A classifier and its tokenizer.

    Parameters
    ----------
    directory : Path
        What ``save_pretrained`` wrote: ``config.json``, ``model.safetensors``, the tokenizer's files.
    device : str
        ``cpu`` or ``gpu:N``.
    settings : TeacherSettings
        How texts are clipped; by default as the directory's own training did, or 256 pieces.

    Raises
    ------
    ModelError
        If there is no such classifier, or its number of classes is not 1, 2, 3 or 5.
    """

    def __init__(self, directory: Path, *, device: str = "cpu", settings: TeacherSettings | None = None) -> None:
        self._device = torch_device(device)
        self.tokenizer = _tokenizer(directory)
        self._network = _network(directory).to(self._device).eval()
        self.settings = _fitting(settings or _stored_clipping(Path(directory)), self.tokenizer, self._network)
        self._classes = int(self._network.config.num_labels)
        if self._classes != 1 and self._classes not in _CLASS_VALUES:
            raise ModelError(
                f"{directory}: the teacher has {self._classes} classes; one, two (negative, positive), three "
                "(negative, neutral, positive) or five (stars) are understood; label the texts yourself, as a table"
            )

    def probabilities(self, texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
        """Probability that each text is positive, shape (N,); 0.5 for a text without a word."""
        texts = valid_utf8(texts)
        parts = [
            self._of(_encode(self.tokenizer, texts.slice(start, _TEXTS_AT_ONCE), self.settings))
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return np.concatenate([np.empty(0), *parts])

    def _of(self, encoded: _Encoded) -> npt.NDArray[np.float64]:
        probabilities = np.full(len(encoded), 0.5)
        budget = _LABELLING_TOKENS[self._device.type]
        rows = np.flatnonzero(encoded.lengths > encoded.n_marks)
        with torch.inference_mode(), _half_precision(self._device):
            for batch in shuffled_batches(encoded.lengths[rows], batch_tokens=budget, rng=np.random.default_rng(0)):
                chosen = rows[batch]
                logits = self._network(**encoded.padded(chosen, self._device)).logits.float()
                probabilities[chosen] = self._positive(logits).double().cpu().numpy()
        return probabilities

    def _positive(self, logits: torch.Tensor) -> torch.Tensor:
        if self._classes == 1:
            return logits[:, 0].sigmoid()
        names = [str(name).lower() for _, name in sorted(self._network.config.id2label.items())]
        values = [_NAMED_VALUES.get(name) for name in names]
        known = values if None not in values else _CLASS_VALUES[self._classes]
        return logits.softmax(dim=1) @ torch.tensor(known, device=logits.device)


def fine_tune_teacher(
    encoder: Path,
    data: Labelled,
    *,
    validation: Labelled,
    output: Path,
    settings: TeacherSettings | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> dict[str, Any]:
    """Fine-tune an encoder as a classifier with one output and save it.

    Parameters
    ----------
    encoder : Path
        A local Hugging Face directory, of a sentence encoder for example.
    data, validation : Labelled
        Trained on, with targets from 0 to 1, and measured, with labels 0 and 1. Texts of the validation part are not
        trained on.
    output : Path
        The teacher directory; the checkpoint lies beside it until the teacher is saved.
    settings : TeacherSettings
        Recipe.
    device : str
        ``cpu`` or ``gpu:N``.
    resume : bool
        Go on from the checkpoint.

    Returns
    -------
    dict
        Metrics on the validation part, and the history.

    Raises
    ------
    ModelError
        If the directory holds no encoder.
    UsageError
        If the output exists.
    InputError
        If the loss is not finite, or the checkpoint is another run's.
    """
    if output.exists():
        raise UsageError(f"{output}: exists already; name a new directory with --output")
    make_parent(output)
    data = without_texts_of(data, validation)
    require_both_classes(data, name="training")
    require_both_classes(validation, name="held-out")
    tokenizer = _tokenizer(encoder)
    torch.manual_seed((settings or TeacherSettings()).seed)  # the output's first weights are drawn
    network = _network(encoder, num_labels=1)
    settings = _fitting(settings or TeacherSettings(), tokenizer, network)
    run = _TeacherTraining(
        network,
        _encode_all(tokenizer, data.texts, settings),
        data.positive.astype(np.float32),
        held_out=_encode_all(tokenizer, validation.texts, settings),
        held_out_positive=validation.positive >= 0.5,
        settings=settings,
        device=torch_device(device),
    )
    checkpoint = output.with_name(output.name + ".checkpoint")
    run_loop(
        run,
        steps_per_epoch=run.steps_per_epoch,
        settings=settings,
        data_sha256=data_digest(
            run.data.pieces,
            run.data.lengths,
            run.positive,
            run.held_out.pieces,
            run.held_out.lengths,
            run.held_out_positive,
            also=_digest_of_weights(encoder),
        ),
        checkpoint_path=checkpoint,
        resume=resume,
    )
    staging = output.with_name(output.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    run.network.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    clipping = {name: getattr(settings, name) for name in ("max_tokens", "head_tokens")}
    (staging / _CLIPPING_FILE).write_text(json.dumps(clipping) + "\n", encoding="utf-8")
    staging.rename(output)
    checkpoint.unlink(missing_ok=True)
    return {"history": run.history, "validation": run.metrics or run.measure()}


class _Encoded:
    """Word pieces of texts, clipped, with their marks of begin and end; text i is pieces[starts[i]:][:lengths[i]]."""

    def __init__(self, texts: list[list[int]], *, n_marks: int, padding: int) -> None:
        self.n_marks = n_marks
        self.lengths = np.array([len(text) for text in texts], np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.pieces = np.fromiter((piece for text in texts for piece in text), np.int32, int(self.lengths.sum()))
        self.padding = padding

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def joined(cls, parts: list[_Encoded]) -> _Encoded:
        """All texts of some parts."""
        whole = cls([], n_marks=0, padding=parts[0].padding if parts else 0)
        whole.lengths = np.concatenate([whole.lengths, *(part.lengths for part in parts)])
        whole.starts = np.cumsum(whole.lengths) - whole.lengths
        whole.pieces = np.concatenate([whole.pieces, *(part.pieces for part in parts)])
        return whole

    def padded(self, rows: npt.NDArray[np.int64], device: torch.device) -> dict[str, torch.Tensor]:
        """The arguments of a network for some texts, both (N, T)."""
        lengths = self.lengths[rows][:, None]
        times = np.arange(int(lengths.max()))[None, :]
        inside = times < lengths
        positions = np.where(inside, self.starts[rows][:, None] + times, 0)
        ids = np.where(inside, self.pieces[positions], self.padding).astype(np.int64)
        return {
            "input_ids": torch.from_numpy(ids).to(device, non_blocking=True),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)).to(device, non_blocking=True),
        }


class _TeacherTraining:
    """One run of fine-tuning a classifier (see `training_loop.Run`)."""

    def __init__(
        self,
        network: Any,
        data: _Encoded,
        positive: npt.NDArray[np.float32],
        *,
        held_out: _Encoded,
        held_out_positive: npt.NDArray[np.bool_],
        settings: TeacherSettings,
        device: torch.device,
    ) -> None:
        self.data, self.positive = data, positive
        self.held_out, self.held_out_positive = held_out, held_out_positive
        self.settings, self.device = settings, device
        torch.manual_seed(settings.seed)
        self.network = network.to(device)
        self.optimizer = TorchAdam(
            dict(self.network.named_parameters()), clip_norm=settings.clip_norm, weight_decay=settings.weight_decay
        )
        self.history: list[dict[str, float]] = []
        self.metrics: dict[str, Any] = {}
        self.steps_per_epoch = len(self._order(0))
        if self.steps_per_epoch < 2:
            raise InputError(f"{len(data):,} texts are one batch only; give more texts or a smaller --batch-tokens")

    def batches(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int64]]:
        """Rows of each batch."""
        order = self._order(epoch)
        for position in range(first, self.steps_per_epoch):
            yield order[position % len(order)]

    def step(self, batch: npt.NDArray[np.int64], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of word pieces."""
        torch.manual_seed(self.settings.seed * 1_000_003 + step)
        self.network.train()
        self.optimizer.zero()
        targets = torch.from_numpy(self.positive[batch]).to(self.device)
        with _half_precision(self.device):
            logits = self.network(**self.data.padded(batch, self.device)).logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)
        loss.backward()
        finite = self.optimizer.update(learning_rate=learning_rate)
        return (float(loss.detach()) if finite else math.nan), int(self.data.lengths[batch].sum())

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure, and note it in the history."""
        self.metrics = self.measure()
        self.history.append(
            {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                "validation_loss": self.metrics["log_loss"],
                "validation_accuracy": self.metrics["accuracy"],
            }
        )
        _LOGGER.info(
            "epoch %d done, validation loss %.4f, accuracy %.4f +- %.4f",
            epoch + 1, self.metrics["log_loss"], self.metrics["accuracy"], self.metrics["standard_error"],
        )  # fmt: skip
        return False

    def measure(self) -> dict[str, Any]:
        """Metrics on the held-out part."""
        self.network.eval()
        logits = np.zeros(len(self.held_out), np.float64)
        budget = _LABELLING_TOKENS[self.device.type]
        with torch.inference_mode(), _half_precision(self.device):
            for rows in shuffled_batches(self.held_out.lengths, batch_tokens=budget, rng=np.random.default_rng(0)):
                found = self.network(**self.held_out.padded(rows, self.device)).logits[:, 0]
                logits[rows] = found.double().cpu().numpy()
        return evaluate_probabilities(self.held_out_positive, sigmoid(logits)).as_dict()

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights and moments."""
        weights = {f"weights/{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        return weights | {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        weights = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.part("weights").items()}
        self.network.load_state_dict(weights)
        self.optimizer.restore(checkpoint.part("adam"), step=step)

    def _order(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        rng = np.random.default_rng((self.settings.seed, epoch))
        return shuffled_batches(self.data.lengths, batch_tokens=self.settings.batch_tokens, rng=rng)


def _half_precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _tokenizer(directory: Path) -> Any:
    _require_directory(directory)
    # It warns of texts longer than the network takes, which are clipped here, and of outputs that are new.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{directory}: holds no tokenizer that can be read; name a Hugging Face directory") from error


def _network(directory: Path, **options: Any) -> Any:
    _require_directory(directory)
    try:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{directory}: holds no network with weights in safetensors that can be read; name a Hugging Face directory"
        ) from error


def _digest_of_weights(directory: Path) -> str:
    digests = []
    for path in sorted(Path(directory).glob("*.safetensors")):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)


def _stored_clipping(directory: Path) -> TeacherSettings:
    path = directory / _CLIPPING_FILE
    if not path.exists():
        return TeacherSettings()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return TeacherSettings(max_tokens=int(stored["max_tokens"]), head_tokens=int(stored["head_tokens"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read; remove it, and texts are clipped to 256 word pieces") from error


def _fitting(settings: TeacherSettings, tokenizer: Any, network: Any) -> TeacherSettings:
    """The settings with no longer texts than the network has positions for."""
    most = min(
        settings.max_tokens,
        tokenizer.model_max_length,
        getattr(network.config, "max_position_embeddings", None) or settings.max_tokens,
    )
    if most < settings.max_tokens:
        _LOGGER.info("texts are clipped to %d word pieces, which is what the network takes", most)
    return replace(settings, max_tokens=most)


def _require_directory(directory: Path) -> None:
    if not (Path(directory) / "config.json").is_file():
        raise ModelError(f"{directory}: there is no config.json; name a local Hugging Face directory")


def _encode_all(tokenizer: Any, texts: pa.Array, settings: TeacherSettings) -> _Encoded:
    texts = valid_utf8(texts)
    return _Encoded.joined(
        [
            _encode(tokenizer, texts.slice(start, _TEXTS_AT_ONCE), settings)
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
    )


def _encode(tokenizer: Any, texts: pa.Array, settings: TeacherSettings) -> _Encoded:
    """Word pieces of texts; of a long one its head and its tail, where a review often says what it thinks."""
    whole = tokenizer(texts.fill_null("").to_pylist(), add_special_tokens=False, return_attention_mask=False)
    marks = tokenizer("")["input_ids"]
    begin, end = marks[: len(marks) // 2], marks[len(marks) // 2 :]
    inside = settings.max_tokens - len(marks)
    head = min(inside, settings.head_tokens)
    clipped = (
        ids if len(ids) <= inside else ids[:head] + ids[len(ids) - inside + head :] for ids in whole["input_ids"]
    )
    return _Encoded([[*begin, *ids, *end] for ids in clipped], n_marks=len(marks), padding=tokenizer.pad_token_id or 0)
