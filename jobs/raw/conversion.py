"""Write CSV and JSON files once in a form that Spark and Arrow read without guessing: Parquet, and JSON lines.

Files are read one after the other in windows, so memory does not grow with them. What was written stays until the
process ends, so that an input that is opened again is not read again.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.raw.compression import opened
from jobs.raw.csv import CsvFile, NotUtf8Error
from jobs.raw.json import JsonFile
from jobs.raw.malformed import MalformedRecords
from jobs.raw.options import ReadingSettings
from sentiment_core.errors import InputError, SentimentError

__all__ = ["Converted", "RawFile", "convert", "describe_converted", "folder_of", "forget_converted"]

_LOGGER = logging.getLogger(__name__)
_numbers = itertools.count()
_known: dict[object, Converted] = {}


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A file to convert.

    Attributes
    ----------
    name : str
        What messages call it.
    folder : str
        Where it lies below the input, "" for the input itself; what is written lies alike.
    version : tuple
        Tells the file from the same one at another time.
    local : callable
        Gives a path of this machine for as long as the context is open.
    """

    name: str
    folder: str
    version: tuple[object, ...]
    local: Callable[[], AbstractContextManager[Path]] = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What became of the files of an input.

    Attributes
    ----------
    folder : Path
    format : str
        ``parquet`` of CSV files, ``json`` of JSON files.
    rows : int
    malformed : MalformedRecords
    files : tuple of dict
        How each file was read.
    """

    folder: Path
    format: str
    rows: int
    malformed: MalformedRecords
    files: tuple[dict[str, Any], ...]


_OF_ONE_FILE = ("name", "records", "rows", "blank_lines", "columns", "malformed", "long_numbers")


def describe_converted(inputs: Sequence[Converted]) -> dict[str, Any]:
    """For the run report: how files were read, those that are alike together, and what they hold."""
    files = [file for each in inputs for file in each.files]
    alike: dict[tuple[tuple[str, Any], ...], int] = Counter(
        tuple((name, value) for name, value in file.items() if name not in _OF_ONE_FILE) for file in files
    )
    return {
        "files": len(files),
        "read_as": [dict(pairs) | {"files": count} for pairs, count in alike.items()],
        "records": sum(file["records"] for file in files),
        "set_aside": sum(len(each.malformed.records) for each in inputs),
        "blank_lines": sum(file.get("blank_lines", 0) for file in files),
    }


def convert(
    files: Sequence[RawFile], *, source: str, file_format: str, settings: ReadingSettings, wanted: tuple[str, ...] = ()
) -> Converted:
    """Convert CSV or JSON files.

    Parameters
    ----------
    files : sequence of RawFile
    source : str
        The input, for messages.
    file_format : str
        ``csv`` or ``json``.
    settings : ReadingSettings
    wanted : tuple of str
        Columns that will be read, as far as they are known; those of the first call decide.

    Raises
    ------
    InputError
        If a file cannot be read, has malformed records that are not set aside, or other columns than the others.
    """
    key = (tuple(files), file_format, settings)
    if key not in _known:
        folder = _work_folder() / f"input-{next(_numbers)}"
        try:
            _known[key] = _convert(files, source, folder, file_format=file_format, settings=settings, wanted=wanted)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return _known[key]


def forget_converted() -> None:
    """Remove what was converted, once nobody reads it any more."""
    while _known:
        shutil.rmtree(_known.popitem()[1].folder, ignore_errors=True)


def _convert(
    files: Sequence[RawFile],
    source: str,
    folder: Path,
    *,
    file_format: str,
    settings: ReadingSettings,
    wanted: tuple[str, ...],
) -> Converted:
    malformed = settings.malformed()
    found: list[dict[str, Any]] = []
    columns: tuple[str, ...] | None = None
    for number, file in enumerate(files):
        target = folder / file.folder / f"part-{number:05d}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.local() as path:
                if file_format == "csv":
                    about = _convert_csv(
                        file, path, target.with_suffix(".parquet"), settings, wanted, malformed, columns
                    )
                else:
                    about = _convert_json(file, path, target.with_suffix(".jsonl"), settings, malformed)
        except pa.ArrowException as error:
            raise _unwritable(folder, error) from error
        if columns is not None and sorted(columns) != sorted(about.get("columns", ())):
            raise InputError(
                f"{source}: {found[0]['name']} and {file.name} have different headers, or one has none; give each "
                "kind its "
                "own --input"
            )
        columns = about.get("columns")
        found.append(about)
        _LOGGER.info("%s: %s", file.name, _told(about))
        if malformed.are_hopeless(rows=sum(each["rows"] for each in found)):
            break
    rows = sum(about["rows"] for about in found)
    malformed.check(source, rows=rows, is_csv=file_format == "csv")
    return Converted(
        folder=folder,
        format="parquet" if file_format == "csv" else "json",
        rows=rows,
        malformed=malformed,
        files=tuple(found),
    )


def _convert_csv(
    file: RawFile,
    path: Path,
    target: Path,
    settings: ReadingSettings,
    wanted: tuple[str, ...],
    malformed: MalformedRecords,
    columns: tuple[str, ...] | None,
) -> dict[str, Any]:
    noted = len(malformed.records)
    for is_utf8 in (True, False):
        csv = CsvFile.look_at(
            lambda: opened(path, name=file.name),
            name=file.name,
            settings=settings.csv,
            encoding=settings.encoding,
            wanted=wanted,
            is_utf8=is_utf8,
        )
        # All files of an input have their columns in the order of the first.
        names = csv.layout.names
        order = columns if columns is not None and sorted(columns) == sorted(names) else names
        try:
            rows = _write_parquet(csv, target, order=order, malformed=malformed)
        except NotUtf8Error:
            del malformed.records[noted:]
            continue
        break
    return {
        "name": file.name,
        **csv.describe(),
        "columns": order,
        "rows": rows,
        "malformed": len(malformed.records) - noted,
        "blank_lines": csv.blank_lines,
        "records": csv.records,
    }


def _write_parquet(csv: CsvFile, target: Path, *, order: Sequence[str], malformed: MalformedRecords) -> int:
    """Write a file's rows, uncompressed since they are read again at once; returns how many there are."""
    rows = 0
    schema = pa.schema([(name, pa.string()) for name in order])
    with pq.ParquetWriter(
        target, schema, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    ) as writer:
        for table in csv.tables(malformed):
            writer.write_table(table.select(list(order)))
            rows += len(table)
    return rows


