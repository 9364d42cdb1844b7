"""What is scored already: the keys that lie beside each partition's data, and the rows that have none.

A partition's folder holds, in ``_keys``, the id, a digest of the text and the model of each of its rows. The output's
columns say nothing of the text; here a later run finds out whether a text has changed. The keys are put into place
with the partition, in the same swap, so they never speak of other data. Readers ignore the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.publishing.staging import KEYS
from jobs.scoring.audit import RowDigest, digest_columns
from jobs.storage.files import FileSystem
from jobs.tables.dates import date_literal
from jobs.tables.exact import exact_reader
from jobs.tables.extras import is_extra
from jobs.tables.scores import SCORE_FIELDS, ScoreColumns, column
from sentiment_core.errors import AuditError, InputError
from sentiment_core.scoring.status import FAILED

__all__ = [
    "ScoredTable",
    "audit_keys",
    "digest_keys",
    "key_columns",
    "key_hash",
    "placed_ids",
    "rows_of",
    "unscored",
    "with_ids",
    "without",
]

_ID, _TEXT, _MODEL = "_id", "_text_digest", "_model_sha256"


def key_columns(columns: ScoreColumns, *, model_key: str, run_date: date) -> list[Column]:
    """The keys of a row of the input, and the partition that it goes to."""
    partition = date_literal(run_date) if columns.partition == "run_date" else column(columns.partition)
    return [*_key(columns), F.lit(model_key).alias(_MODEL), partition.alias(columns.partition)]


def key_hash(columns: ScoreColumns) -> Column:
    """64-bit hash of a row's key, of the input."""
    return _hash(*_key(columns))


def digest_keys(keys: DataFrame) -> RowDigest:
    """Digest keys, with the hash of `key_hash`."""
    return RowDigest.of(keys.agg(*digest_columns(_hash(column(_ID), column(_TEXT)))).collect()[0])


def audit_keys(keys: DataFrame, *, expected: RowDigest) -> None:
    """Check staged keys against the input.

    Raises
    ------
    AuditError
        If they are not those of the rows that were scored.
    """
    found = digest_keys(keys)
    if found != expected:
        raise AuditError(
            f"the keys of {found.count:,} rows were written for {expected.count:,} rows, digests {found.as_dict()} and "
            f"{expected.as_dict()}; the input changed during the run: run again, nothing was published"
        )


def unscored(frame: DataFrame, columns: ScoreColumns, *, known: DataFrame) -> DataFrame:
    """Ids of rows that are not scored yet, and the digest of the text where there is no id.

    Parameters
    ----------
    frame : DataFrame
        The input.
    columns : ScoreColumns
    known : DataFrame
        Of `ScoredTable.keys`.
    """
    known = known.toDF("_known_id", "_known_text")
    scored = column(_ID).eqNullSafe(F.col("_known_id")) & column(_TEXT).eqNullSafe(F.col("_known_text"))
    fresh = frame.select(*_key(columns)).join(known, scored, "left_anti")
    return fresh.select(column(_ID), _text_of_nameless(column(_ID), column(_TEXT)).alias(_TEXT)).distinct()


def rows_of(frame: DataFrame, columns: ScoreColumns, *, ids: DataFrame) -> DataFrame:
    """Rows of the input with one of the ids that `unscored` gave.

    All rows of an id come together: an output row does not tell which of two texts of an id it scored.
    """
    own_id, own_text = _key(columns)
    wanted = column(_ID).eqNullSafe(F.col("_wanted_id")) & column(_TEXT).eqNullSafe(F.col("_wanted_text"))
    numbered = frame.withColumns({_ID: own_id, _TEXT: _text_of_nameless(own_id, own_text)})
    return numbered.join(ids.toDF("_wanted_id", "_wanted_text"), wanted, "left_semi").drop(_ID, _TEXT)


def placed_ids(scores: DataFrame, columns: ScoreColumns) -> DataFrame:
    """Ids of rows of the output, each with its partition: two partitions may use an id for different rows."""
    return scores.select(column(columns.id).alias("_new_id"), column(columns.partition).alias("_new_place")).distinct()


def without(rows: DataFrame, columns: ScoreColumns, *, ids: DataFrame) -> DataFrame:
    """Rows of the output, or keys, but for those of `placed_ids`; rows without an id stay."""
    return rows.join(ids, _is_placed(rows, columns), "left_anti")


