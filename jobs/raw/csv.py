"""Read a CSV file into Arrow tables of strings, by two parsers that must agree on every field.

`jobs.raw.records` finds records and fields by the rules; Arrow's parser reads the values. Where the lengths of
the fields differ, nothing is read. What breaks the rules never reaches a table: it is malformed, by line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import chain
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from jobs.raw.dialect import CsvSettings, Layout, fields_of, find_layout
from jobs.raw.encoding import Encoding, assume_encoding, detect_encoding, given_encoding, utf8_blocks
from jobs.raw.malformed import MalformedRecords
from jobs.raw.records import Dialect, Window, read_windows
from sentiment_core.errors import InputError

__all__ = ["CsvFile", "NotUtf8Error", "Opener"]

Opener = Callable[[], AbstractContextManager[IO[bytes]]]

# From the head of a file, its dialect is found out.
_HEAD_BYTES = 256 << 10
_CONTINUED = "the next line, which is malformed, may belong to it"
_REST = "it follows a malformed record and may be the rest of it"
# What stands in a column of numbers or dates where there is none.
_NOTHING = re.compile(r"\s*(?:|#?n/?a|n\.a\.|nan|nat|null|none|nil|missing|unknown|[-–—?.])\s*", re.IGNORECASE)


class NotUtf8Error(Exception):
    """A file that was taken for UTF-8 is not."""


@dataclass(kw_only=True)
class CsvFile:
    """One CSV file.

    Attributes
    ----------
    opened : callable
        Opens the file's unpacked bytes, as often as it is called.
    name : str
        What messages call the file.
    encoding : Encoding
    layout : Layout
    nulls : tuple of str
        Words that stand for NULL where they are not in quotes.
    blank_lines, records : int
        Lines that hold nothing, and records with malformed ones, as far as the file was read.
    """

    opened: Opener
    name: str
    encoding: Encoding
    layout: Layout
    nulls: tuple[str, ...]
    blank_lines: int = 0
    records: int = 0

    @classmethod
    def look_at(
        cls,
        opened: Opener,
        *,
        name: str,
        settings: CsvSettings,
        encoding: str | None = None,
        wanted: tuple[str, ...] = (),
        is_utf8: bool = True,
    ) -> CsvFile:
        """Find out how a file is to be read.

        Parameters
        ----------
        opened : callable
        name : str
        settings : CsvSettings
        encoding : str, optional
        wanted : tuple of str
        is_utf8 : bool
            Whether a file whose head is UTF-8 is taken for UTF-8; reading it raises `NotUtf8Error` if it is not. Else
            all of it is read to find out.

        Raises
        ------
        InputError
            If that cannot be found out.
        """
        try:
            if encoding is None:
                found = None
                if is_utf8:
                    with opened() as stream:
                        found = assume_encoding(stream)
                if found is None:
                    with opened() as stream:
                        found = detect_encoding(stream)
            else:
                with opened() as stream:
                    found = given_encoding(stream, encoding)
            with opened() as stream:
                head, whole = _head(utf8_blocks(stream, found))
            # Of other encodings, NUL stands for bytes that are not valid.
            nul = found.source == "valid"
            layout = find_layout(head, whole=whole, given=settings, wanted=wanted, nul=nul)
        except InputError as error:
            raise error if str(error).startswith(name) else InputError(f"{name}: {error}") from error
        for repeated, called in layout.repeated.items():
            if repeated in wanted:
                raise InputError(
                    f"{name}: {len(called)} columns are named {repeated!r}; they are called {' and '.join(called)} "
                    "here, "
                    "name one of these"
                )
        return cls(opened=opened, name=name, encoding=found, layout=layout, nulls=settings.nulls)

    def describe(self) -> dict[str, Any]:
        """How the file is read, for reports."""
        dialect = {name: value for name, value in asdict(self.layout.dialect).items() if name != "nul"}
        dialect |= {"header": self.layout.header, "skip": self.layout.skip}
        return {"format": "csv", "encoding": self.encoding.name, "encoding_source": self.encoding.source} | dialect

    def tables(self, malformed: MalformedRecords) -> Iterator[pa.Table]:
        """Read the file; malformed records are noted.

        Raises
        ------
        InputError
            If the two parsers differ, or the bytes cannot be unpacked.
        NotUtf8Error
            If the file was taken for UTF-8.
        """
        reading, noted = _Reading(self, malformed), len(malformed.records)
        with self.opened() as stream:
            blocks = utf8_blocks(stream, self.encoding)
            blocks, skipped = _after(blocks, self.layout.skip, self.layout.dialect.line_end.encode())
            for window in _ahead(read_windows(blocks, self.layout.dialect, line=1 + skipped)):
                table = reading.read(window)
                self.blank_lines, self.records = reading.blank_lines, reading.records
                if len(table):
                    yield table
                if malformed.are_hopeless(rows=reading.rows):
                    break
        malformed.records[noted:] = sorted(malformed.records[noted:], key=lambda record: record.line)


def _head(blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Whole lines of the beginning, and whether that is all; longer if there is no line end."""
    head = b""
    for block in blocks:
        head += block
        cut = max(head.rfind(b"\n", 0, _HEAD_BYTES), head.rfind(b"\r", 0, _HEAD_BYTES - 1))
        if len(head) > _HEAD_BYTES and cut >= 0:
            return head[: cut + 1], False
    return head, True


