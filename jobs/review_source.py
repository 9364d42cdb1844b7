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
from jobs.reading import CORRUPT_RECORD, format_of, open_table, refusing_unreadable
from jobs.schema import ScoreColumns, choose_columns, column, row_hash
from sentiment_core.errors import InputError

__all__ = ["ReviewSource"]

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
    """

    frame: DataFrame
    columns: ScoreColumns
    digest: RowDigest
    text_digest: RowDigest
    parquet: ParquetFiles = field(default_factory=ParquetFiles)

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
        frame = open_table(session, options.input, input_format=options.input_format)
        rows = T.StructType([field for field in frame.schema.fields if field.name != CORRUPT_RECORD])
        columns = choose_columns(
            rows,
            id_column=options.id_column,
            text_column=options.text_column,
            keep_columns=options.keep_columns,
            partition_by=options.partition_by,
            extra=extra,
        )
        with refusing_unreadable(options.input):
            parquet = inspect_parquet(session, _parquet_files(frame, options))
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
        source = cls.digested(frame, columns, source=options.input, corrupt=corrupt)
        return replace(source, frame=frame.select(*(column(name) for name in rows.names)), parquet=parquet)

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


def _parquet_files(frame: DataFrame, options: argparse.Namespace) -> list[str]:
    """Those of a path whose format is Parquet, or of a table by their names."""
    if (options.input_format or format_of(options.input)) == "parquet":
        return frame.inputFiles()
    return [name for name in frame.inputFiles() if name.endswith(".parquet")]
