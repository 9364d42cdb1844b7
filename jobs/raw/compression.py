"""Open a file whatever it is compressed with, or name the codec that cannot be opened.

The codec is what the first bytes of a file are, never what its name ends with.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from sentiment_core.errors import InputError

__all__ = ["COMPRESSED_SUFFIXES", "codec_of", "opened"]

# Of compressed files, as they follow the format's own: ``reviews.csv.gz``.
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".zst", ".zstd", ".xz", ".lz4", ".snappy", ".zip", ".7z", ".rar", ".z", ".br")

_READABLE = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22M\x18": "lz4",
}
_REFUSED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress (.Z)",
    b"\xff\x06\0\0sNaPpY": "snappy",
    b"\x89LZO\0": "LZO",
    b"LZIP": "lzip",
    b"\xd0\xcf\x11\xe0": "Microsoft Office",
    b"%PDF-": "PDF",
    b"PAR1": "Parquet",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"SQLite format 3\0": "SQLite",
}
_CURES = {
    "zip": "unpack it; if it is an Excel workbook, save it as CSV",
    "Microsoft Office": "save it as CSV",
    "PDF": "export the table as CSV",
    "Parquet": "give it with --input-format parquet",
    **dict.fromkeys(("Avro", "ORC", "SQLite"), "write it as Parquet or CSV"),
}
_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, pa.ArrowException)


def codec_of(head: bytes) -> str | None:
    """Name of the codec that a file's first bytes belong to, None for a file that is not compressed.

    Raises
    ------
    InputError
        If it is one that cannot be opened here; the message lacks the file's name.
    """
    for magic, codec in _REFUSED.items():
        if head.startswith(magic):
            cure = _CURES.get(codec, "unpack it, or pack it with gzip, bzip2, zstd, xz or lz4")
            raise InputError(f"is a file of the kind {codec}, which cannot be read; {cure}")
    return next((codec for magic, codec in _READABLE.items() if head.startswith(magic)), None)


@contextmanager
def opened(path: Path, *, name: str) -> Iterator[IO[bytes]]:
    """Open a file for reading its unpacked bytes.

    Parameters
    ----------
    path : Path
    name : str
        What messages call the file.

    Raises
    ------
    InputError
        While opening or reading, if the codec cannot be opened or the file is damaged or cut off.
    """
    codec = None
    try:
        with path.open("rb") as file:
            codec = codec_of(file.read(16))
            file.seek(0)
            yield _unpacked(file, codec)
    except InputError as error:
        if codec is None and not str(error).startswith(name):
            raise InputError(f"{name}: {error}") from error
        raise
    except _DAMAGE as error:
        if codec is None and not isinstance(error, OSError):
            raise
        what = f"as {codec} " if codec else ""
        raise InputError(
            f"{name}: cannot be read {what}({type(error).__name__}: {error}); the file is damaged or cut off: replace "
            "it"
        ) from error


def _unpacked(file: IO[bytes], codec: str | None) -> Any:
    if codec == "gzip":
        return gzip.open(file)
    if codec == "bzip2":
        return bz2.open(file)
    if codec == "xz":
        return lzma.open(file)
    if codec is not None:
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec)
    return file
