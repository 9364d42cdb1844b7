"""Read review tables for training and evaluation on one machine, without Spark."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.json

from jobs.labels.grades import POSITIVE_LABEL_HELP, grades_of
from jobs.raw.conversion import RawFile, convert, folder_of
from jobs.raw.options import ReadingSettings, add_reading_arguments
from jobs.raw.sources import choose_files
from sentiment_core.dataset.holdout import Split, held_out_mask
from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError, UsageError
from sentiment_core.text.pipeline import valid_utf8

__all__ = [
    "TEACHER_COLUMN",
    "LabelledInput",
    "LabelledReviews",
    "add_label_arguments",
    "column_names",
    "held_out_rows",
    "holdout_column",
    "holdout_columns",
    "read_batches",
    "read_elsewhere",
    "read_labelled",
    "read_table",
    "read_teacher_labels",
    "read_texts",
]

_LOGGER = logging.getLogger(__name__)

# Of the first block the types of the columns are guessed, and no record may be longer than one.
_BLOCK_BYTES = 16 << 20
_JSON = ds.JsonFileFormat(read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES))

_READING = ReadingSettings()
# In CSV files: what stands for no label, and words that need no explanation with their numbers.
_NO_LABEL = ("", "na", "n/a", "nan", "null", "none", "#n/a")
_WORDS = {"false": 0.0, "true": 1.0, "negative": 0.0, "positive": 1.0}
ROWS_PER_BATCH = 20_000
# With fewer, a share of the products is no share of the reviews.
_FEWEST_PRODUCTS = 50

TEACHER_COLUMN = "teacher_probability"


@dataclass(frozen=True, kw_only=True)
class LabelledInput:
    """Where labelled reviews are, and how they are split.

    Parameters
    ----------
    input : str
        Parquet, CSV or JSON lines; a file or a directory.
    text_column, label_column : str
    positive_above : float
        A larger label is positive.
    positive_label : str, optional
        The word that is positive, for labels that are words.
    soft_labels : bool
        The labels are probabilities from 0 to 1 and are learnt as they are.
    product_column : str
        Reviews of one product are held out together.
    validation_fraction : float
        Share held out.
    reading : ReadingSettings
        How CSV and JSON files are read.

    Raises
    ------
    UsageError
        If labels would be numbers and words.
    """

    input: str
    text_column: str = "text"
    label_column: str = "label"
    positive_above: float = 0.5
    positive_label: str | None = None
    soft_labels: bool = False
    product_column: str = "product_id"
    validation_fraction: float = 0.1
    reading: ReadingSettings = _READING

    def __post_init__(self) -> None:
        if self.soft_labels and self.positive_label is not None:
            raise UsageError("--soft-labels takes numbers from 0 to 1 and --positive-label a word; give one of the two")


@dataclass(frozen=True, kw_only=True)
class LabelledReviews:
    """Reviews with a label.

    Attributes
    ----------
    reviews : Labelled, N reviews
    held_out : array of bool, shape (N,)
        Which ones training does not see.
    split : Split
        What decided on them.
    n_unlabelled : int
        Reviews of the input that have no label.
    """

    reviews: Labelled
    held_out: npt.NDArray[np.bool_]
    split: Split
    n_unlabelled: int

    def parts(self) -> tuple[Labelled, Labelled]:
        """What is trained on, and what is held out and has a clear label."""
        measured = self.held_out & self.reviews.clear()
        if n_unclear := np.count_nonzero(self.held_out) - np.count_nonzero(measured):
            _LOGGER.info("%s held-out reviews have a label between 1/3 and 2/3 and are not measured", f"{n_unclear:,}")
        return self.reviews.where(~self.held_out), self.reviews.where(measured)


def add_label_arguments(parser: argparse.ArgumentParser, *, input_required: bool = True, split: bool = True) -> None:
    """The options that say where the labelled reviews are, and how they are split; without ``split`` into halves."""
    parser.add_argument(
        "--input", required=input_required, metavar="PATH", help="Parquet, CSV or JSON lines; file or directory"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument("--label-column", default="label", metavar="NAME")
    parser.add_argument("--positive-above", type=float, default=0.5, metavar="X", help="a larger label is positive")
    parser.add_argument("--positive-label", metavar="WORD", help=POSITIVE_LABEL_HELP)
    if split:
        parser.add_argument(
            "--soft-labels",
            action="store_true",
            help="the labels are probabilities from 0 to 1 and are learnt as they are; held-out reviews between 1/3 "
            "and 2/3 are not measured",
        )
    parser.add_argument(
        "--product-column", default="product_id", metavar="NAME", help="reviews of one product are held out together"
    )
    if split:
        parser.add_argument("--validation-fraction", type=float, default=0.1, metavar="F", help="share held out")
    else:
        parser.set_defaults(soft_labels=False, validation_fraction=0.5)
    add_reading_arguments(parser)


def read_table(source: str | Path, columns: list[str], *, reading: ReadingSettings = _READING) -> pa.Table:
    """Read some columns of a file, or of a directory of files.

    Raises
    ------
    InputError
        If the file or a column is missing or cannot be read.
    """
    with _refusing_damaged(source):
        return _open(source, columns, reading=reading).to_table(columns=list(dict.fromkeys(columns)))


def read_batches(
    source: str | Path, columns: list[str], *, reading: ReadingSettings = _READING
) -> Iterator[pa.RecordBatch]:
    """Like `read_table`, in batches that fit the memory whatever the table's size."""
    with _refusing_damaged(source):
        yield from _open(source, columns, reading=reading).to_batches(
            columns=list(dict.fromkeys(columns)), batch_size=ROWS_PER_BATCH
        )


