"""Label reviews with an ensemble, as a table that `sentiment train --teacher-labels` learns from (distillation)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labelled_reviews import (
    TEACHER_COLUMN,
    add_label_arguments,
    holdout_columns,
    read_labelled,
    read_texts,
)
from jobs.tables.reading_options import ReadingSettings
from sentiment_core.artifact import load_model
from sentiment_core.distillation import Ensemble
from sentiment_core.durable import make_parent
from sentiment_core.errors import EnvironmentFault, InputError, UsageError
from sentiment_core.labelled import without_texts_of

__all__ = ["add_arguments", "run"]

_LOGGER = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``label`` verb."""
    add_label_arguments(parser)
    parser.add_argument("--unlabelled", nargs="+", required=True, metavar="PATH", help="review tables to label")
    parser.add_argument("--models", nargs="+", required=True, metavar="DIR", help="members, trained on the same split")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.parquet")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Fit the ensemble, label, write, and emit the quality of the members and of the whole."""
    if options.output.suffix != ".parquet" or options.output.is_dir():
        raise UsageError(f"{options.output}: name a file that ends in .parquet with --output")
    make_parent(options.output)
    models = [load_model(path) for path in options.models]
    reading = ReadingSettings.of(options)
    # The labelled reviews decide: the model that learns from the labels is measured on those held out of them.
    product_columns = holdout_columns(
        [options.input, *options.unlabelled],
        text_column=options.text_column,
        product_column=options.product_column,
        reading=reading,
    )
    unlabelled = {source: product_columns[source] for source in options.unlabelled}
    labelled = read_labelled(options)
    for path, model in zip(options.models, models):
        if labelled.split.differs_from(model.provenance):
            raise InputError(
                f"{path}: was trained on another split than this one ({labelled.split}) and may know what is measured; "
                "train all members on the same split"
            )
    training, held_out = labelled.parts()
    ensemble = Ensemble.fit(models, without_texts_of(training, held_out), held_out=held_out)
    report = ensemble.report(held_out)
    for name, quality in report.items():
        _LOGGER.info("%s: accuracy %.4f, log loss %.4f", name, quality["accuracy"], quality["log_loss"])

    staging = options.output.with_name(options.output.name + ".new")
    schema = pa.schema({"text": pa.large_string(), TEACHER_COLUMN: pa.float64()})
    n_texts = 0
    try:
        with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
            for texts in read_texts(
                unlabelled,
                text_column=options.text_column,
                fraction=options.validation_fraction,
                held_out=False,
                reading=reading,
            ):
                probabilities = pa.array(ensemble.probabilities(texts))
                writer.write_table(pa.table({"text": texts, TEACHER_COLUMN: probabilities}, schema=schema))
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
