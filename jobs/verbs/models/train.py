"""Fine-tune a model on a table of labelled reviews and write it as a model directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.labels.reviews import LabelledInput, add_label_arguments, read_elsewhere, read_labelled, read_teacher_labels
from jobs.verbs.models.settings import add_language_model, add_settings, language_model_from, settings_from
from sentiment_core.artifact import Model, bundled_model_path, check_target, load_model, save_model
from sentiment_core.errors import InputError, UsageError
from sentiment_core.training.recipes import TrainSettings
from sentiment_core.training.run import train
from sentiment_core.training.steps.device import require_training_device

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``train`` verb."""
    add_label_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    add_language_model(start)
    start.add_argument("--model", metavar="DIR|bundled", help="a model to train further, instead of a language model")
    parser.add_argument(
        "--teacher-labels", metavar="PATH", help="more texts to learn from, as `sentiment label` writes them"
    )
    parser.add_argument(
        "--teacher-labels-only",
        action="store_true",
        help="learn from the teacher's labels alone, which hold the reviews of --input as well (label --label-share)",
    )
    parser.add_argument(
        "--elsewhere", metavar="PATH", help="reviews of other domains (text, label, domain), only measured"
    )
    parser.add_argument(
        "--blind-words",
        type=Path,
        metavar="FILE",
        help="words, as of groups of people, that shall move no score: text with white space between them",
    )
    parser.add_argument("--data-name", metavar="TEXT", help="what the reviews are, for the model card")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the model directory to write")
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="cpu|gpu:N",
        help="MXNet trains on the CPU, or PyTorch where MXNet is missing; PyTorch on a GPU (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")
    add_settings(parser, TrainSettings)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Train, save, and emit the metrics."""
    if options.teacher_labels_only and not options.teacher_labels:
        raise UsageError("--teacher-labels-only needs --teacher-labels: there is nothing else to learn from")
    output = check_target(options.output)
    blind_words = _words(options.blind_words) if options.blind_words else ()
    device = require_training_device(options.device)
    start = _former_model(options.model) or language_model_from(options)
    labelled = read_labelled(settings_from(options, LabelledInput))
    split, (training, validation) = labelled.split, labelled.parts()
    del labelled  # it holds every text a second time
    teacher_labels = read_teacher_labels(options.teacher_labels) if options.teacher_labels else None
    checkpoint = output.with_name(output.name + ".checkpoint")
    model = train(
        training,
        validation=validation,
        teacher_labels=teacher_labels,
        own_labels=not options.teacher_labels_only,
        elsewhere=read_elsewhere(options.elsewhere) if options.elsewhere else None,
        checkpoint_path=checkpoint,
        split=split,
        data_name=options.data_name,
        language_model=start,
        blind_words=blind_words,
        settings=settings_from(options, TrainSettings),
        resume=options.resume,
        device=device,
    )
    save_model(model, output)
    checkpoint.unlink()
    validation = model.metrics["validation"]
    emit({"model": str(options.output), "sha256": model.sha256, "validation": validation})
    return f"wrote {options.output}: validation accuracy {validation['accuracy']:.4f} on {validation['n']:,} reviews"


def _former_model(name: str | None) -> Model | None:
    """The model that is trained further, if one was named."""
    if name is None:
        return None
    return load_model(bundled_model_path() if name == "bundled" else name)


def _words(path: Path) -> tuple[str, ...]:
    """The words of a file, as tokens; what follows a # in a line is a remark."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--blind-words {path}: cannot be read as UTF-8 text ({error}); check the path") from error
    return tuple(word for line in lines for word in line.partition("#")[0].lower().split())
