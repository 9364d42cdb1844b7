"""The input of a scoring run: opened, checked, and digested so that a run can be named by what it reads."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.audit import RowDigest, digest_columns
from jobs.extra_columns import ExtraColumns
from jobs.incremental import key_hash
from jobs.reading import CORRUPT_RECORD, open_table, refusing_unreadable
from jobs.schema import ScoreColumns, choose_columns, column, row_hash
from sentiment_core.errors import InputError

__all__ = ["ReviewSource"]


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
    """

    frame: DataFrame
    columns: ScoreColumns
    digest: RowDigest
    text_digest: RowDigest

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
        corrupt = F.col(CORRUPT_RECORD).isNotNull() if CORRUPT_RECORD in frame.columns else F.lit(False)
        conditions = [*(condition.of(rows) for condition in options.where), *([] if where is None else [where])]
        if conditions:
            frame = frame.where(reduce(and_, conditions) | corrupt)
        source = cls.digested(frame, columns, source=options.input, corrupt=corrupt)
        return ReviewSource(
            frame=frame.select(*(column(name) for name in rows.names)),
            columns=columns,
            digest=source.digest,
            text_digest=source.text_digest,
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
