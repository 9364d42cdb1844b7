"""Published marts as tables of an in-memory DuckDB: what a reader without Spark sees, checked before it is believed.

A path of this machine is read as it is; of a URI, what pyarrow has a file system for (``s3``, ``gs``, ``abfs``,
``hdfs``, ``file``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
from pyspark.sql.pandas.types import to_arrow_schema

from jobs.marts.schemas import MARTS, mart_schema
from jobs.marts.state import MartState
from sentiment_core.errors import InputError

__all__ = ["OpenMarts", "open_marts"]

_STATE = ("_state.json", "_state.json.new")
_MONTH = ds.partitioning(pa.schema([("month", pa.string())]), flavor="hive")


@dataclass(frozen=True, kw_only=True)
class OpenMarts:
    """The marts, ready for queries.

    Attributes
    ----------
    location : str
    tables : DuckDBPyConnection
        One table a mart, and the views of ``jobs/marts/queries/setup``.
    filled : frozenset of str
        Marts that hold a file; the others have no row, or are not made from these scores.
    validation : mapping
        Validation histograms by the model's SHA-256.
    """

    location: str
    tables: duckdb.DuckDBPyConnection
    filled: frozenset[str]
    validation: dict[str, Sequence[int]]

    def question(self, name: str) -> list[dict[str, Any]]:
        """Rows of one of ``jobs/marts/queries/*.sql``."""
        return self.rows(_sql(f"{name}.sql"))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query."""
        rows: list[dict[str, Any]] = self.columns(sql).to_pylist()
        return rows

    def columns(self, sql: str) -> pa.Table:
        """Result of a query, column by column.

        Raises
        ------
        InputError
            If a file of the marts is damaged or was replaced meanwhile.
        """
        with _refusing_unreadable(self.location):
            return self.tables.sql(sql).to_arrow_table()


@contextmanager
def open_marts(location: str) -> Iterator[OpenMarts]:
    """Open the marts that `sentiment summarize` wrote.

    Raises
    ------
    InputError
        If there are none, they are of another version, lack a column, or cannot be read.
    """
    with _refusing_unreadable(location):
        fs, root = _file_system(location)
        if not any(_is_file(fs, f"{root}/{name}") for name in _STATE):
            raise InputError(f"{location}: no marts there; make them with `sentiment summarize --output {location}`")
        state = MartState.load(_Files(fs, root), output=location, settings={})
        datasets = {mart: _dataset(fs, f"{root}/{mart}") for mart in MARTS}
    for mart, dataset in datasets.items():
        _check_columns(dataset, mart=mart, location=location)
    with duckdb.connect() as tables:
        for mart, dataset in datasets.items():
            tables.register(mart, dataset if dataset.files else to_arrow_schema(mart_schema(mart)).empty_table())
        for statement in (_sql("setup/views_duckdb.sql"), _sql("setup/views.sql")):
            tables.execute(statement)
        filled = frozenset(mart for mart, dataset in datasets.items() if dataset.files)
        yield OpenMarts(location=location, tables=tables, filled=filled, validation=state.validation)


class _Files:
    """Reads small files, as `MartState.load` asks for."""

    def __init__(self, fs: pyarrow.fs.FileSystem, root: str) -> None:
        self._fs, self._root = fs, root

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        if not _is_file(self._fs, f"{self._root}/{path}"):
            return None
        with self._fs.open_input_stream(f"{self._root}/{path}") as stream:
            return bytes(stream.read())


def _file_system(location: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" not in location:
        return pyarrow.fs.LocalFileSystem(), location.rstrip("/") or "/"
    try:
        fs, root = pyarrow.fs.FileSystem.from_uri(location.rstrip("/"))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{location}: pyarrow cannot open that ({_first_line(error)}); copy the marts to a folder of this machine"
        ) from error
    return fs, str(root)


def _is_file(fs: pyarrow.fs.FileSystem, path: str) -> bool:
    return bool(fs.get_file_info(path).is_file)


def _dataset(fs: pyarrow.fs.FileSystem, path: str) -> ds.FileSystemDataset:
    found = fs.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    # Readers pass over what begins with `_` or `.`: staging, reports, checksums.
    months = [entry.path for entry in found if entry.base_name.startswith("month=")]
    files = [
        entry.path
        for month in sorted(months)
        for entry in fs.get_file_info(pyarrow.fs.FileSelector(month))
        if entry.base_name.endswith(".parquet") and not entry.base_name.startswith(("_", "."))
    ]
    return ds.dataset(sorted(files), filesystem=fs, format="parquet", partitioning=_MONTH, partition_base_dir=path)


def _check_columns(dataset: ds.FileSystemDataset, *, mart: str, location: str) -> None:
    """Refuse files that are not what this program calls the mart."""
    if not dataset.files:
        return
    for field in to_arrow_schema(mart_schema(mart)):
        where = f"{location}/{mart}"
        if field.name not in dataset.schema.names:
            raise InputError(f"{where}: the column {field.name!r} is missing; make the marts with summarize --rebuild")
        found = dataset.schema.field(field.name).type
        if field.name != "product" and found != field.type:
            raise InputError(
                f"{where}: the column {field.name!r} is {found}, expected {field.type}; make the marts with "
                "summarize --rebuild"
            )


@contextmanager
def _refusing_unreadable(location: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise InputError(
            f"{location}: cannot be read ({_first_line(error)}); if a refresh replaced a file meanwhile, run this "
            "again, else make the marts with summarize --rebuild"
        ) from error


def _sql(name: str) -> str:
    return resources.files("jobs.marts.queries").joinpath(name).read_text(encoding="utf-8")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
