"""Column names and types: the contract as code.

The scores table has the id column and the kept columns of the input, unchanged, then `SCORE_FIELDS`. Everything
that can be refused is refused here, before a task is started.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.tables.extras import NO_EXTRA, ExtraColumns
from sentiment_core.errors import InputError

__all__ = [
    "CONTRACT_VERSION",
    "GROUP",
    "KEPT",
    "SCORE_FIELDS",
    "TEXT",
    "UNREADABLE",
    "WORKER_FIELDS",
    "ScoreColumns",
    "choose_columns",
    "column",
    "kept_columns",
    "parse_names",
    "quoted",
    "require_column",
    "require_date",
    "row_hash",
    "scores_schema",
    "type_parts",
]

# Of the scores table; its run reports name it. Raised when a column is renamed, retyped or means another thing.
CONTRACT_VERSION = 1
# Names on the way to the worker; the kept columns are numbered there, since Spark's grouping cannot name some.
KEPT = "kept"
TEXT = "text"
GROUP = "group"
# In the metadata of a column that Spark has no type for: what it is in its file.
UNREADABLE = "unreadable"
# What the worker appends to each row.
WORKER_FIELDS = T.StructType(
    [
        T.StructField("positive_probability", T.DoubleType()),
        T.StructField("sentiment", T.StringType()),
        T.StructField("score_status", T.StringType()),
        T.StructField("n_tokens", T.IntegerType()),
        T.StructField("n_unknown", T.IntegerType()),
    ]
)
# What the job appends to each row: constants of the run.
RUN_FIELDS = T.StructType(
    [
        T.StructField("model_sha256", T.StringType()),
        T.StructField("run_id", T.StringType()),
        T.StructField("run_date", T.DateType()),
    ]
)
SCORE_FIELDS = T.StructType(WORKER_FIELDS.fields + RUN_FIELDS.fields)

_ID_TYPES = (T.StringType, T.IntegralType, T.DecimalType)
_PARTITION_TYPES = (T.StringType, T.IntegralType, T.DateType)
_UNSUPPORTED = (T.NullType, T.CalendarIntervalType, T.YearMonthIntervalType, T.UserDefinedType)


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """Which columns of the input play which part, and what the output adds to `SCORE_FIELDS`.

    Attributes
    ----------
    id, text : str
    kept : tuple of str
        Columns that the output repeats, the id first.
    partition : str
        The column that the output is partitioned by: a kept one or ``run_date``.
    extra : ExtraColumns
    """

    id: str
    text: str
    kept: tuple[str, ...]
    partition: str
    extra: ExtraColumns = NO_EXTRA


def parse_names(names: str) -> tuple[str, ...]:
    """Split a comma-separated option; a name with a comma stands in double quotes."""
    return tuple(name for name in next(csv.reader([names], skipinitialspace=True), []) if name)


def kept_columns(names: str, columns: Sequence[str], *, text_column: str) -> dict[str, str]:
    """Columns that ``--keep-columns`` names: for each its name in the output, and in the input.

    Parameters
    ----------
    names : str
        Names separated by commas; ``all`` for every column but the text; ``NAME:OTHER`` keeps a column as OTHER.
    columns : sequence of str
        Of the input. A name that it has is that column, colons included.
    text_column : str
    """
    there = set(columns)
    given: dict[str, str] = {}
    for name in parse_names(names):
        source, colon, target = name.rpartition(":")
        renamed = colon and source and target and name not in there
        given |= {target: source} if renamed else {name: name}
    if "all" not in given or "all" in there:
        return given
    del given["all"]
    renamed_away = {source for target, source in given.items() if target != source}
    return {name: name for name in columns if name not in {text_column, *renamed_away}} | given


def choose_columns(
    schema: T.StructType,
    *,
    id_column: str,
    text_column: str,
    keep_columns: str = "",
    partition_by: str = "run_date",
    extra: ExtraColumns = NO_EXTRA,
) -> ScoreColumns:
    """Check the input's columns and types.

    Parameters
    ----------
    schema : StructType
        Of the input.
    id_column, text_column : str
        Exact names.
    keep_columns : str
        As `kept_columns` reads it; a column that is kept under another name is in the schema under that name.
    partition_by : str
        ``run_date`` or a column of the input, which is then kept.
    extra : ExtraColumns

    Raises
    ------
    InputError
        If a column is missing, of an unusable type, or would stand twice in the output.
    """
    require_column(schema, id_column, "the id", "--id-column")
    require_column(schema, text_column, "the text", "--text-column")
    _require_type(schema, id_column, _ID_TYPES, "an id is a string, a whole number or a decimal")
    _require_type(schema, text_column, (T.StringType,), "the text must be a string; cast it first")
    kept = tuple(dict.fromkeys((id_column, *kept_columns(keep_columns, schema.names, text_column=text_column))))
    if partition_by != "run_date":
        kept = tuple(dict.fromkeys((*kept, partition_by)))
    for name in kept:
        require_column(schema, name, "the kept", "--keep-columns")
        kind = schema.fields[schema.names.index(name)].dataType
        if any(isinstance(part, _UNSUPPORTED) for part in type_parts(kind)):
            raise InputError(
                f"column {name!r} has the type {kind.simpleString()}, which cannot be kept; "
                "leave it out of --keep-columns"
            )
    if partition_by != "run_date":
        _require_type(schema, partition_by, _PARTITION_TYPES, "a partition is a string, a whole number or a date")
    _refuse_twins(kept, [*SCORE_FIELDS.names, *(field.name for field in extra.fields)])
    return ScoreColumns(id=id_column, text=text_column, kept=kept, partition=partition_by, extra=extra)


def scores_schema(schema: T.StructType, columns: ScoreColumns) -> T.StructType:
    """The scores table of an input: the kept columns as they are, `SCORE_FIELDS`, and what was asked for besides."""
    fields = {field.name: field for field in schema}
    return T.StructType([*(fields[name] for name in columns.kept), *SCORE_FIELDS, *columns.extra.fields])


def require_date(schema: T.StructType, name: str) -> None:
    """Refuse a column that is missing or can hold no dates.

    Raises
    ------
    InputError
    """
    require_column(schema, name, "the date", "--date-column")
    kinds = (T.DateType, T.TimestampType, T.TimestampNTZType, T.StringType)
    _require_type(schema, name, kinds, "dates are dates, timestamps or strings like 2026-11-23")


def column(name: str) -> Column:
    """The column of exactly this name, dots and backticks included."""
    return F.col(quoted(name))


def quoted(name: str) -> str:
    """A column's name in SQL. One text of SQL is one call of Java, and columns one by one are thousands."""
    return "`" + name.replace("`", "``") + "`"


