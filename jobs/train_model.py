"""Fine-tune a model on a table of labelled reviews and write it as a model directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.devices import training_device
from jobs.labelled_reviews import add_label_arguments, read_labelled
from jobs.settings import add_language_model, add_settings, language_model_from, settings_from
from sentiment_core.artifact import check_target, save_model
from sentiment_core.training import Labelled, TrainSettings, train

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``train`` verb."""
    add_label_arguments(parser)
    add_language_model(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the model directory to write")
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu:N")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")
    add_settings(parser, TrainSettings)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Train, save, and emit the metrics."""
    output = check_target(options.output)
    device = training_device(options.device)
    language_model = language_model_from(options)
    reviews = read_labelled(options)

    def part(rows: npt.NDArray[np.bool_]) -> Labelled:
        return Labelled(texts=reviews.texts.filter(pa.array(rows)), positive=reviews.positive[rows])

    checkpoint = output.with_name(output.name + ".checkpoint")
    model = train(
        part(~reviews.held_out),
        validation=part(reviews.held_out),
        checkpoint_path=checkpoint,
        language_model=language_model,
        settings=settings_from(options, TrainSettings),
        resume=options.resume,
        device=device,
    )
    save_model(model, output)
    checkpoint.unlink()
    validation = model.metrics["validation"]
    emit({"model": str(options.output), "sha256": model.sha256, "validation": validation})
    return f"wrote {options.output}: validation accuracy {validation['accuracy']:.4f} on {validation['n']:,} reviews"