def column_names(source: str | Path, *, reading: ReadingSettings = _READING) -> list[str]:
    """Names of the columns of a file or directory."""
    with _refusing_damaged(source):
        names: list[str] = _open(source, [], reading=reading).schema.names
        return names


def read_labelled(given: LabelledInput, *, group_columns: Sequence[str] = ()) -> LabelledReviews:
    """Read labelled reviews, and columns to group them by.

    Raises
    ------
    InputError
        If the input cannot be read or a column is of an unusable type.
    """
    columns = [given.text_column, given.label_column]
    product_column = holdout_column(
        given.input, product_column=given.product_column, text_column=given.text_column, reading=given.reading
    )
    names = [*columns, *group_columns, *([product_column] if product_column is not None else [])]
    table = read_table(given.input, names, reading=given.reading)
    if given.positive_label is None:
        table = _with_numbers(table, given.label_column)
    labels, positive_above = grades_of(
        table[given.label_column], positive_above=given.positive_above, positive_label=given.positive_label
    )
    labelled = pc.fill_null(pc.is_finite(labels), False)
    n_unlabelled = len(labels) - pc.sum(labelled, min_count=0).as_py()
    if n_unlabelled:
        table, labels = table.filter(labelled), labels.filter(labelled)
        _LOGGER.info("%s reviews have no label and are left out", f"{n_unlabelled:,}")
    grades = labels.to_numpy()
    part = partial(
        held_out_rows,
        text_column=given.text_column,
        product_column=product_column,
        fraction=given.validation_fraction,
    )
    # In batches: the keys may be the texts, which need not be held a second time.
    held_out = [part(batch) for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH)]
    return LabelledReviews(
        reviews=Labelled(
            texts=valid_utf8(table[given.text_column]),
            positive=_soft(grades, given) if given.soft_labels else grades > positive_above,
            grades=grades,
            groups={name: table[name].combine_chunks() for name in group_columns},
        ),
        held_out=np.concatenate([np.empty(0, np.bool_), *held_out]),
        split=Split(column=product_column or given.text_column, fraction=given.validation_fraction),
        n_unlabelled=n_unlabelled,
    )