def _after(blocks: Iterator[bytes], n_lines: int, line_end: bytes) -> tuple[Iterator[bytes], int]:
    """What follows some lines, and how many there were."""
    for number in range(n_lines):
        rest = b""
        for block in blocks:
            end = block.find(line_end)
            if end >= 0:
                rest = block[end + 1 :]
                break
        else:
            return iter(()), number
        blocks = chain([rest], blocks)
    return blocks, n_lines


def _ahead(windows: Iterator[Window]) -> Iterator[Window]:
    """The windows, the next one being found while one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, windows, None)
        while (window := coming.result()) is not None:
            coming = thread.submit(next, windows, None)
            yield window


class _Reading:
    """One pass over a file."""

    def __init__(self, file: CsvFile, malformed: MalformedRecords) -> None:
        self._file, self._layout, self._malformed = file, file.layout, malformed
        self._header: list[str] | None = None
        self._awaits_header = file.layout.header
        # After a malformed record, the next one must look like one, and may be the rest of one that has too few fields.
        self._resuming = self._doubts_next = False
        self.rows = self.blank_lines = self.records = 0

    def read(self, window: Window) -> pa.Table:
        """The good records of a window."""
        found, n_fields = window.scan, len(self._layout.names)
        lengths = found.ends - found.starts
        begin = self._pass_header(window) if self._awaits_header else 0
        blank = lengths == 0 if n_fields > 1 else np.zeros(len(lengths), np.bool_)
        good = (found.counts == n_fields) & ~found.stray & ~blank
        good[:begin] = good[window.n :] = False
        reasons: dict[int, str] = {}
        self._find_headers(window, good, reasons)
        self._find_other_quotes(window, good, reasons)
        self._find_footnotes(window, good, reasons)
        self._find_cut_off(window, good, reasons)
        in_window = np.zeros(len(lengths), np.bool_)
        in_window[begin : window.n] = True
        self.blank_lines += int((blank & in_window).sum())
        self.records += int((in_window & ~blank).sum()) + (window.broken is not None)
        bad = np.flatnonzero(in_window & ~good & ~blank)
        if len(bad) or self._resuming or window.broken is not None:
            self._set_aside(window, good, bad.tolist(), begin=begin, reasons=reasons)
        if window.n < len(lengths) and found.counts[window.n] < n_fields:
            # It belongs to the next window, and perhaps to this one's last record.
            self._doubt_before(window, good, window.n)
        table = self._without_foreign(window, good, self._parse(window, good))
        self.rows += len(table)
        return table

    def _pass_header(self, window: Window) -> int:
        """How many records the header and the blank lines above it are."""
        found = window.scan
        filled = np.flatnonzero(found.ends[: window.n] > found.starts[: window.n])
        if not len(filled):
            return window.n
        self._awaits_header = False
        self._header = fields_of(window.text[found.starts[filled[0]] : found.ends[filled[0]]], self._layout.dialect)
        return int(filled[0]) + 1

    def _find_headers(self, window: Window, good: npt.NDArray[np.bool_], reasons: dict[int, str]) -> None:
        """Records that repeat the header, whatever the case, quotes and spaces, as in files put one after the other."""
        if self._header is None or len(self._layout.names) == 1 or not good.any():
            return
        found, names = window.scan, [*map(_folded, self._header)]
        least, longest = sum(len(name.encode()) for name in names), max(names, key=len).encode()
        sizes = np.add.reduceat(found.contents, np.cumsum(found.counts) - found.counts)
        # A byte-order mark, and spaces around each name.
        for place in np.flatnonzero(good & (sizes >= least) & (sizes <= least + 3 + 2 * len(names))):
            record = window.text[found.starts[place] : found.ends[place]]
            if longest not in record.lower() and longest.isascii():
                continue
            folded = [*map(_folded, fields_of(record, self._layout.dialect))]
            if folded == names:
                good[place], reasons[int(place)] = False, "it repeats the header"
            elif sorted(folded) == sorted(names) and any(names):
                line = window.line_of(int(found.starts[place]))
                raise InputError(
                    f"{self._file.name}: line {line:,} is a header whose columns are in another order; "
                    "split the file there"
                )

    def _find_other_quotes(self, window: Window, good: npt.NDArray[np.bool_], reasons: dict[int, str]) -> None:
        """Records all of whose fields are in quotes that are not the file's."""
        dialect = self._layout.dialect
        if dialect.quote is None or len(self._layout.names) == 1:
            return
        other = "'" if dialect.quote == '"' else '"'
        found, data = window.scan, np.frombuffer(window.text, np.uint8)
        for place in np.flatnonzero(good)[data[found.starts[good]] == ord(other)]:
            record = window.text[found.starts[place] : found.ends[place]]
            filled = [value for value in fields_of(record, dialect) if value]
            if len(filled) > 1 and all(len(value) > 1 and value[0] == value[-1] == other for value in filled):
                good[place], reasons[int(place)] = False, f"its fields are in {other} and not in {dialect.quote}"

    def _without_foreign(self, window: Window, good: npt.NDArray[np.bool_], table: pa.Table) -> pa.Table:
        """The rows without those that are no records: lines of totals, of units or of another table's header.

        None of the values of such a row is of its column's kind; or the first one is not, and there is no text.
        """
        shapes = self._layout.firm_shapes
        if len(shapes) < 2 or not len(table):
            return table
        plain = [place for place in range(table.num_columns) if place not in shapes]
        first = min(shapes)
        suspects = np.flatnonzero(_is_unlike(table.column(first), shapes[first]))
        foreign: list[int] = []
        for place, row in zip(suspects.tolist(), table.take(suspects).to_pylist()):
            values = [*row.values()]
            filled = {at: shape.fullmatch(values[at]) for at, shape in shapes.items() if _is_value(values[at])}
            is_total = 0 in filled and not filled[0] and bool(plain) and not any(values[at] for at in plain)
            if is_total or (len(filled) > 1 and not any(filled.values())):
                foreign.append(place)
        if not foreign:
            return table
        places = np.flatnonzero(good)[foreign]
        for place in places.tolist():
            self._note(window, place, "its values are not of their columns' kinds, as those of a line of totals")
        kept = np.ones(len(table), np.bool_)
        kept[foreign] = False
        return table.filter(pa.array(kept))

    def _find_footnotes(self, window: Window, good: npt.NDArray[np.bool_], reasons: dict[int, str]) -> None:
        """Records with one word alone, in a column whose values look otherwise, are none."""
        found, n_fields, shape = window.scan, len(self._layout.names), self._layout.shapes.get(0)
        if n_fields < 3 or shape is None or not good.any():
            return
        filled = found.contents[np.repeat(good, found.counts)].reshape(-1, n_fields) > 0
        for place in np.flatnonzero(good)[filled[:, 0] & ~filled[:, 1:].any(axis=1)]:
            record = window.text[found.starts[place] : found.ends[place]]
            if shape.fullmatch(fields_of(record, self._layout.dialect)[0]) is None:
                good[place], reasons[int(place)] = False, "its only word is not of the first column's kind"

    def _find_cut_off(self, window: Window, good: npt.NDArray[np.bool_], reasons: dict[int, str]) -> None:
        """The last record of a file, if its last field is empty where no other's is, and it has no line end."""
        found = window.scan
        if window.text.endswith((b"\r", b"\n")) or not len(good) or not good[-1] or found.ends[-1] != len(window.text):
            return
        ends_empty = found.contents[np.cumsum(found.counts) - 1] == 0
        delimiter, quote = self._layout.dialect.delimiter, self._layout.dialect.quote or ""
        # Two quotes may begin a text that begins with a quote.
        is_cut = window.text.endswith((delimiter.encode(), f"{delimiter}{2 * quote}".encode())) and good[:-1].any()
        if is_cut and not ends_empty[:-1][good[:-1]].any():
            good[-1], reasons[len(good) - 1] = False, "the file ends within it"

    def _set_aside(
        self,
        window: Window,
        good: npt.NDArray[np.bool_],
        bad: list[int],
        *,
        begin: int,
        reasons: dict[int, str],
    ) -> None:
        """Note malformed records, and the good ones beside them that may be a part of them."""
        found = window.scan
        if self._resuming:
            self._resume(window, good, begin)
        for place in bad:
            record = window.text[found.starts[place] : found.ends[place]]
            count, stray = int(found.counts[place]), bool(found.stray[place])
            self._note(window, place, reasons.get(place) or self._reason(record, count, stray=stray))
            self._doubt_before(window, good, place)
            self._doubts_next |= bool(found.counts[place] < len(self._layout.names))
            if self._resuming or place not in reasons:
                self._resume(window, good, place + 1)
        if window.broken is not None:
            self._doubt_before(window, good, window.n, broken=window.broken_line)
            self._add(window.line_of(window.scan.next), window.broken)
            self._resuming = self._doubts_next = True

    def _resume(self, window: Window, good: npt.NDArray[np.bool_], place: int) -> None:
        """Let the next good record show that it is one."""
        self._resuming = True
        for follower in range(place, window.n):
            record = window.text[window.scan.starts[follower] : window.scan.ends[follower]]
            if not record:
                continue
            if not good[follower]:
                return  # it is noted by itself
            looks_right = bool(self._layout.shapes) and self._layout.is_record(fields_of(record, self._layout.dialect))
            # The rest of a record looks right in all but its first fields.
            is_certain = looks_right and (0 in self._layout.shapes or not self._doubts_next)
            self._resuming = not looks_right
            self._doubts_next &= not looks_right
            if is_certain:
                return
            good[follower] = False
            self._note(window, follower, _REST)
            if looks_right:
                return

    def _doubt_before(
        self, window: Window, good: npt.NDArray[np.bool_], place: int, *, broken: bytes | None = None
    ) -> None:
        """Set the last good record before a malformed one aside as well, if that may be the rest of it."""
        found = window.scan
        if broken is None and found.counts[place] >= len(self._layout.names):
            return
        record = window.text[found.starts[place] : found.ends[place]] if broken is None else broken
        before = np.flatnonzero(good[:place])
        if len(before) and not self._begins_record(record):
            good[before[-1]] = False
            self._note(window, int(before[-1]), _CONTINUED)

    def _begins_record(self, record: bytes) -> bool:
        """Whether a malformed record begins as others do."""
        if not self._layout.shapes:
            return False
        first = min(self._layout.shapes)
        dialect = self._layout.dialect
        parts = record.decode(errors="replace").split(dialect.delimiter)
        value = parts[first].strip(dialect.quote or "") if first < len(parts) else ""
        return len(parts) > 1 and self._layout.shapes[first].fullmatch(value) is not None

    def _reason(self, record: bytes, count: int, *, stray: bool) -> str:
        n_fields = len(self._layout.names)
        if b"\0" in record:
            return f"it has bytes that are not {self._file.encoding.name}, or NUL"
        if stray and len(self._layout.dialect.delimiter) > 1:
            return "a delimiter lacks the space that follows the others"
        if stray:
            return "it has a line end of another kind than the file's, outside quotes"
        return f"it has {count} fields, not {n_fields}"

    def _note(self, window: Window, place: int, reason: str) -> None:
        self._add(window.line_of(int(window.scan.starts[place])), reason)

    def _add(self, line: int, reason: str) -> None:
        self._malformed.add(file=self._file.name, line=line, reason=reason)

    def _parse(self, window: Window, good: npt.NDArray[np.bool_]) -> pa.Table:
        """The values of some records, by Arrow's parser."""
        found, layout = window.scan, self._layout
        n_rows, n_fields = int(good.sum()), len(layout.names)
        types = dict.fromkeys(layout.names, pa.string())
        if not n_rows:
            return pa.table({name: pa.array([], kind) for name, kind in types.items()})
        text = _text_of(window, good, layout.dialect)
        if text.startswith(codecs.BOM_UTF8):
            text = codecs.BOM_UTF8 + text  # Arrow takes one away, which here is a part of a value
        table = _read_csv(
            text,
            read_options=pyarrow.csv.ReadOptions(
                column_names=list(layout.names), block_size=(1 << 31) - 1, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                # Without a delimiter, a character that no good record holds.
                delimiter=layout.dialect.delimiter[0].replace("\0", "\x1f"),
                quote_char=layout.dialect.quote or False,
                double_quote=layout.dialect.escape is None,
                escape_char=layout.dialect.escape or False,
                newlines_in_values=True,
                ignore_empty_lines=False,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types,
                check_utf8=self._file.encoding.source == "valid",
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=["", *self._file.nulls],
            ),
        )
        fields = np.repeat(good, found.counts)
        expected = found.contents[fields]
        if len(table) != n_rows or len(expected) != n_rows * n_fields:
            raise self._disagreement(window, f"{n_rows:,} and {len(table):,} records")
        null_lengths = [0, *(len(word.encode()) for word in self._file.nulls)]
        for place, column in enumerate(table.columns):
            lengths = expected[place::n_fields]
            same = np.where(_is_filled(column), _lengths(column) == lengths, np.isin(lengths, null_lengths))
            if not same.all():
                raise self._disagreement(window, f"different values in the column {layout.names[place]!r}")
        return table

    def _disagreement(self, window: Window, what: str) -> InputError:
        return InputError(
            f"{self._file.name}: two parsers find {what} in the records from line {window.line:,} on, so its dialect "
            "is not "
            "understood; write it as plain CSV or Parquet"
        )


