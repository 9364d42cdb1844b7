"""The input of a scoring run: opened, checked, and digested so that a run can be named by what it reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.scoring.audit import RowDigest, digest_columns
from jobs.scoring.incremental import key_hash
from jobs.scoring.settings import ScoringSettings
from jobs.shaping.checks import RowCheck, count_columns, flag_columns, refuse_counted
from jobs.shaping.columns import shape_columns
from jobs.shaping.filtering import filtered
from jobs.shaping.nested import inner_columns
from jobs.shaping.partitions import partition_checks
from jobs.tables.dates import DateForms
from jobs.tables.extras import ExtraColumns
from jobs.tables.footers import ParquetFiles, inspect_parquet
from jobs.tables.reading import CORRUPT_RECORD, OpenedTable, open_input, refusing_unreadable
from jobs.tables.scores import ScoreColumns, choose_columns, column, kept_columns, row_hash
from sentiment_core.errors import InputError

__all__ = ["ReviewSource", "open_reviews"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReviewSource:
    """Reviews to score.

    Attributes
    ----------
    frame : DataFrame
    columns : ScoreColumns
    digest : RowDigest
        Of the id and the kept columns.
    text_digest : RowDigest
        Of the id and the text.
    without_id : int
        Rows whose id is NULL.
    parquet : ParquetFiles
        What was found out about its Parquet files, if it has any.
    opened : OpenedTable, optional
        How its files were read.
    renamed : dict
        Columns that are kept under other names: the new name, and the input's.
    """

    frame: DataFrame
    columns: ScoreColumns
    digest: RowDigest
    text_digest: RowDigest
    without_id: int
    parquet: ParquetFiles = field(default_factory=ParquetFiles)
    opened: OpenedTable | None = None
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def has_other_rows(self) -> bool:
        """Whether there are rows that come from no CSV or JSON file."""
        return self.opened is None or not self.opened.converted or bool(self.opened.parquet_files)

    @property
    def malformed(self) -> str:
        """The list of its malformed records, empty without any."""
        return self.opened.malformed if self.opened else ""

    @classmethod
    def read(
        cls,
        session: SparkSession,
        settings: ScoringSettings,
        *,
        extra: ExtraColumns,
        accept: Callable[[T.StructType, ScoreColumns], None],
        where: Callable[[T.StructType], Column] | None = None,
    ) -> ReviewSource:
        """Open the input that the settings name, or the part of it for which their conditions and one more hold.

        Parameters
        ----------
        session : SparkSession
        settings : ScoringSettings
        extra : ExtraColumns
        accept : callable
            Refuses columns and types before a row is read.
        where : callable, optional
            One more condition, of the schema.

        Raises
        ------
        InputError
            If it cannot be read, or lacks a column, or has malformed records.
        """
        opened = open_reviews(session, settings)
        name = ", ".join(settings.input)
        with refusing_unreadable(name):
            shaped = shape_columns(
                opened.frame,
                id_column=settings.id_column,
                text_column=settings.text_column,
                keep_columns=settings.keep_columns,
                casts=settings.cast,
                dates=DateForms(patterns=settings.date_format),
            )
        frame = shaped.frame
        rows = T.StructType([field for field in frame.schema if field.name not in (CORRUPT_RECORD, *shaped.checked)])
        columns = choose_columns(
            rows,
            id_column=shaped.id_column,
            text_column=settings.text_column,
            keep_columns=settings.keep_columns,
            partition_by=settings.partition_by,
            extra=extra,
        )
        accept(rows, columns)
        with refusing_unreadable(name):
            is_table = not opened.parquet_files and not opened.converted
            files = _parquet_files(opened.frame) if is_table else opened.parquet_files
            needed = [name for name in (settings.id_column, settings.text_column) if name in opened.frame.columns]
            # The files of a table may name their columns otherwise.
            parquet = inspect_parquet(session, files, needed=() if is_table else needed)
        if parquet.without_checksums:
            _LOGGER.warning(
                "%s of %s Parquet files have no page checksums: damage in their pages would be scored unnoticed; write "
                "them with checksums (Spark does, pyarrow with write_page_checksum=True)",
                f"{parquet.without_checksums:,}",
                f"{parquet.files:,}",
            )
        corrupt = F.col(CORRUPT_RECORD).isNotNull() if CORRUPT_RECORD in frame.columns else F.lit(False)
        frame, checks = filtered(
            frame, settings.where, schema=rows, also=None if where is None else where(rows), always=corrupt
        )
        source = cls.digested(frame, columns, source=name, corrupt=corrupt, checks=[*shaped.checks, *checks])
        return replace(
            source,
            frame=frame.drop(*(name for name in frame.columns if name not in set(rows.names))),
            parquet=parquet,
            opened=opened,
            renamed=shaped.renamed,
        )

    @classmethod
    def digested(
        cls,
        frame: DataFrame,
        columns: ScoreColumns,
        *,
        source: str,
        corrupt: Column | None = None,
        checks: Sequence[RowCheck] = (),
    ) -> ReviewSource:
        """Digest rows, which takes one pass over them.

        Raises
        ------
        InputError
            If a record is malformed, a check finds rows or a partition could not be read back.
        """
        if columns.partition in frame.columns:
            checks = [*checks, *partition_checks(columns.partition)]
        texts = digest_columns(F.col("text_hash"))
        hashed = frame.select(
            row_hash(frame.schema, columns.kept).alias("row_hash"),
            key_hash(columns).alias("text_hash"),
            (F.lit(False) if corrupt is None else corrupt).alias("corrupt"),
            column(columns.id).isNull().alias("without_id"),
            *flag_columns(checks),
        )
        with refusing_unreadable(source):
            row = hashed.agg(
                *digest_columns(F.col("row_hash")),
                *(part.alias(f"text_{name}") for part, name in zip(texts, ("count", "sum", "xor"))),
                F.count_if("corrupt").alias("corrupt"),
                F.count_if("without_id").alias("without_id"),
                *count_columns(checks),
            ).collect()[0]
        if row["corrupt"]:
            raise InputError(f"{source}: {row['corrupt']:,} records are malformed; repair the file")
        refuse_counted(checks, row)
        return cls(
            frame=frame,
            columns=columns,
            digest=RowDigest.of(row),
            text_digest=RowDigest.of(row, prefix="text_"),
            without_id=row["without_id"],
        )

    def repeated_ids(self) -> tuple[int, int]:
        """Ids that more than one row has, and the number of these rows."""
        name, cores = self.columns.id, self.frame.sparkSession.sparkContext.defaultParallelism
        # In as many parts as there are cores: Spark's own number would be 200 tasks for a handful of ids.
        ids = self.frame.select(column(name).alias("id")).where("id IS NOT NULL").repartition(cores, "id")
        with refusing_unreadable(name):
            row = ids.groupBy("id").count().where("count > 1").agg(F.count("id"), F.sum("count")).collect()[0]
        return int(row[0]), int(row[1] or 0)


def open_reviews(session: SparkSession, settings: ScoringSettings) -> OpenedTable:
    """Open the input that the settings name; fields of structs that they ask for are columns of their own.

    Raises
    ------
    InputError
        If it cannot be read or has malformed records.
    """
    wanted = _wanted_columns(settings)
    opened = open_input(
        session,
        settings.input,
        input_format=settings.input_format,
        settings=settings.reading,
        wanted=wanted,
        workspace=settings.output,
    )
    return replace(opened, frame=inner_columns(opened.frame, wanted, text_column=settings.text_column))


def _wanted_columns(settings: ScoringSettings) -> tuple[str, ...]:
    """Names of the columns that the settings ask for."""
    kept = (name for name in kept_columns(settings.keep_columns, (), text_column=settings.text_column).values())
    names = dict.fromkeys((settings.id_column, settings.text_column, *kept, *settings.asked_columns()))
    return tuple(name for name in names if name not in ("none", "run_date"))


def _parquet_files(frame: DataFrame) -> list[str]:
    """Those of a table, by their names."""
    return [name for name in frame.inputFiles() if name.endswith(".parquet")]
