"""Fine-tune a sentence encoder as a teacher: a classifier that labels texts for SentimentNet to learn from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.labels.reviews import LabelledInput, add_label_arguments, read_labelled
from jobs.verbs.models.settings import add_settings, settings_from
from sentiment_core.training.recipes import TeacherSettings
from sentiment_core.training.steps.device import require_torch_device

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``teach`` verb."""
    add_label_arguments(parser)
    parser.add_argument(
        "--encoder", required=True, type=Path, metavar="DIR", help="a local Hugging Face directory to start from"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the teacher's directory to write")
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu:N")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")
    add_settings(parser, TeacherSettings)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Fine-tune, save, and emit the metrics."""
    device = require_torch_device(options.device)
    from sentiment_core.training.teacher import fine_tune_teacher  # it needs PyTorch

    training, validation = read_labelled(settings_from(options, LabelledInput)).parts()
    report = fine_tune_teacher(
        options.encoder,
        training,
        validation=validation,
        output=options.output,
        settings=settings_from(options, TeacherSettings),
        device=device,
        resume=options.resume,
    )
    emit({"teacher": str(options.output), **report})
    measured = report["validation"]
    return f"wrote {options.output}: validation accuracy {measured['accuracy']:.4f} on {len(validation):,} reviews"
