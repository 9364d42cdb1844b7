"""The input of a scoring run: opened, checked, and digested so that a run can be named by what it reads."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.audit import RowDigest, digest_columns
from jobs.extra_columns import ExtraColumns
from jobs.incremental import key_hash
from jobs.parquet_files import ParquetFiles, inspect_parquet
from jobs.reading import CORRUPT_RECORD, OpenedTable, open_input, refusing_unreadable
from jobs.schema import ScoreColumns, choose_columns, column, parse_names, row_hash
from jobs.tables.nested import inner_columns
from jobs.tables.reading_options import ReadingSettings
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
    parquet : ParquetFiles
        What was found out about its Parquet files, if it has any.
    opened : OpenedTable, optional
        How its files were read.
    """

    frame: DataFrame
    columns: ScoreColumns
    digest: RowDigest
    text_digest: RowDigest
    parquet: ParquetFiles = field(default_factory=ParquetFiles)
    opened: OpenedTable | None = None

    @property
    def has_other_rows(self) -> bool:
        """Whether there are rows that come from no CSV or JSON file."""
        return self.opened is None or not self.opened.converted or bool(self.opened.parquet_files)

    @classmethod
    def read(
        cls, session: SparkSession, options: argparse.Namespace, *, extra: ExtraColumns, where: Column | None = None
    ) -> ReviewSource:
        """Open the input that the options name, or the part of it for which their conditions and one more hold.

        Raises
        ------
        InputError
            If it cannot be read, or lacks a column, or has malformed records.
        """
        opened = open_reviews(session, options)
        frame = opened.frame
        rows = T.StructType([field for field in frame.schema.fields if field.name != CORRUPT_RECORD])
        columns = choose_columns(
            rows,
            id_column=options.id_column,
            text_column=options.text_column,
            keep_columns=options.keep_columns,
            partition_by=options.partition_by,
            extra=extra,
        )
        name = ", ".join(options.input)
        with refusing_unreadable(name):
            is_table = not opened.parquet_files and not opened.converted
            parquet = inspect_parquet(session, _parquet_files(frame) if is_table else opened.parquet_files)
        if parquet.without_checksums:
            _LOGGER.warning(
                "%s of %s Parquet files have no page checksums: damage in their pages would be scored unnoticed; write "
                "them with checksums (Spark does, pyarrow with write_page_checksum=True)",
                f"{parquet.without_checksums:,}",
                f"{parquet.files:,}",
            )
        corrupt = F.col(CORRUPT_RECORD).isNotNull() if CORRUPT_RECORD in frame.columns else F.lit(False)
        conditions = [*(condition.of(rows) for condition in options.where), *([] if where is None else [where])]
        if conditions:
            frame = frame.where(reduce(and_, conditions) | corrupt)
        source = cls.digested(frame, columns, source=name, corrupt=corrupt)
        return replace(
            source, frame=frame.select(*(column(name) for name in rows.names)), parquet=parquet, opened=opened
        )

    @classmethod
    def digested(
        cls, frame: DataFrame, columns: ScoreColumns, *, source: str, corrupt: Column | None = None
    ) -> ReviewSource:
        """Digest rows, which takes one pass over them.

        Raises
        ------
        InputError
            If a record is malformed or a partition could not be read back.
        """
        partition = column(columns.partition) if columns.partition in frame.columns else F.lit("-")
        texts = digest_columns(key_hash(columns))
        with refusing_unreadable(source):
            row = frame.agg(
                *digest_columns(row_hash(frame.schema, columns.kept)),
                *(part.alias(f"text_{name}") for part, name in zip(texts, ("count", "sum", "xor"))),
                F.count_if(F.lit(False) if corrupt is None else corrupt).alias("corrupt"),
                F.count_if(partition.cast("string").isin("", "__HIVE_DEFAULT_PARTITION__")).alias("unnamed"),
            ).collect()[0]
        if row["corrupt"]:
            raise InputError(f"{source}: {row['corrupt']:,} records are malformed; repair the file")
        if row["unnamed"]:
            raise InputError(
                f"{row['unnamed']:,} rows have an empty or reserved {columns.partition!r}, which as a partition would "
                "be read back as NULL; partition by another column"
            )
        return cls(
            frame=frame,
            columns=columns,
            digest=RowDigest.of(row),
            text_digest=RowDigest.of(row, prefix="text_"),
        )


def open_reviews(session: SparkSession, options: argparse.Namespace) -> OpenedTable:
    """Open the input that the options name; fields of structs that they ask for are columns of their own.

    Raises
    ------
    InputError
        If it cannot be read or has malformed records.
    """
    wanted = _wanted_columns(options)
    opened = open_input(
        session,
        options.input,
        input_format=options.input_format,
        settings=ReadingSettings.of(options),
        wanted=wanted,
        workspace=options.output,
    )
    return replace(opened, frame=inner_columns(opened.frame, wanted, text_column=options.text_column))


def _wanted_columns(options: argparse.Namespace) -> tuple[str, ...]:
    """Names of the columns that the options ask for."""
    kept = () if options.keep_columns == "all" else parse_names(options.keep_columns)
    dates = (vars(options).get("date_column"),)
    asked = (options.partition_by, *dates, *(condition.name for condition in options.where))
    names = dict.fromkeys((options.id_column, options.text_column, *kept, *asked))
    return tuple(name for name in names if name not in (None, "none", "run_date"))


def _parquet_files(frame: DataFrame) -> list[str]:
    """Those of a table, by their names."""
    return [name for name in frame.inputFiles() if name.endswith(".parquet")]
