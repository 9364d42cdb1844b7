"""Label reviews with an ensemble, as a table that `sentiment train --teacher-labels` learns from (distillation)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labels.reviews import (
    TEACHER_COLUMN,
    LabelledInput,
    LabelledReviews,
    add_label_arguments,
    holdout_columns,
    read_labelled,
    read_texts,
)
from jobs.verbs.settings import reading_from, settings_from
from sentiment_core.artifact import load_model
from sentiment_core.dataset.labelled import Labelled, without_texts_of
from sentiment_core.durable import make_parent
from sentiment_core.errors import EnvironmentFault, InputError, UsageError
from sentiment_core.text.sentences import cut_sentences
from sentiment_core.training.distillation import (
    Ensemble,
    Member,
    WordSequenceModel,
    member_of_models,
    member_of_teachers,
)
from sentiment_core.training.steps.device import require_torch_device

__all__ = ["add_arguments", "run"]

_LOGGER = logging.getLogger(__name__)
_SCHEMA = pa.schema({"text": pa.large_string(), TEACHER_COLUMN: pa.float64()})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``label`` verb."""
    add_label_arguments(parser)
    parser.add_argument("--unlabelled", nargs="+", required=True, metavar="PATH", help="review tables to label")
    parser.add_argument("--models", nargs="+", default=[], metavar="DIR", help="members, trained on the same split")
    parser.add_argument(
        "--teacher",
        nargs="+",
        default=[],
        metavar="DIR",
        help="members: sequence classifiers in local Hugging Face directories, such as `sentiment teach` writes",
    )
    parser.add_argument(
        "--no-linear", dest="linear", action="store_false", help="leave out the linear model of word sequences"
    )
    parser.add_argument(
        "--linear-words", type=int, default=3, metavar="N", help="longest sequence (default: %(default)s words)"
    )
    parser.add_argument(
        "--linear-min-count",
        type=int,
        default=2,
        metavar="N",
        help="reviews that a sequence must be in (default: %(default)s)",
    )
    parser.add_argument(
        "--label-share",
        type=float,
        default=0.0,
        metavar="F",
        help="write the labelled reviews that are not held out, too, with targets of which this share is their label "
        "and the rest the ensemble's (default: they are not written)",
    )
    parser.add_argument(
        "--label-share-column",
        metavar="NAME",
        help="column of the labelled reviews with each one's share, from 0 to 1, instead of --label-share",
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=0,
        metavar="N",
        help="sentences cut from each review, which get labels of their own, by the teachers alone if there are any",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the choice of sentences")
    parser.add_argument("--device", default="cpu", metavar="cpu|gpu:N", help="where teachers compute")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.parquet")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Fit the ensemble, label, write, and emit the quality of the members and of the whole."""
    if options.output.suffix != ".parquet" or options.output.is_dir():
        raise UsageError(f"{options.output}: name a file that ends in .parquet with --output")
    if not options.models and not options.teacher:
        raise UsageError("nothing labels: name models with --models, classifiers with --teacher, or both")
    if not 0 <= options.label_share <= 1:
        raise UsageError(f"--label-share must be from 0 to 1, not {options.label_share}")
    for name in ("linear_words", "linear_min_count"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}")
    if options.sentences < 0:
        raise UsageError(f"--sentences must be 0 or more, not {options.sentences}")
    if options.teacher:
        require_torch_device(options.device)
    make_parent(options.output)
    reading = reading_from(options)
    # The labelled reviews decide: the model that learns from the labels is measured on those held out of them.
    product_columns = holdout_columns(
        [options.input, *options.unlabelled],
        text_column=options.text_column,
        product_column=options.product_column,
        reading=reading,
    )
    unlabelled = {source: product_columns[source] for source in options.unlabelled}
    column = options.label_share_column
    labelled = read_labelled(settings_from(options, LabelledInput), group_columns=[column] if column else [])
    training, held_out = labelled.parts()
    training = without_texts_of(training, held_out)
    shares = _label_shares(options, training)
    members = _members(options, labelled, training)
    ensemble = Ensemble.fit(members, held_out=held_out)
    report = ensemble.report(held_out)
    for name, quality in report.items():
        _LOGGER.info("%s: accuracy %.4f, log loss %.4f", name, quality["accuracy"], quality["log_loss"])

    def to_label() -> Iterator[pa.Array]:
        return read_texts(
            unlabelled,
            text_column=options.text_column,
            fraction=options.validation_fraction,
            held_out=False,
            reading=reading,
        )

    n_texts = 0
    staging = options.output.with_name(options.output.name + ".new")
    try:
        with pq.ParquetWriter(staging, _SCHEMA, compression="zstd") as writer:
            for texts, probabilities in _labels(options, ensemble, training, shares, to_label):
                writer.write_table(pa.table({"text": texts, TEACHER_COLUMN: probabilities}, schema=_SCHEMA))
                n_texts += len(texts)
                _LOGGER.info("%s texts labelled", f"{n_texts:,}")
        staging.replace(options.output)
    except OSError as error:
        raise EnvironmentFault(
            f"{options.output}: the labels cannot be written ({error.strerror or error}); make room and run again"
        ) from error
    finally:
        staging.unlink(missing_ok=True)
    emit({"output": str(options.output), "texts": n_texts, "weights": ensemble.weights.tolist(), **report})
    return f"labelled {n_texts:,} texts in {options.output}: ensemble accuracy {report['ensemble']['accuracy']:.4f}"


def _members(options: argparse.Namespace, labelled: LabelledReviews, training: Labelled) -> dict[str, Member]:
    members: dict[str, Member] = {}
    if options.models:
        models = [load_model(path) for path in options.models]
        for path, model in zip(options.models, models):
            if labelled.split.differs_from(model.provenance):
                raise InputError(
                    f"{path}: was trained on another split than this one ({labelled.split}) and may know what is "
                    "measured; train all members on the same split"
                )
        members["models"] = member_of_models(models)
    if options.teacher:
        from sentiment_core.training.teacher import Teacher  # it needs PyTorch

        members["teacher"] = member_of_teachers(
            [Teacher(Path(path), device=options.device) for path in options.teacher]
        )
    if options.linear:
        linear = WordSequenceModel(n_words=options.linear_words, min_count=options.linear_min_count)
        members["linear"] = linear.fit(training).logits
    return members


def _label_shares(options: argparse.Namespace, training: Labelled) -> npt.NDArray[np.float64] | None:
    """Of each labelled review's target, the share that is its label; None if they are not written."""
    name = options.label_share_column
    if name is None:
        return np.full(len(training), options.label_share) if options.label_share else None
    column = training.groups[name]
    try:
        shares: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise InputError(
            f"{options.input}: {name} must be numbers from 0 to 1, not {column.type}; correct the column"
        ) from error
    wrong = ~((shares >= 0) & (shares <= 1))  # NaN is neither
    if wrong.any():
        raise InputError(
            f"{options.input}: {name} is {shares[wrong][0]:g} in {wrong.sum():,} rows, not from 0 to 1; correct them"
        )
    return shares


def _labels(
    options: argparse.Namespace,
    ensemble: Ensemble,
    training: Labelled,
    shares: npt.NDArray[np.float64] | None,
    to_label: Callable[[], Iterator[pa.Array]],
) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Texts and their targets, in parts: labelled ones, unlabelled ones, sentences of both."""
    if shares is not None:
        start = 0
        for texts in training.batches():
            part = slice(start, start + len(texts))
            own, share = training.positive[part].astype(np.float64), shares[part]
            start += len(texts)
            yield texts, pa.array(share * own + (1 - share) * ensemble.probabilities(texts))
    for texts in to_label():
        yield texts, pa.array(ensemble.probabilities(texts))
    if options.sentences:
        judge = ensemble.of_short_texts()
        for texts in chain(training.batches(), to_label()):
            sentences = cut_sentences(texts, per_text=options.sentences, seed=options.seed)
            yield sentences, pa.array(judge(sentences))
