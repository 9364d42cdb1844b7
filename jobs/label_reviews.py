"""Label reviews with an ensemble, as a table that `sentiment train --teacher-labels` learns from (distillation)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labelled_reviews import (
    TEACHER_COLUMN,
    add_label_arguments,
    column_names,
    held_out_rows,
    holdout_column,
    read_batches,
    read_labelled,
)
from sentiment_core.artifact import load_model
from sentiment_core.distillation import Ensemble
from sentiment_core.errors import UsageError
from sentiment_core.text import valid_utf8

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
    models = [load_model(path) for path in options.models]
    columns = {source: _columns(source, options) for source in options.unlabelled}
    training, held_out = read_labelled(options).parts()
    ensemble = Ensemble.fit(models, training, held_out=held_out)
    report = ensemble.report(held_out)
    for name, quality in report.items():
        _LOGGER.info("%s: accuracy %.4f, log loss %.4f", name, quality["accuracy"], quality["log_loss"])

    staging = options.output.with_name(options.output.name + ".new")
    staging.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({"text": pa.large_string(), TEACHER_COLUMN: pa.float64()})
    n_texts = 0
    try:
        with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
            for texts in _unlabelled(columns, fraction=options.validation_fraction):
                probabilities = pa.array(ensemble.probabilities(texts))
                writer.write_table(pa.table({"text": texts, TEACHER_COLUMN: probabilities}, schema=schema))
                n_texts += len(texts)
                _LOGGER.info("%s texts labelled", f"{n_texts:,}")
        staging.replace(options.output)
    finally:
        staging.unlink(missing_ok=True)
    emit({"output": str(options.output), "texts": n_texts, "weights": ensemble.weights.tolist(), **report})
    return f"labelled {n_texts:,} texts in {options.output}: ensemble accuracy {report['ensemble']['accuracy']:.4f}"


def _columns(source: str, options: argparse.Namespace) -> tuple[str, str | None]:
    """Text column of a table, and the column that decides what is held out: that of the labelled reviews, if it has it.

    The model that learns from the labels is measured on the held-out reviews, so they must not be among them.
    """
    decides = holdout_column(options.input, product_column=options.product_column)
    names = column_names(source, needed=[options.text_column])
    return options.text_column, decides if decides in names else None


def _unlabelled(columns: Mapping[str, tuple[str, str | None]], *, fraction: float) -> Iterator[pa.Array]:
    """Texts in batches, without those held out."""
    for source, (text_column, product_column) in columns.items():
        for batch in read_batches(source, [text_column, *([product_column] if product_column else [])]):
            held_out = held_out_rows(batch, text_column=text_column, product_column=product_column, fraction=fraction)
            texts = valid_utf8(batch[text_column].filter(pa.array(~held_out))).drop_null()
            if len(texts):
                yield texts