def _soft(labels: npt.NDArray[np.float64], given: LabelledInput) -> npt.NDArray[np.float64]:
    wrong = (labels < 0) | (labels > 1)
    if wrong.any():
        raise InputError(
            f"{given.input}: {given.label_column} is {labels[wrong][0]:g} in {wrong.sum():,} rows; with "
            "--soft-labels it must be from 0 to 1"
        )
    return labels


def read_elsewhere(source: str | Path) -> Labelled:
    """Read labelled reviews of other domains: columns text, label and domain.

    Raises
    ------
    InputError
        If a label is not 0 or 1, all are of one class, or a column is of an unusable type.
    """
    table = read_table(source, ["text", "label", "domain"])
    try:
        labels = _with_numbers(table, "label")["label"].cast(pa.float64()).to_numpy()
        domains = table["domain"].cast(pa.large_string()).combine_chunks()
    except pa.ArrowException as error:
        raise InputError(f"{source}: label must be numbers and domain words ({error})") from error
    if set(labels.tolist()) != {0.0, 1.0}:
        raise InputError(f"{source}: the column label must hold 0 and 1, both and nothing else; correct it")
    return Labelled(texts=valid_utf8(table["text"]), positive=labels == 1, groups={"domain": domains})


def read_teacher_labels(source: str | Path) -> Labelled:
    """Read a table that `sentiment label` wrote.

    Raises
    ------
    InputError
        If a column is missing or a probability is none.
    """
    table = _with_numbers(read_table(source, ["text", TEACHER_COLUMN]), TEACHER_COLUMN)
    kind = table.schema.field(TEACHER_COLUMN).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputError(f"{source}: {TEACHER_COLUMN} must be numbers, not {kind}; write it with `sentiment label`")
    probabilities = table[TEACHER_COLUMN].cast(pa.float64()).to_numpy()
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        raise InputError(
            f"{source}: {TEACHER_COLUMN} is {probabilities[wrong][0]} in {wrong.sum():,} rows, not from 0 to 1; "
            "write the table with `sentiment label`"
        )
    return Labelled(texts=valid_utf8(table["text"]), positive=probabilities)


def holdout_column(
    source: str | Path, *, product_column: str, text_column: str = "text", reading: ReadingSettings = _READING
) -> str | None:
    """The product column if the table has enough products to hold some of them out, else None: hold out by text."""
    if product_column not in _open(source, [text_column], reading=reading).schema.names:
        return None
    products: set[str] = set()
    for batch in read_batches(source, [product_column], reading=reading):
        products.update(_keys(batch[product_column]).unique().drop_null().to_pylist())
        if len(products) >= _FEWEST_PRODUCTS:
            return product_column
    _LOGGER.info(
        "%s has %d products, fewer than %d: reviews are held out one by one", source, len(products), _FEWEST_PRODUCTS
    )
    return None


def holdout_columns(
    sources: Sequence[str], *, text_column: str, product_column: str, reading: ReadingSettings = _READING
) -> dict[str, str | None]:
    """What decides on the held-out part of each table: for all what does for the first one, where they have it.

    Raises
    ------
    InputError
        If a table cannot be opened or has no such text column.
    """
    columns = {source: _open(source, [text_column], reading=reading).schema.names for source in sources}
    first = holdout_column(sources[0], product_column=product_column, text_column=text_column, reading=reading)
    return {source: first if first in names else None for source, names in columns.items()}


def held_out_rows(
    batch: pa.RecordBatch, *, text_column: str, product_column: str | None, fraction: float
) -> npt.NDArray[np.bool_]:
    """Which rows are held out: by product if a column is named, else by text."""
    keys = _keys(batch[product_column or text_column])
    if keys.null_count and product_column is not None:
        keys = pc.coalesce(keys, _keys(batch[text_column]))
    return held_out_mask(keys, fraction=fraction)