def with_ids(rows: DataFrame, columns: ScoreColumns, *, ids: DataFrame) -> DataFrame:
    """Rows of the output that are of `placed_ids`."""
    return rows.join(ids, _is_placed(rows, columns), "left_semi")


class ScoredTable:
    """The published table.

    Parameters
    ----------
    session : SparkSession
    fs : FileSystem
    location : str
        The root of ``fs``, as Spark names it.
    """

    def __init__(self, session: SparkSession, fs: FileSystem, location: str) -> None:
        self._session = session
        self._fs = fs
        self.location = location

    def keys(self, columns: ScoreColumns, id_type: T.DataType, *, model_key: str, model_sha256: str) -> DataFrame:
        """Ids and text digests of all rows that a model has scored, but for those on which it failed everywhere.

        Parameters
        ----------
        columns : ScoreColumns
        id_type : DataType
            Of the input's ids.
        model_key : str
            Of the model, or of all that score together.
        model_sha256 : str
            Of the one that tells whether a row failed.

        Raises
        ------
        InputError
            If the ids are of another type.
        """
        names = [name for name in self._fs.list("") if "=" in name and self._has_rows(f"{name}/{KEYS}")]
        if not names:
            empty = T.StructType([T.StructField(_ID, id_type), T.StructField(_TEXT, T.BinaryType())])
            return self._session.createDataFrame([], empty)
        keys = self._read_keys(names)
        if keys.schema[_ID].dataType != id_type:
            raise InputError(
                f"the ids of {self.location} have the type {keys.schema[_ID].dataType.simpleString()}, those of the "
                f"input {id_type.simpleString()}; cast them, or score without --only-new"
            )
        # As a string, the partition is its folder's name; a type that Spark infers would take 01 and 1 for one.
        partition = T.StructField(columns.partition, T.StringType())
        others = (field for field in keys.schema if field.name != columns.partition)
        keys = self._read_keys(names, T.StructType([*others, partition])).where(column(_MODEL) == model_key)
        paths = [f"{self.location}/{name}" for name in names if self._has_rows(name)]
        if not paths:
            return keys.select(_ID, _TEXT)
        # The id may be the partition.
        fields = {columns.partition: partition, columns.id: T.StructField(columns.id, id_type)}
        statuses = T.StructType([*fields.values(), SCORE_FIELDS["score_status"], SCORE_FIELDS["model_sha256"]])
        scored = exact_reader(self._session).option("basePath", self.location).schema(statuses).parquet(*paths)
        failed = scored.where((F.col("score_status") == FAILED) & (F.col("model_sha256") == model_sha256)).select(
            column(columns.id).alias("_failed_id"), column(columns.partition).cast("string").alias("_failed_partition")
        )
        # By partition: a row that failed in one may have been scored in another since. A row without an id is not tried
        # again: nothing tells it from others without one, and it would be added beside them.
        same = (column(_ID) == F.col("_failed_id")) & column(columns.partition).eqNullSafe(F.col("_failed_partition"))
        return keys.join(failed, same, "left_anti").select(_ID, _TEXT)

    def replaced_by(self, rows: DataFrame, columns: ScoreColumns, *, run_date: date) -> tuple[int, int]:
        """Published rows in whose place new rows come, and ids of which there would be fewer rows than before.

        Parameters
        ----------
        rows : DataFrame
            New rows of the input.
        columns : ScoreColumns
        run_date : date
        """
        by_date = columns.partition == "run_date"
        names = [f"run_date={run_date}"] if by_date else [name for name in self._fs.list("") if "=" in name]
        paths = [f"{self.location}/{name}" for name in names if self._has_rows(name)]
        if not paths:
            return 0, 0
        place = F.lit(str(run_date)) if by_date else column(columns.partition).cast("string")
        new = _rows_by_id(rows, columns, place=place).toDF("_id", "_place", "_new")
        fields = {
            columns.partition: T.StructField(columns.partition, T.StringType()),
            columns.id: T.StructField(columns.id, rows.schema[columns.id].dataType),
        }
        reader = exact_reader(self._session).option("basePath", self.location).schema(T.StructType([*fields.values()]))
        old = _rows_by_id(reader.parquet(*paths), columns, place=column(columns.partition).cast("string"))
        same = (column(columns.id) == F.col("_id")) & F.col("_at").eqNullSafe(F.col("_place"))
        row = old.join(new, same).agg(F.sum("_rows"), F.count_if(F.col("_rows") > F.col("_new"))).collect()[0]
        return int(row[0] or 0), int(row[1])

    def refuse_other_extras(self, columns: ScoreColumns, *, run_date: date) -> None:
        """Refuse to add rows to a table whose rows have other extra columns; they would not be scored again.

        Raises
        ------
        InputError
        """
        names = [name for name in self._fs.list("") if "=" in name and self._has_rows(name)]
        if not names:
            return
        # The partition that the rows go to, if it is known; else any.
        name = next((name for name in names if name == f"run_date={run_date}"), max(names))
        schema = exact_reader(self._session).parquet(f"{self.location}/{name}").schema
        found = {field.name for field in schema if is_extra(field)} - set(columns.kept)
        wanted = {field.name for field in columns.extra.fields}
        if wanted - found:
            raise InputError(
                f"{self.location} has no column {', '.join(sorted(wanted - found))}, which this run adds; score "
                "without --only-new, or leave out the option that adds it (--drivers, or the names of --model)"
            )
        if found - wanted:
            raise InputError(
                f"{self.location} has the column {', '.join(sorted(found - wanted))}, which this run does not make; "
                "give the options that made it (--drivers, or the names of --model), or score without --only-new"
            )

    def keys_of(self, partitions: Sequence[str], schema: T.StructType) -> DataFrame | None:
        """Keys of some partitions, with their models; None if there are none."""
        names = [name for name in partitions if self._has_rows(f"{name}/{KEYS}")]
        return self._read_keys(names, schema) if names else None

    def _read_keys(self, partitions: Sequence[str], schema: T.StructType | None = None) -> DataFrame:
        reader = exact_reader(self._session).option("basePath", self.location)
        paths = [f"{self.location}/{name}/{KEYS}" for name in partitions]
        return (reader if schema is None else reader.schema(schema)).parquet(*paths)

    def rows(self, partitions: Sequence[str], schema: T.StructType, *, partition: str) -> DataFrame | None:
        """Published rows of some partitions, None if there are none.

        Raises
        ------
        InputError
            If the table has other columns than the schema.
        """
        paths = [f"{self.location}/{name}" for name in partitions if self._has_rows(name)]
        if not paths:
            return None
        reader = exact_reader(self._session).option("basePath", self.location)
        found = {field.name: field.dataType.simpleString() for field in reader.parquet(*paths).schema}
        wanted = {field.name: field.dataType.simpleString() for field in schema}
        found[partition] = wanted[partition]  # its type is the reader's
        differing = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
        if differing:
            raise InputError(
                f"{self.location} differs from this run in the columns {', '.join(differing)}; keep the same "
                "columns, or score without --only-new"
            )
        return reader.schema(schema).parquet(*paths).select(*(column(name) for name in schema.names))

    def _has_rows(self, folder: str) -> bool:
        return any(not name.startswith(("_", ".")) for name in self._fs.list(folder))


def _key(columns: ScoreColumns) -> list[Column]:
    # Half of SHA-256: 128 bits tell apart as many texts as there will ever be.
    text = F.unhex(F.sha2(column(columns.text).cast("binary"), 256))
    return [column(columns.id).alias(_ID), F.substring(text, 1, 16).alias(_TEXT)]


def _is_placed(rows: DataFrame, columns: ScoreColumns) -> Column:
    own_id = column(_ID if _ID in rows.columns else columns.id)
    # NULL is a partition like others, but not an id.
    return (own_id == F.col("_new_id")) & column(columns.partition).eqNullSafe(F.col("_new_place"))


def _rows_by_id(rows: DataFrame, columns: ScoreColumns, *, place: Column) -> DataFrame:
    known = rows.where(column(columns.id).isNotNull())
    return known.groupBy(column(columns.id), place.alias("_at")).agg(F.count(F.lit(1)).alias("_rows"))


def _hash(identity: Column, text: Column) -> Column:
    return F.xxhash64(identity, identity.isNull(), text, text.isNull())


def _text_of_nameless(identity: Column, text: Column) -> Column:
    return F.when(identity.isNull(), text)
