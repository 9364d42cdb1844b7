"""A scores table seen as days: which folders hold which days, what changed since the last time, and reading some days.

A folder is the unit of change, since publishing replaces whole partitions. The days of a folder are remembered, so that
a day is read from the folders that hold it and from no other, however the table is partitioned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.labels.known import LabelColumn, LabelFile, Labels
from jobs.marts.counts import month_of
from jobs.marts.quality import DateCounts, DateWindow
from jobs.storage.java import java_class
from jobs.tables.dates import ISO_DATES, DateForms, date_literal
from jobs.tables.exact import exact_reader
from jobs.tables.extras import DRIVERS, is_extra
from jobs.tables.reading import hadoop_path, refusing_unreadable
from jobs.tables.scores import SCORE_FIELDS, column
from sentiment_core.errors import InputError
from sentiment_core.scoring.status import COUNTED, STATUSES, UNSCORED

__all__ = ["Folder", "ScoreDays", "scored_twice"]

_DATE_TYPES = (T.DateType, T.TimestampType, T.TimestampNTZType, T.StringType)
_PRODUCT_TYPES = (T.StringType, T.IntegralType, T.DecimalType)
_FACTS = ("rows", "undated", "no_date", "misdated", "with_product", "with_drivers", "labelled", "unsound")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What a folder of the scores table holds.

    Attributes
    ----------
    files : str
        Digest of its files' names, sizes and times; differs when one was replaced.
    days : tuple of date
        Without those outside the window.
    rows, undated, misdated : int
        Undated rows have no date, misdated ones one that cannot be true; they are in no mart but ``data_quality``.
    with_drivers : int
        Rows that were scored with drivers.
    labelled : int
        Rows with a label in the column of labels.
    run_dates : tuple of pairs of str and DateCounts
        The rows by run date.
    """

    files: str
    days: tuple[date, ...]
    rows: int
    undated: int
    misdated: int = 0
    with_drivers: int = 0
    labelled: int = 0
    run_dates: tuple[tuple[str, DateCounts], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        run_dates = {run_date: list(asdict(counts).values()) for run_date, counts in self.run_dates}
        return {**asdict(self), "days": list(map(str, self.days)), "run_dates": run_dates}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Folder:
        """Of JSON."""
        run_dates = value.get("run_dates", {}).items()
        counted = ((name, DateCounts(reviews=n, undated=none, misdated=off)) for name, (n, none, off) in run_dates)
        return cls(
            **{**value, "days": tuple(map(date.fromisoformat, value["days"])), "run_dates": tuple(sorted(counted))}
        )


class ScoreDays:
    """The scores table.

    Parameters
    ----------
    session : SparkSession
    path : str
        Directory of the table or one Parquet file, any Hadoop URI.
    product_column, date_column : str
    dates : DateForms
        How texts tell dates.
    window : DateWindow
        Which dates a review can have.
    labels : LabelColumn or LabelFile, optional
        What is known of the truth.
    id_column : str
        By which a file of labels names reviews.

    Raises
    ------
    InputError
        If there is no Parquet file.
    """

    def __init__(
        self,
        session: SparkSession,
        path: str,
        *,
        product_column: str,
        date_column: str,
        dates: DateForms = ISO_DATES,
        window: DateWindow | None = None,
        labels: Labels | None = None,
        id_column: str = "review_id",
    ) -> None:
        self._session = session
        self._path = path
        self._product_column = product_column
        self._date_column = date_column
        self._dates = dates
        self._window = window or DateWindow()
        self._labels = labels
        self._id_column = id_column
        self._fs, self._root = hadoop_path(session, path)
        if not self._fs.exists(self._root):
            raise InputError(f"{path}: no such path; check --scores")
        # As the files lie now: what changes while they are read is found changed the next time.
        self.files = self._list_files()
        if not self.files:
            raise InputError(f"{path}: no Parquet file there; name the output of `sentiment score`")

    @property
    def labelled(self) -> bool:
        """Whether some reviews may have a label."""
        return self._labels is not None

    def folders_of(self, days: Iterable[date]) -> set[str] | None:
        """Folders named after these days; None if the table is not partitioned by the date column alone."""
        names = {f"{self._date_column}={day}" for day in days}
        dated = all(name.startswith(f"{self._date_column}=") and "/" not in name for name in self.files)
        return {name for name in self.files if name in names} if dated else None

    def inspect(self, folders: Iterable[str]) -> dict[str, Folder]:
        """Read what marts need to know of these folders, and refuse rows that no mart could count.

        Raises
        ------
        InputError
            If a column is missing or of another type, or values break the contract.
        """
        wanted = sorted(folders)
        if not wanted:
            return {}
        frame = self.read(wanted)
        self._check_columns(frame.schema)
        day, written = self._day(frame.schema), self._dates.day(frame.schema, self._date_column)
        status, probability = F.col("score_status"), F.col("positive_probability")
        sound = F.when(status.isin(*UNSCORED), probability.isNull())
        sound = sound.when(status.isin(*STATUSES), probability.between(0, 1) & F.col("sentiment").isNotNull())
        folder = F.regexp_replace("_metadata.file_path", "/[^/]*$", "").alias("folder")
        rows = frame.groupBy(folder, column("run_date").cast("string").alias("run_date")).agg(
            F.collect_set(day).alias("days"),
            F.count(F.lit(1)).alias("rows"),
            F.count_if(self._dates.is_blank(frame.schema, self._date_column)).alias("undated"),
            F.count_if(self._dates.is_no_date(frame.schema, self._date_column)).alias("no_date"),
            F.count_if(written.isNotNull() & day.isNull()).alias("misdated"),
            F.count(column(self._product_column)).alias("with_product"),
            F.count(self._drivers(frame)["kind"]).alias("with_drivers"),
            F.count(self._label(frame.schema)).alias("labelled"),
            F.count_if(~F.coalesce(sound, F.lit(False))).alias("unsound"),
        )
        with refusing_unreadable(self._path):
            collected = rows.collect()
        # A folder whose files have no row is in no result.
        by_folder: dict[str, list[Any]] = {name: [] for name in wanted}
        for row in collected:
            by_folder[self._relative(row["folder"])].append(row)
        return {name: self._folder(name, of_runs) for name, of_runs in by_folder.items()}

    def _folder(self, name: str, of_runs: Sequence[Any]) -> Folder:
        """One folder of counts by run date."""
        counts = {count: sum(row[count] for row in of_runs) for count in _FACTS}
        self._check_rows(name or self._path, counts)
        return Folder(
            files=self.files[name],
            days=tuple(sorted({day for row in of_runs for day in row["days"]})),
            **{count: counts[count] for count in ("rows", "undated", "misdated", "with_drivers", "labelled")},
            run_dates=tuple(
                sorted(
                    (
                        row["run_date"],
                        DateCounts(reviews=row["rows"], undated=row["undated"], misdated=row["misdated"]),
                    )
                    for row in of_runs
                    if row["run_date"] is not None
                )
            ),
        )

    def read_days(self, folders: Iterable[str], days: Iterable[date]) -> DataFrame:
        """The score columns, ``product`` and ``day`` of the rows of some days, read from these folders.

        With labels also ``label``, 1, 0 or NULL, and ``weight``.
        """
        frame = self.read(sorted(folders))
        labels = {}
        if isinstance(self._labels, LabelColumn):
            labels = {"label": self._labels.label(frame.schema), "weight": F.lit(1.0)}
        elif isinstance(self._labels, LabelFile):
            labels = {"label": F.col("_label"), "weight": F.col("_weight")}
            frame = self._labels.joined(frame, id_column=self._id_column)
        dated = frame.select(
            column(self._product_column).alias("product"),
            self._day(frame.schema).alias("day"),
            *(column(name) for name in SCORE_FIELDS.names if name != "run_date"),
            *(value.alias(name) for name, value in labels.items()),
        )
        return dated.where(F.col("day").isin(*map(date_literal, sorted(days))))

    def read_drivers(self, folders: Iterable[str], months: Iterable[str]) -> DataFrame:
        """``product``, ``month`` and ``drivers`` of the counted rows of some months that were scored with drivers."""
        frame = self.read(sorted(folders))
        named = frame.where(F.col("score_status").isin(*COUNTED)).select(
            column(self._product_column).alias("product"),
            month_of(self._day(frame.schema)).alias("month"),
            self._drivers(frame).alias(DRIVERS.name),
        )
        return named.where(F.col("month").isin(*sorted(months)) & F.col(DRIVERS.name)["kind"].isNotNull())

    def product_type(self) -> T.DataType:
        """Of the product column, in any folder."""
        return self.read(sorted(self.files)[-1:]).schema[self._product_column].dataType

    def found_labels(self, labels: LabelFile) -> tuple[int, int]:
        """Labelled reviews of a file that are in the scores, and those of them that count in shares."""
        frame = self.read(sorted(self.files))
        counts = F.col("score_status").isin(*COUNTED) & self._day(frame.schema).isNotNull()
        known = labels.joined(frame.withColumn("_counts", counts), id_column=self._id_column)
        by_review = known.where(F.col("_label").isNotNull()).groupBy(column(self._id_column))
        found = by_review.agg(F.max("_counts").alias("counts"))
        with refusing_unreadable(self._path):
            row = found.agg(F.count(F.lit(1)), F.count_if("counts")).collect()[0]
        return int(row[0]), int(row[1])

    def scored_twice(self, folders: Iterable[str], days: Iterable[date], *, id_column: str) -> int:
        """Reviews of some days that more than one run scored, so that they would count twice."""
        frame = self.read(sorted(folders))
        if id_column not in frame.columns:
            return 0
        with refusing_unreadable(self._path):
            wanted = map(date_literal, sorted(days))
            return scored_twice(frame.where(self._day(frame.schema).isin(*wanted)), id_column=id_column)

    def read(self, folders: list[str]) -> DataFrame:
        """The scores in some folders of the table, relative to it; an empty name is the table's own folder."""
        paths = [f"{self._root.toString()}/{name}" if name else self._root.toString() for name in folders]
        reader = exact_reader(self._session)
        if self._fs.getFileStatus(self._root).isDirectory():
            reader = reader.option("basePath", self._root.toString())
        with refusing_unreadable(self._path):
            return reader.parquet(*paths)

    def _drivers(self, frame: DataFrame) -> Column:
        """The drivers of a row; NULL where there are none, or a column of that name is the input's own."""
        own = DRIVERS.name in frame.columns and is_extra(frame.schema[DRIVERS.name])
        return column(DRIVERS.name) if own else F.lit(None).cast(DRIVERS.dataType)

    def _label(self, schema: T.StructType) -> Column:
        """The label of a row in the column of labels; NULL without such a column."""
        return self._labels.label(schema) if isinstance(self._labels, LabelColumn) else F.lit(None)

    def _day(self, schema: T.StructType) -> Column:
        """The date of a row; NULL where the column holds no date, or one outside the window."""
        day = self._dates.day(schema, self._date_column)
        return F.when(self._window.holds(day, run_date=column("run_date").cast("date")), day)

    def _check_columns(self, schema: T.StructType) -> None:
        for field in SCORE_FIELDS:
            if field.name not in schema.names:
                raise InputError(
                    f"{self._path}: the column {field.name!r} is missing; that is no scores table, or one of another "
                    "version: score again with this one"
                )
            kind = schema[field.name].dataType
            # The value of a partition comes back as a string, and of these columns only the date can be one.
            if kind != field.dataType and (field.name, kind) != ("run_date", T.StringType()):
                raise InputError(
                    f"{self._path}: the column {field.name!r} has the type {kind.simpleString()}, expected "
                    f"{field.dataType.simpleString()}; the table is of another version: score again with this one"
                )
        for name, option, kinds in (
            (self._product_column, "--product-column", _PRODUCT_TYPES),
            (self._date_column, "--date-column", _DATE_TYPES),
        ):
            if name not in schema.names:
                raise InputError(
                    f"{self._path}: the column {name!r} is missing, the table has: {', '.join(schema.names)}; name one "
                    f"with {option}, or score with --keep-columns {name}"
                )
            if not isinstance(schema[name].dataType, kinds):
                raise InputError(
                    f"{self._path}: the column {name!r} has the type {schema[name].dataType.simpleString()}; name "
                    f"another with {option}"
                )

        if isinstance(self._labels, LabelColumn) and self._labels.name not in schema.names:
            raise InputError(
                f"{self._path}: the column {self._labels.name!r} is missing, the table has: {', '.join(schema.names)}; "
                f"name one with --label-column, or score with --keep-columns {self._labels.name}"
            )
        if isinstance(self._labels, LabelFile) and self._id_column not in schema.names:
            raise InputError(
                f"{self._path}: the column {self._id_column!r} is missing, the table has: {', '.join(schema.names)}; "
                "name the one of --labels with --id-column"
            )

    def _check_rows(self, name: str, row: Mapping[str, int]) -> None:
        if row["no_date"]:
            raise InputError(f"{name}: {row['no_date']:,} rows {self._dates.refusal(self._date_column)}")
        if row["unsound"]:
            raise InputError(
                f"{name}: {row['unsound']:,} rows have a status, probability or label that this version does not "
                "write; score again with this one"
            )
        if row["rows"] and not row["with_product"]:
            raise InputError(
                f"{name}: no row has a {self._product_column!r}; score it again with --keep-columns "
                f"{self._product_column}"
            )

    def _list_files(self) -> dict[str, str]:
        """Digest of the files of each folder, by its path below the table; the table's own folder is ``""``."""
        if self._fs.getFileStatus(self._root).isFile():
            status = self._fs.getFileStatus(self._root)
            return {"": _digest([(status.getLen(), status.getModificationTime())])}
        found: dict[str, list[tuple[Any, ...]]] = {}
        listing = self._fs.listFiles(self._root, True)
        while listing.hasNext():
            status = listing.next()
            folder, _, name = self._below(status.getPath().toUri().getPath()).rpartition("/")
            hidden = re.search(r"(^|/)[_.]", f"{folder}/{name}" if folder else name)
            if not hidden and name.endswith(".parquet"):
                found.setdefault(folder, []).append((name, status.getLen(), status.getModificationTime()))
        return {folder: _digest(files) for folder, files in sorted(found.items())}

    def _relative(self, folder_uri: str) -> str:
        """Path below the table of a folder as Spark names it: escaped, with its scheme."""
        if self._fs.getFileStatus(self._root).isFile():
            return ""
        jvm: Any = self._session._jvm
        return self._below(java_class(jvm, "java.net.URI")(folder_uri).getPath())

    def _below(self, path: str) -> str:
        return path.removeprefix(self._root.toUri().getPath()).strip("/")


def scored_twice(scores: DataFrame, *, id_column: str) -> int:
    """Reviews that more than one run scored; those without an id cannot be told apart."""
    run, known = F.xxhash64("run_id"), column(id_column).isNotNull()
    runs = scores.where(known).groupBy(F.xxhash64(column(id_column)))
    return runs.agg(F.min(run).alias("one"), F.max(run).alias("other")).where("one <> other").count()


def _digest(files: list[tuple[Any, ...]]) -> str:
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:16]
