"""Columns that folders named ``column=value`` give to the rows in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.tables.exact import exact_reader
from jobs.tables.parquet import read_parquet
from jobs.tables.scores import column
from sentiment_core.errors import InputError

__all__ = ["folder_keys", "has_empty_value", "refuse_overridden", "with_folder_columns"]

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_keys(files: Iterable[str]) -> list[str]:
    """Columns in the folders of files, the outermost first; paths or URIs, of a table whose files lie alike."""
    for name in files:
        parts = PurePosixPath(name).parts[:-1]
        return [_unescaped(unquote(part.partition("=")[0])) for part in parts if "=" in part]
    return []


def has_empty_value(files: Iterable[str]) -> bool:
    """Whether a folder is named ``column=``, which Spark does not open."""
    return any(part.endswith("=") for name in files for part in PurePosixPath(name).parts[:-1])


def with_folder_columns(frame: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Add the columns of folders, as texts, to a frame that was read without them; an empty value is an empty text."""
    return frame.withColumns({key: _value(key) for key in keys}) if keys else frame


def refuse_overridden(
    session: SparkSession, files: Sequence[str], *, keys: Sequence[str], source: str, file_format: str
) -> None:
    """Refuse files that have a column of a folder's name with another value: readers show the folder's and hide it.

    An object of JSON that lacks the column, or has a null there, contradicts nothing.

    Parameters
    ----------
    session : SparkSession
    files : sequence of str
        As Spark names them.
    keys : sequence of str
        Of `folder_keys`.
    source : str
        The input, for messages.
    file_format : str
        ``parquet`` or ``json``.

    Raises
    ------
    InputError
    """
    paths = [unquote(file) for file in files]
    folded = {key.casefold(): key for key in keys}
    if not files:
        return
    reader = exact_reader(session).option("recursiveFileLookup", "true")
    if file_format == "json":
        frame = reader.json(paths)
    else:
        frame = read_parquet(session, lambda: reader, paths, files=paths, attempt=lambda: reader.parquet(*paths))
    for name in (name for name in frame.columns if name.casefold() in folded):
        key = folded[name.casefold()]
        own, given = column(name), _value(key)
        same = own.eqNullSafe(given.try_cast(frame.schema[name].dataType)) | own.cast("string").eqNullSafe(given)
        if file_format == "json":
            same |= own.isNull()
        differing = frame.agg(F.count_if(~same)).collect()[0][0]
        if differing:
            raise InputError(
                f"{source}: {differing:,} rows have another {name!r} in their file than in the name of their folder "
                f"({key}=...), and a reader would see the folder's only; rename the column in the files, or the folders"
            )


def _value(key: str) -> Column:
    """The value that the folder of a row's file gives."""
    path = F.col("_metadata.file_path")
    escaped = re.escape(_escaped(key))
    found = F.regexp_extract(path, f"/{escaped}=([^/]*)/", 1)
    # The path is that of a URI, and in it the name is as Hive escapes it.
    value = _decoded(_decoded(found))
    return F.when(value != _NULL, value)


def _decoded(value: Column) -> Column:
    return F.coalesce(F.try_url_decode(F.replace(value, F.lit("+"), F.lit("%2B"))), value)


def _escaped(key: str) -> str:
    """A name of a column as it stands in a URI."""
    return quote(key, safe="!$&'()*+,;=:@~-._")


def _unescaped(name: str) -> str:
    return unquote(name)
