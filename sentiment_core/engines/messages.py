"""What passes between a scorer and a process that its engine runs in: named Arrow arrays, and nothing that is run."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO

import pyarrow as pa

__all__ = ["read_message", "write_message"]

_LENGTH = struct.Struct("<Q")
_KIND = b"kind"


def write_message(stream: IO[bytes], kind: str, arrays: Mapping[str, pa.Array]) -> None:
    """Write a message: its length, then one Arrow record batch with one row, a list for each array."""
    lists = [pa.LargeListArray.from_arrays([0, len(array)], array) for array in arrays.values()]
    fields = [pa.field(name, array.type) for name, array in zip(arrays, lists)]
    batch = pa.RecordBatch.from_arrays(lists, schema=pa.schema(fields, metadata={_KIND: kind.encode()}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = sink.getvalue()
    stream.write(_LENGTH.pack(content.size))
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[str, dict[str, pa.Array]]:
    """Read a message.

    Raises
    ------
    EOFError
        If the other side has closed the stream, or died while it wrote.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    with pa.ipc.open_stream(_read_exactly(stream, length)) as reader:
        batch = reader.read_next_batch()
    return batch.schema.metadata[_KIND].decode(), {name: batch[name].flatten() for name in batch.schema.names}


def _read_exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return content
