"""Labels that people gave: in a column of the scores, or in a file of labelled reviews."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.labels.columns import is_positive
from jobs.labels.sheet import MARK, is_label_sheet
from jobs.tables.reading import open_table, refusing_unreadable
from jobs.tables.scores import column
from sentiment_core.errors import InputError

__all__ = ["FEWEST_LABELS", "LabelColumn", "LabelFile", "Labels", "open_label_file"]

_LOGGER = logging.getLogger(__name__)

# With fewer in a file, nothing is learnt that the model does not know.
FEWEST_LABELS = 10
# A larger weight would be one of millions of reviews; sums of its square would not be exact.
_LARGEST_WEIGHT = 1_000_000
_POSITIVE, _NEGATIVE = ("1", "1.0", "positive", "true"), ("0", "0.0", "negative", "false")


@dataclass(frozen=True, kw_only=True)
class LabelColumn:
    """Labels in a column of the scores, each of weight 1; NULL where a review has none.

    Attributes
    ----------
    name : str
    positive_above : float
        A larger number is positive, where labels are numbers.
    positive_label : str or None
        The label that is positive, where labels are words.
    """

    name: str
    positive_above: float
    positive_label: str | None = None

    def label(self, schema: T.StructType) -> Column:
        """1, 0 or NULL."""
        positive = is_positive(
            schema, self.name, positive_above=self.positive_above, positive_label=self.positive_label
        )
        return positive.cast("int")


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """Labels of single reviews, with weights.

    Attributes
    ----------
    path : str
    labels : DataFrame
        ``_labelled_id`` as text, ``_label`` (1 or 0) and ``_weight``; one row a labelled review.
    digest : str
        Of these rows, in any order.
    n_labels, n_blank : int
        Rows with a label, and those that nobody filled in.
    """

    path: str
    labels: DataFrame
    digest: str
    n_labels: int
    n_blank: int

    def joined(self, scores: DataFrame, *, id_column: str) -> DataFrame:
        """The scores with ``_label`` and ``_weight``; NULL where a review is not in the file."""
        same = column(id_column).cast("string") == F.col("_labelled_id")
        return scores.join(F.broadcast(self.labels), same, "left").drop("_labelled_id")


Labels = LabelColumn | LabelFile


def open_label_file(session: SparkSession, path: str, *, id_column: str) -> LabelFile:
    """Read a file of labelled reviews, such as `sentiment sample` writes and people fill in.

    Parameters
    ----------
    session : SparkSession
    path : str
        CSV or Parquet with the columns ``id_column``, ``label`` (0, 1, negative or positive; blank rows are left out)
        and ``weight``, the inverse of the chance with which the review was drawn; without that column all weigh the
        same.
    id_column : str

    Raises
    ------
    InputError
        If a column is missing, a label or weight makes no sense, a review is there twice, or labels are too few.
    """
    with refusing_unreadable(path):
        frame = open_table(session, path)
        for name in (id_column, "label"):
            if name not in frame.columns:
                raise InputError(
                    f"{path}: the column {name!r} is missing, the file has: {', '.join(frame.columns)}; --labels reads "
                    "what `sentiment sample` writes"
                )
        if "weight" not in frame.columns:
            _LOGGER.warning("%s has no column 'weight': all labels weigh the same", path)
        weight = column("weight") if "weight" in frame.columns else F.lit(1.0)
        rows = frame.select(
            _id_text(frame.schema, id_column).alias("labelled_id"),
            F.lower(F.trim(column("label").cast("string"))).alias("word"),
            _number(weight, frame.schema).alias("weight"),
        ).toArrow()
    filled, n_blank = [], 0
    wrong = {"labels that are neither 0 nor 1, negative nor positive": 0, "labels without an id": 0}
    wrong[f"weights that are no number above 0 and up to {_LARGEST_WEIGHT:,}"] = 0
    for key, word, given in zip(*(rows[name].to_pylist() for name in ("labelled_id", "word", "weight"))):
        if word in (None, "", "nan"):
            n_blank += 1
            continue
        faults = (
            word not in (*_POSITIVE, *_NEGATIVE),
            not key,
            given is None or not 0 < given <= _LARGEST_WEIGHT,
        )
        for reason, fault in zip(wrong, faults):
            wrong[reason] += fault
        filled.append((key, int(word in _POSITIVE), given))
    for reason, count in wrong.items():
        if count:
            raise InputError(f"{path}: {count:,} {reason}; correct them")
    twice = len(filled) - len({key for key, _, _ in filled})
    if twice:
        raise InputError(f"{path}: {twice:,} reviews are labelled more than once; leave one row of each")
    if len(filled) < FEWEST_LABELS:
        raise InputError(
            f"{path}: {len(filled)} reviews are labelled ({n_blank:,} rows are blank), at least {FEWEST_LABELS} are "
            "needed; fill in the column 'label'"
        )
    if n_blank:
        _LOGGER.warning("%s: %d rows have no label and are left out", path, n_blank)
    filled.sort()
    table = pa.table(
        {
            "_labelled_id": pa.array([key for key, _, _ in filled], pa.string()),
            "_label": pa.array([label for _, label, _ in filled], pa.int32()),
            "_weight": pa.array([given for _, _, given in filled], pa.float64()),
        }
    )
    return LabelFile(
        path=path,
        labels=session.createDataFrame(table),
        digest=hashlib.sha256(repr(filled).encode()).hexdigest()[:16],
        n_labels=len(filled),
        n_blank=n_blank,
    )


def _id_text(schema: T.StructType, name: str) -> Column:
    """An id as text, without the apostrophe of a sheet; a whole number that a program wrote as 7.0 is 7."""
    kind = schema[name].dataType
    if isinstance(kind, T.StringType) and is_label_sheet(schema.names):
        return F.regexp_replace(column(name), f"^{MARK}", "")
    if isinstance(kind, T.DoubleType | T.FloatType):
        return column(name).cast("decimal(20,0)").cast("string")
    return column(name).cast("string")


def _number(weight: Column, schema: T.StructType) -> Column:
    """A weight as a number; spreadsheet programs may write it with a decimal comma."""
    is_text = "weight" in schema.names and isinstance(schema["weight"].dataType, T.StringType)
    return (F.translate(F.trim(weight), ",", ".") if is_text else weight).try_cast("double")
