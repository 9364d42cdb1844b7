"""Read CSV bytes as the jobs do, without Spark."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jobs.raw.compression import opened
from jobs.raw.csv import CsvFile, NotUtf8Error
from jobs.raw.dialect import CsvSettings
from jobs.raw.malformed import MalformedRecords
from sentiment_core.errors import InputError

Rows = list[tuple[str | None, ...]]


def look_at(
    path: Path, content: bytes, *, wanted: tuple[str, ...] = (), encoding: str | None = None, **given: Any
) -> CsvFile:
    path.write_bytes(content)
    look = partial(
        CsvFile.look_at,
        lambda: opened(path, name=path.name),
        name=path.name,
        settings=CsvSettings(**given),
        encoding=encoding,
        wanted=wanted,
    )
    try:
        file = look()
        list(file.tables(MalformedRecords(policy="set-aside", max_ratio=1.0)))
    except NotUtf8Error:
        return look(is_utf8=False)
    except InputError:
        return look()
    return file


def read_rows(file: CsvFile, *, policy: str = "refuse") -> tuple[Rows, MalformedRecords]:
    """The rows of a file and its malformed records, which the policy ``refuse`` does not let pass."""
    malformed = MalformedRecords(policy=policy, max_ratio=1.0)
    rows = [tuple(row.values()) for part in file.tables(malformed) for row in part.to_pylist()]
    assert file.records == len(rows) + len(malformed.records), "each record is read or set aside"
    if policy == "refuse":
        malformed.check(file.name, rows=len(rows))
    return rows, malformed
