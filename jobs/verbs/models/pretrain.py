"""Pre-train a word language model on review tables and write it as a language-model directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jobs.labels.reviews import holdout_columns, read_texts
from jobs.raw.options import add_reading_arguments
from jobs.verbs.models.settings import add_language_model, add_settings, language_model_from, settings_from
from jobs.verbs.settings import reading_from
from sentiment_core.artifact import check_target, save_model
from sentiment_core.dataset.holdout import Split
from sentiment_core.errors import InputError, ModelError, UsageError
from sentiment_core.language_model.run import pretrain
from sentiment_core.text.pipeline import Vocabulary
from sentiment_core.training.recipes import PretrainSettings
from sentiment_core.training.steps.device import require_training_device

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``pretrain`` verb."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="review tables, the labelled one first: `train` measures on its held-out reviews",
    )
    source.add_argument(
        "--from-gluonnlp", nargs=2, type=Path, metavar=("PARAMS", "VOCABULARY"), help="import instead of training"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument(
        "--product-column", default="product_id", metavar="NAME", help="reviews of one product are held out together"
    )
    parser.add_argument("--validation-fraction", type=float, default=0.1, metavar="F", help="share held out")
    add_reading_arguments(parser)
    parser.add_argument(
        "--vocabulary", type=Path, metavar="FILE", help="its words, a line each, instead of those counted in the input"
    )
    add_language_model(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="cpu|gpu:N",
        help="MXNet trains on the CPU, or PyTorch where MXNet is missing; PyTorch on a GPU (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")
    add_settings(parser, PretrainSettings)


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Train or import, save, and emit the metrics."""
    output = check_target(options.output)
    if options.from_gluonnlp:
        from sentiment_core.language_model.gluonnlp import import_gluonnlp  # it needs MXNet

        model = import_gluonnlp(*options.from_gluonnlp)
        save_model(model, output)
        emit({"model": str(options.output), "sha256": model.sha256})
        return f"imported {options.output}: {model.architecture.vocab_size:,} words"

    reading = reading_from(options)
    columns = holdout_columns(
        options.input, text_column=options.text_column, product_column=options.product_column, reading=reading
    )
    part = partial(
        read_texts,
        columns,
        text_column=options.text_column,
        fraction=options.validation_fraction,
        reading=reading,
    )
    language_model = language_model_from(options)
    if language_model is not None and options.vocabulary:
        raise UsageError("--vocabulary: the language model to start from has its own words; leave one of the two out")
    checkpoint = output.with_name(output.name + ".checkpoint")
    model = pretrain(
        partial(part, held_out=False),
        held_out=partial(part, held_out=True),
        checkpoint_path=checkpoint,
        split=Split(column=columns[options.input[0]] or options.text_column, fraction=options.validation_fraction),
        language_model=language_model,
        vocabulary=_vocabulary(options.vocabulary) if options.vocabulary else None,
        settings=settings_from(options, PretrainSettings),
        resume=options.resume,
        device=require_training_device(options.device),
    )
    save_model(model, output)
    checkpoint.unlink()
    emit({"model": str(options.output), "sha256": model.sha256, **model.metrics})
    return f"wrote {options.output}: held-out perplexity {model.metrics['held_out_perplexity']:.1f}"


def _vocabulary(path: Path) -> Vocabulary:
    try:
        return Vocabulary(tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n")))
    except ModelError as error:
        raise InputError(f"{path}: {str(error).removeprefix('vocabulary.txt: ')}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the vocabulary cannot be read ({error}); name a text file of a word a line"
        ) from error