def row_hash(schema: T.StructType, names: Iterable[str]) -> Column:
    """64-bit hash of a row's columns, equal on the input and on what was written of it.

    Spark does not hash maps: one is hashed as its entries; a column with a map further inside, or a VARIANT, is left
    out.
    """
    kinds = {field.name: field.dataType for field in schema}
    hashed = []
    for name in names:
        kind, value = kinds[name], quoted(name)
        if isinstance(kind, T.MapType):
            inner = [*type_parts(kind.keyType), *type_parts(kind.valueType)]
            value = f"map_entries({value})"
        else:
            inner = list(type_parts(kind))
        if not any(isinstance(part, T.MapType | T.VariantType) for part in inner):
            # The null flag tells NULL from what NULL hashes like.
            hashed += [value, f"{value} IS NULL"]
    return F.expr(f"xxhash64({', '.join(hashed)})")


def require_column(schema: T.StructType, name: str, role: str, option: str) -> None:
    """Refuse a column that is missing or there twice.

    Raises
    ------
    InputError
    """
    if schema.names.count(name) == 1:
        kind = schema.fields[schema.names.index(name)].metadata.get(UNREADABLE)
        if kind is not None:
            raise InputError(
                f"{role} column {name!r} has {kind}, which Spark cannot read; leave it out, or write it in another type"
            )
        return
    if schema.names.count(name) > 1:
        raise InputError(f"the input has {schema.names.count(name)} columns named {name!r}; rename them")
    near = difflib.get_close_matches(name, schema.names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"name it with {option}"
    # In a CSV without a header, the names are a review.
    plain = all(re.fullmatch(r"[A-Za-z_][\w.]{0,60}", column_name) for column_name in schema.names)
    found = f"has: {', '.join(schema.names)}" if plain else f"has {len(schema.names)} others"
    raise InputError(f"{role} column {name!r} is missing, the input {found}; {hint}")


def _require_type(schema: T.StructType, name: str, kinds: tuple[type[T.DataType], ...], cure: str) -> None:
    kind = schema[name].dataType
    if not isinstance(kind, kinds):
        raise InputError(f"column {name!r} has the type {kind.simpleString()}: {cure}")


def _refuse_twins(kept: Sequence[str], added: Sequence[str]) -> None:
    """Spark's readers fold case: two columns that differ in case only could not be read back."""
    counts = Counter(name.casefold() for name in (*kept, *added))
    for name in (*kept, *added):
        if counts[name.casefold()] > 1:
            raise InputError(
                f"the output would have the column {name!r} twice (case does not count); keep the input's under "
                f"another name with --keep-columns {name}:OTHER, or leave it out of --keep-columns"
            )


def type_parts(kind: T.DataType) -> Iterable[T.DataType]:
    """A type and those inside it."""
    yield kind
    if isinstance(kind, T.ArrayType):
        yield from type_parts(kind.elementType)
    elif isinstance(kind, T.MapType):
        yield from type_parts(kind.keyType)
        yield from type_parts(kind.valueType)
    elif isinstance(kind, T.StructType):
        for field in kind.fields:
            yield from type_parts(field.dataType)
