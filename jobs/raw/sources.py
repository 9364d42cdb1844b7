"""Which files of a folder hold data, and of which format they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from jobs.raw.compression import COMPRESSED_SUFFIXES
from sentiment_core.errors import InputError

__all__ = ["GLOB_CHARACTERS", "DataFiles", "choose_files", "format_of"]

GLOB_CHARACTERS = re.compile(r"[*?\[\]{}]")
_FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt", ".psv"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".jsonlines", ".ndjson"), "json"),
    **dict.fromkeys((".parquet", ".parq", ".pq"), "parquet"),
}
_FOREIGN = {
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".ods": "a spreadsheet",
    ".avro": "an Avro file",
    ".orc": "an ORC file",
    ".feather": "an Arrow file",
    ".arrow": "an Arrow file",
    ".xml": "an XML file",
    ".pkl": "a pickle",
    ".sqlite": "a database",
    ".db": "a database",
}
# What people keep beside their data.
_NO_DATA_NAMES = re.compile(
    r"(?:read_?me|licen[cs]e|copying|changelog|notice|manifest|thumbs\.db|desktop\.ini)\b.*", re.IGNORECASE
)
_NO_DATA_SUFFIXES = (
    *(
        ".md",
        ".rst",
        ".html",
        ".htm",
        ".pdf",
        ".png",
        ".jpg",
        ".svg",
        ".crc",
        ".md5",
        ".sha1",
        ".sha256",
        ".sig",
        ".asc",
    ),
    *(".py", ".sql", ".sh", ".r", ".ipynb", ".yaml", ".yml", ".toml", ".log", ".ini", ".cfg", ".bak", ".tmp"),
)


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """The files of an input.

    Attributes
    ----------
    format : str
        ``parquet``, ``csv`` or ``json``.
    names : tuple of str
        Relative to the input; empty for a file that is the input.
    passed_over : tuple of str
        Files that hold no data.
    """

    format: str
    names: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


def format_of(name: str) -> str | None:
    """Format of a file by its suffix, in any case and before that of a compression; None if that says nothing."""
    return _FORMATS.get(_suffix(name))


def choose_files(source: str, names: Sequence[str], *, input_format: str | None = None) -> DataFiles:
    """Tell data from other files.

    Parameters
    ----------
    source : str
        A file or a folder.
    names : sequence of str
        The files in it, relative to it; one empty name if it is a file.
    input_format : str, optional
        Of all of the data files.

    Raises
    ------
    InputError
        If there are none, or files of several formats or of one that cannot be read.
    """
    if list(names) == [""]:
        chosen = input_format or format_of(source)
        if chosen is None:
            _refuse_foreign(source)
            chosen = "parquet"
        return DataFiles(format=chosen, names=("",))
    no_data = [name for name in names if _holds_no_data(name)]
    data = [name for name in names if name not in set(no_data)]
    if not data:
        raise InputError(f"{source}: no data file there; name a file or a directory that holds some")
    formats = {name: format_of(name) for name in data}
    known = sorted({each for each in formats.values() if each is not None})
    if input_format is None:
        if len(known) > 1:
            examples = " and ".join(next(name for name in data if formats[name] == each) for each in known)
            raise InputError(
                f"{source}: holds files of several formats ({examples}); give each kind its own --input, or move "
                "those away "
                "that are no data"
            )
        chosen = known[0] if known else format_of(source) or "parquet"
    else:
        chosen = input_format
    for name, found in formats.items():
        if found is None and (known or _suffix(name) in _FOREIGN):
            _refuse_foreign(f"{source.rstrip('/')}/{name}", beside=chosen)
        if found not in (None, chosen):
            raise InputError(f"{source}: {name} is no {chosen} file by its name; give each format its own --input")
    return DataFiles(format=chosen, names=tuple(data), passed_over=tuple(no_data))


def _holds_no_data(name: str) -> bool:
    path = PurePosixPath(name)
    return _NO_DATA_NAMES.fullmatch(path.name) is not None or path.suffix.lower() in _NO_DATA_SUFFIXES


def _refuse_foreign(name: str, *, beside: str | None = None) -> None:
    suffix = _suffix(name)
    if suffix in _FOREIGN:
        raise InputError(f"{name}: is {_FOREIGN[suffix]}, which cannot be read; write it as Parquet or CSV")
    if beside is not None and suffix not in ("", *_FORMATS):
        raise InputError(
            f"{name}: its name does not say whether it is a {beside} file as others are; rename it or move it away"
        )


def _suffix(name: str) -> str:
    """The last suffix in lower case, of a compressed file the one before."""
    path = PurePosixPath(name.lower())
    while path.suffix in COMPRESSED_SUFFIXES and path.stem != path.name:
        path = path.with_suffix("")
    return path.suffix
