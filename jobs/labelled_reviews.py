"""Read review tables for training and evaluation on one machine, without Spark."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sentiment_core.errors import InputError
from sentiment_core.holdout import held_out_mask

__all__ = ["add_label_arguments", "held_out_rows", "positive_labels", "read_batches", "read_table"]

_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
_ROWS_PER_BATCH = 20_000


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where the labelled reviews are."""
    parser.add_argument("--input", required=True, metavar="PATH", help="Parquet, CSV or JSON lines; file or directory")
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument("--label-column", default="label", metavar="NAME")
    parser.add_argument("--positive-above", type=float, default=0.5, metavar="X", help="a larger label is positive")
    parser.add_argument(
        "--product-column", default="product_id", metavar="NAME", help="reviews of one product are held out together"
    )
    parser.add_argument("--validation-fraction", type=float, default=0.1, metavar="F", help="share held out")


def read_table(source: str | Path, columns: list[str], *, optional: tuple[str, ...] = ()) -> pa.Table:
    """Read some columns of a table.

    Parameters
    ----------
    source : path
        A file, or a directory of such files.
    columns : list of str
        Must be there.
    optional : tuple of str
        Read if they are there.

    Raises
    ------
    InputError
        If the file or a column is missing or cannot be read.
    """
    dataset = _open(source, columns)
    found = [name for name in optional if name in dataset.schema.names and name not in columns]
    try:
        return dataset.to_table(columns=[*columns, *found])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: cannot be read ({type(error).__name__}); a file is damaged: replace it") from error


def read_batches(source: str | Path, columns: list[str], *, optional: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
    """Like `read_table`, in batches that fit the memory whatever the table's size."""
    dataset = _open(source, columns)
    found = [name for name in optional if name in dataset.schema.names and name not in columns]
    try:
        yield from dataset.to_batches(columns=[*columns, *found], batch_size=_ROWS_PER_BATCH)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: cannot be read ({type(error).__name__}); a file is damaged: replace it") from error


def positive_labels(labels: pa.ChunkedArray, *, positive_above: float) -> npt.NDArray[np.bool_]:
    """Labels as booleans: booleans themselves, or numbers that are larger than the bound.

    Raises
    ------
    InputError
        If the labels are neither, or some are missing.
    """
    if labels.null_count:
        raise InputError(f"{labels.null_count:,} labels are missing; leave those reviews out of the input")
    if pa.types.is_boolean(labels.type):
        flags: npt.NDArray[np.bool_] = labels.to_numpy().astype(np.bool_)
        return flags
    if not (pa.types.is_integer(labels.type) or pa.types.is_floating(labels.type) or pa.types.is_decimal(labels.type)):
        raise InputError(f"labels must be numbers or booleans, not {labels.type}; name another --label-column")
    values = labels.cast(pa.float64()).to_numpy()
    if np.isnan(values).any():
        raise InputError(f"{np.isnan(values).sum():,} labels are NaN; leave those reviews out of the input")
    positive: npt.NDArray[np.bool_] = values > positive_above
    return positive


def held_out_rows(
    batch: pa.Table | pa.RecordBatch, *, text_column: str, product_column: str, fraction: float
) -> npt.NDArray[np.bool_]:
    """Which rows are held out: by product where there is one, else by text."""
    keys = batch[text_column].cast(pa.string())
    if product_column in batch.schema.names:
        keys = pc.coalesce(batch[product_column].cast(pa.string()), keys)
    return held_out_mask(keys, fraction=fraction)


def _open(source: str | Path, columns: list[str]) -> ds.Dataset:
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or directory; check --input")
    kind = _SUFFIXES.get(path.suffix, "parquet")
    try:
        dataset = ds.dataset(path, format=kind, partitioning="hive" if path.is_dir() else None)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: is no readable {kind} ({type(error).__name__}); check the file") from error
    if not dataset.schema.names:
        raise InputError(f"{source}: no data file there; name a file or a directory that holds some")
    for name in columns:
        if name not in dataset.schema.names:
            raise InputError(f"{source}: the column {name!r} is missing, there are: {', '.join(dataset.schema.names)}")
    return dataset