def _text_of(window: Window, good: npt.NDArray[np.bool_], dialect: Dialect) -> bytes:
    """The text of some records, each with its line end."""
    found, text = window.scan, window.text
    begins = found.starts
    ends = np.append(found.starts[1:], found.next)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    parts = [text[begins[first] : ends[last - 1]] for first, last in zip(edges[::2], edges[1::2])]
    # Of a line end of three characters, Arrow would take the first one for a line end by itself.
    dropped = found.ends[ends - found.ends == len("\r\r\n")]
    if len(dialect.delimiter) > 1:
        # The delimiter is a character and a space; Arrow knows one of one character.
        dropped = np.append(dropped, found.delimiters + 1)
    if len(dropped):
        parts = [_without(window, good, begins, ends, dropped)]
    # Without a line end, Arrow takes an empty last field for an empty text.
    return b"".join(part if part.endswith((b"\r", b"\n")) else part + b"\n" for part in parts)


def _without(window: Window, good: npt.NDArray[np.bool_], begins: Any, ends: Any, dropped: Any) -> bytes:
    data = np.frombuffer(window.text, np.uint8)
    change = np.zeros(len(data) + 1, np.int8)
    np.add.at(change, begins[good], 1)
    np.add.at(change, ends[good], -1)
    kept = np.cumsum(change[:-1]) > 0
    kept[dropped] = False
    return bytes(data[kept])


def _read_csv(text: bytes, **options: Any) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(pa.BufferReader(text), **options)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise NotUtf8Error from error
        raise


def _folded(name: str) -> str:
    """A column's name as far as case, spaces and a byte-order mark do not matter."""
    return name.strip("\ufeff \t").casefold()


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
    return lengths


def _is_unlike(column: pa.ChunkedArray, shape: re.Pattern[str]) -> npt.NDArray[np.bool_]:
    """Which values may not look like that, or are not there."""
    # Arrow's patterns cannot look ahead, as that of codes does: none of these has no digit.
    pattern = r"[0-9]" if shape.pattern.startswith("(?=") else f"^(?:{shape.pattern})$"
    alike = pc.fill_null(pc.match_substring_regex(column, pattern), False)
    unlike: npt.NDArray[np.bool_] = ~alike.to_numpy()
    return unlike


def _is_value(value: str | None) -> bool:
    """Whether a field holds more than nothing, or a word for it."""
    return value is not None and _NOTHING.fullmatch(value) is None


def _is_filled(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    filled: npt.NDArray[np.bool_] = column.is_valid().to_numpy()
    return filled