def read_texts(
    product_columns: Mapping[str, str | None],
    *,
    text_column: str,
    fraction: float,
    held_out: bool,
    reading: ReadingSettings = _READING,
) -> Iterator[pa.Array]:
    """The texts of tables in batches, either those held out or the others; `holdout_columns` gives the tables."""
    for source, product_column in product_columns.items():
        columns = [text_column, *([product_column] if product_column else [])]
        for batch in read_batches(source, columns, reading=reading):
            rows = held_out_rows(batch, text_column=text_column, product_column=product_column, fraction=fraction)
            texts = valid_utf8(batch[text_column].filter(pa.array(rows == held_out))).drop_null()
            if len(texts):
                yield texts


def _with_numbers(table: pa.Table, name: str) -> pa.Table:
    """The table with numbers in a column, if all of its words are some, as in CSV files."""
    words = table[name]
    if not (pa.types.is_string(words.type) or pa.types.is_large_string(words.type)):
        return table
    words = pc.utf8_trim_whitespace(words)
    lower = pc.utf8_lower(words)
    words = pc.if_else(pc.is_in(lower, pa.array(_NO_LABEL, lower.type)), None, words)
    try:
        numbers = words.cast(pa.float64())
    except pa.ArrowInvalid:
        known = pc.index_in(lower, pa.array(_WORDS, lower.type))
        if pc.any(pc.and_(pc.is_valid(words), pc.is_null(known))).as_py():
            return table
        numbers = pc.take(pa.array(_WORDS.values()), known)
    return table.set_column(table.schema.get_field_index(name), name, numbers)


def _keys(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as strings; bytes that are no UTF-8 are replaced, as in a text."""
    kind = column.type
    numbers = pa.types.is_primitive(kind) or pa.types.is_decimal(kind)  # dates and booleans, too
    return valid_utf8(column.cast(pa.large_string()) if numbers else column)


def _open(source: str | Path, columns: list[str], *, reading: ReadingSettings) -> ds.Dataset:
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or directory; check --input")
    chosen = choose_files(str(source), _data_files(path))
    kind = chosen.format
    if chosen.passed_over:
        _LOGGER.info("%s: passed over as no data: %s", source, ", ".join(chosen.passed_over))
    files: Path | list[str] = [str(path / name) for name in chosen.names] if path.is_dir() else path
    root, file_format = path, ds.ParquetFileFormat()
    if kind != "parquet":
        raw = [_raw_file(path, name) for name in chosen.names]
        converted = convert(raw, source=str(source), file_format=kind, settings=reading, wanted=tuple(columns))
        if converted.malformed.records:
            _LOGGER.warning("%s: %s malformed records are left out", source, f"{len(converted.malformed.records):,}")
        root = files = converted.folder
        file_format = ds.ParquetFileFormat() if converted.format == "parquet" else _JSON
    try:
        partitioning = ds.HivePartitioning.discover() if root.is_dir() else None
        dataset = ds.dataset(files, format=file_format, partitioning=partitioning, partition_base_dir=str(root))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: is no readable {kind} ({type(error).__name__}); check the file") from error
    for name in columns:
        if name not in dataset.schema.names:
            n_columns = len(dataset.schema.names)
            raise InputError(f"{source}: the column {name!r} is missing among {n_columns}; name it with an option")
    return dataset


def _data_files(path: Path) -> list[str]:
    """Files at or below a path, relative to it, without hidden ones."""
    if not path.is_dir():
        return [""]
    names = (file.relative_to(path).parts for file in path.rglob("*") if file.is_file())
    return sorted("/".join(parts) for parts in names if not any(part.startswith(("_", ".")) for part in parts))


def _raw_file(path: Path, name: str) -> RawFile:
    file = path / name
    status = file.stat()
    return RawFile(
        name=str(file),
        folder=folder_of(name),
        version=(status.st_size, status.st_mtime_ns),
        local=lambda: nullcontext(file),
    )


@contextmanager
def _refusing_damaged(source: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{source}: cannot be read ({type(error).__name__}); a file is damaged, or a column changes its type: "
            "replace it, or write it as Parquet"
        ) from error