def _convert_json(
    file: RawFile, path: Path, target: Path, settings: ReadingSettings, malformed: MalformedRecords
) -> dict[str, Any]:
    noted = len(malformed.records)
    source = JsonFile.look_at(lambda: opened(path, name=file.name), name=file.name, encoding=settings.encoding)
    rows = 0
    with target.open("w", encoding="utf-8", newline="") as stream:
        for text in source.objects(malformed):
            stream.write(text + "\n")
            rows += 1
    return {
        "name": file.name,
        **source.describe(),
        "rows": rows,
        "malformed": len(malformed.records) - noted,
        "records": source.records,
        "long_numbers": sorted(source.long_numbers),
    }


def _told(about: dict[str, Any]) -> str:
    how = [about["format"], f"{about['encoding']} ({about['encoding_source']})"]
    if about["format"] == "csv":
        how.append(f"delimiter {about['delimiter']!r}")
        how += [f"quote {about['quote'] or 'none'}"] if about["quote"] != '"' else []
        how += [f"escape {about['escape']}"] if about["escape"] else []
        how += [f"lines passed over {about['skip']}"] if about["skip"] else []
        how += [] if about["header"] else ["no header"]
    if about["malformed"]:
        how.append(f"malformed {about['malformed']:,}")
    if about.get("blank_lines"):
        how.append(f"blank lines {about['blank_lines']:,}")
    return f"{', '.join(how)}: {about['rows']:,} rows"


def _unwritable(folder: Path, error: Exception) -> SentimentError:
    return SentimentError(f"{folder}: the input cannot be written there as Parquet ({error}); make room or set TMPDIR")


def _work_folder() -> Path:
    """A folder of this process, removed when it ends."""
    if not _folders:
        _folders.append(Path(tempfile.mkdtemp(prefix="sentiment-")))
        atexit.register(_remove_work)
    return _folders[0]


_folders: list[Path] = []


def _remove_work() -> None:
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def folder_of(name: str) -> str:
    """The folder of a relative path, "" for none."""
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent
