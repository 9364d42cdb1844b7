"""Where the records and fields of a CSV text lie, by RFC 4180 or a stated dialect; whatever breaks it is named.

A text is looked at as an array of bytes. Of a text that begins with a record, a byte lies within quotes if the number
of quotes before it is odd, since a doubled quote counts twice. That holds up to the first quote that breaks the rules:
one that opens where no field begins, or closes where none ends. N is the number of records, F of their fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_RECORD_BYTES", "Dialect", "Scan", "Window", "read_windows", "scan"]

# Of one record; a longer one is taken for a quote that is never closed.
MOST_RECORD_BYTES = 64 << 20
WINDOW_BYTES = 8 << 20
# Looked at after a fault: what follows may hold more of them.
SMALL_WINDOW_BYTES = 64 << 10
_LF, _CR, _SPACE, _BACKSLASH = b"\n"[0], b"\r"[0], b" "[0], b"\\"[0]
_Positions = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]

_BARE = "a quote stands inside a field that does not begin with one"
_AFTER = "text follows the quote that ends a field"
_OPEN = "a quote opens here that is never closed"
_LONG = f"a record is longer than {MOST_RECORD_BYTES >> 20} MB, as if a quote were never closed"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    r"""How the fields of a file are written.

    Attributes
    ----------
    delimiter : str
        One ASCII character, or one and a space.
    quote : str or None
        One ASCII character; None if quotes are plain characters.
    escape : str or None
        None if a quote within quotes is doubled, else the backslash: it makes a quote, a backslash, the delimiter or a
        line end plain; before anything else it is plain itself.
    line_end : str
        ``\n``, before which there may be ``\r`` once, or twice as Python writes on Windows; or ``\r``.
    nul : bool
        Whether NUL within quotes is a part of the text; else no record may hold any.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    line_end: str = "\n"
    nul: bool = False


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a text holds.

    Attributes
    ----------
    starts, ends : array of int, shape (N,)
        Of the complete records, line ends left out.
    next : int
        Where the record begins that is not complete, or that a quote breaks.
    counts : array of int, shape (N,)
        Fields of each record.
    contents : array of int, shape (F,)
        Bytes of each field once quotes and escapes are taken away.
    delimiters : array of int, shape (F - N,)
        Where fields of these records are separated.
    stray : array of bool, shape (N,)
        Records with NUL or a line end where it may not be, or with a delimiter that lacks its space.
    broken : str or None
        How a quote breaks the rules in the record at `next`.
    is_open : bool
        Whether the text ends within quotes.
    """

    starts: _Positions
    ends: _Positions
    next: int
    counts: _Positions
    contents: _Positions
    delimiters: _Positions
    stray: _Mask
    broken: str | None
    is_open: bool


def scan(text: bytes, dialect: Dialect, *, final: bool) -> Scan:
    """Find the records of a text that begins with one.

    Parameters
    ----------
    text : bytes
        UTF-8; if the dialect has an escape, each backslash escapes something.
    dialect : Dialect
    final : bool
        Whether nothing follows, so that the last record needs no line end.
    """
    data = np.frombuffer(text, np.uint8)
    escapes = _active_escapes(data) if dialect.escape else None
    quotes = _positions(data, dialect.quote, escapes)
    delimiters = _positions(data, dialect.delimiter[:1], escapes)
    line_ends = _positions(data, dialect.line_end, escapes)
    broken, valid = _first_fault(data, quotes, dialect)
    quotes = quotes[quotes < valid]
    delimiters = _outside(delimiters[delimiters < valid], quotes)
    line_ends = _outside(line_ends[line_ends < valid], quotes)
    is_open = broken is None and len(quotes) % 2 == 1
    ended = len(line_ends) > 0 and line_ends[-1] == len(data) - 1
    if final and broken is None and not is_open and not ended and len(data):
        line_ends = np.append(line_ends, len(data))

    starts = np.append(0, line_ends[:-1] + 1)[: len(line_ends)]
    ends = line_ends.copy()
    for _ in range(2 if dialect.line_end == "\n" and len(ends) else 0):
        ends -= (ends > starts) & (data[np.maximum(ends - 1, 0)] == _CR)
    end = min(int(line_ends[-1]) + 1, len(data)) if len(line_ends) else 0
    delimiters = delimiters[delimiters < end]
    before = np.searchsorted(delimiters, np.append(starts, end))
    field_starts = np.insert(delimiters + len(dialect.delimiter), before[:-1], starts)
    field_ends = np.insert(delimiters, before[1:], ends)
    return Scan(
        starts=starts,
        ends=ends,
        next=end,
        counts=np.diff(before) + 1,
        contents=_contents(data, field_starts, field_ends, quotes=quotes, escapes=escapes, dialect=dialect),
        delimiters=delimiters,
        stray=_stray(text, data, starts, quotes=quotes, delimiters=delimiters, end=end, dialect=dialect),
        broken=broken,
        is_open=is_open,
    )


def _positions(data: npt.NDArray[np.uint8], character: str | None, escapes: _Positions | None) -> _Positions:
    if character is None:
        return np.empty(0, np.int64)
    found: _Positions = np.flatnonzero(data == ord(character))
    if escapes is not None:
        found = found[~np.isin(found, escapes + 1)]
    return found


def _active_escapes(data: npt.NDArray[np.uint8]) -> _Positions:
    """Backslashes that escape the next byte: of a run of them, each second one."""
    found = np.flatnonzero(data == _BACKSLASH)
    if not len(found):
        return found
    begins = np.append(True, np.diff(found) != 1)
    place = np.arange(len(found)) - np.maximum.accumulate(np.where(begins, np.arange(len(found)), 0))
    active: _Positions = found[place % 2 == 0]
    return active


def _outside(positions: _Positions, quotes: _Positions) -> _Positions:
    outside: _Positions = positions[np.searchsorted(quotes, positions) % 2 == 0] if len(quotes) else positions
    return outside


def _first_fault(data: npt.NDArray[np.uint8], quotes: _Positions, dialect: Dialect) -> tuple[str | None, int]:
    """The first quote that breaks the rules: how, and up to where the text is sound."""
    if not len(quotes):
        return None, len(data)
    opening, closing = quotes[::2], quotes[1::2]
    doubles = dialect.escape is None
    begins = _is_field_start(data, opening, dialect)
    if doubles:
        begins[1:] |= closing[: len(opening) - 1] == opening[1:] - 1
    ends = _is_field_end(data, closing, dialect)
    if doubles:
        ends[: len(opening) - 1] |= opening[1:] == closing[: len(opening) - 1] + 1
    bare, after = opening[~begins], closing[~ends]
    if not len(bare) and not len(after):
        return None, len(data)
    # What comes after the first fault means nothing.
    if not len(after) or (len(bare) and bare[0] < after[0]):
        return _BARE, int(bare[0])
    return _AFTER, int(after[0])


def _is_field_start(data: npt.NDArray[np.uint8], places: _Positions, dialect: Dialect) -> _Mask:
    before = data[np.maximum(places - 1, 0)]
    found: _Mask = (places == 0) | (before == ord(dialect.line_end))
    if len(dialect.delimiter) == 1:
        found |= before == ord(dialect.delimiter)
    else:
        found |= (before == _SPACE) & (data[np.maximum(places - 2, 0)] == ord(dialect.delimiter[0])) & (places > 1)
    return found


def _is_field_end(data: npt.NDArray[np.uint8], places: _Positions, dialect: Dialect) -> _Mask:
    last = len(data) - 1
    after = data[np.minimum(places + 1, last)]
    # At the end of the text, what follows is not known yet.
    found: _Mask = (places == last) | (after == ord(dialect.line_end)) | (after == ord(dialect.delimiter[0]))
    if dialect.line_end == "\n":
        second, third = data[np.minimum(places + 2, last)], data[np.minimum(places + 3, last)]
        ends_line = (second == _LF) | ((second == _CR) & (third == _LF)) | ((second == _CR) & (places + 2 == last))
        found |= (after == _CR) & (ends_line | (places + 1 == last))
    return found


def _contents(
    data: npt.NDArray[np.uint8],
    starts: _Positions,
    ends: _Positions,
    *,
    quotes: _Positions,
    escapes: _Positions | None,
    dialect: Dialect,
) -> _Positions:
    lengths = ends - starts
    if len(quotes):
        within = np.searchsorted(quotes, ends) - np.searchsorted(quotes, starts)
        # Two quotes around it, and of each doubled one the second.
        lengths -= np.where(within > 0, within // 2 + 1 if dialect.escape is None else 2, 0)
    if escapes is not None and len(escapes):
        lengths -= np.searchsorted(escapes, ends) - np.searchsorted(escapes, starts)
    return lengths


def _stray(
    text: bytes,
    data: npt.NDArray[np.uint8],
    starts: _Positions,
    *,
    quotes: _Positions,
    delimiters: _Positions,
    end: int,
    dialect: Dialect,
) -> _Mask:
    found = [np.empty(0, np.int64)]
    if b"\0" in text:
        nuls = np.flatnonzero(data == 0)
        found.append(_outside(nuls, quotes) if dialect.nul else nuls)
    if dialect.line_end == "\r" and b"\n" in text:
        found.append(_outside(np.flatnonzero(data == _LF), quotes))
    elif dialect.line_end == "\n" and b"\r" in text:
        returns = np.flatnonzero(data == _CR)
        last = len(data) - 1
        after, second = data[np.minimum(returns + 1, last)], data[np.minimum(returns + 2, last)]
        ends_line = (returns < last) & ((after == _LF) | ((after == _CR) & (second == _LF) & (returns + 1 < last)))
        found.append(_outside(returns[~ends_line], quotes))
    if len(dialect.delimiter) > 1:
        found.append(delimiters[data[np.minimum(delimiters + 1, len(data) - 1)] != _SPACE])
    places = np.concatenate(found)
    is_stray = np.zeros(len(starts), np.bool_)
    is_stray[np.searchsorted(starts, places[places < end], side="right") - 1] = True
    return is_stray


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a file that begins with a record, and what its records are.

    Attributes
    ----------
    text : bytes
    scan : Scan
    n : int
        How many of the records belong to this window; the next window begins with the others.
    line : int
        Of the file, at which the text begins.
    line_end : str
    broken : str or None
        Why the record after those cannot be read; its first line is passed over.
    """

    text: bytes
    scan: Scan
    n: int
    line: int
    line_end: str
    broken: str | None

    def line_of(self, position: int) -> int:
        """The file's line at a position of the text."""
        return self.line + self.text.count(self.line_end.encode(), 0, position)

    @property
    def broken_line(self) -> bytes:
        """The line that is passed over."""
        end = self.text.find(self.line_end.encode(), self.scan.next)
        return self.text[self.scan.next :] if end < 0 else self.text[self.scan.next : end]


def read_windows(blocks: Iterable[bytes], dialect: Dialect, *, line: int = 1) -> Iterator[Window]:
    """Read a file in windows of records.

    A record that a quote breaks ends its window. Reading goes on with the line after its first one, since the quote may
    have been opened by mistake: whether that line begins a record is for the caller to find out.

    Parameters
    ----------
    blocks : iterable of bytes
        UTF-8.
    dialect : Dialect
    line : int
        Of the file, at which the blocks begin.
    """
    source = iter(blocks if dialect.escape is None else _escaped_alike(blocks, dialect))
    text, size, at_end = b"", WINDOW_BYTES, False
    end_of_line = dialect.line_end.encode()
    while True:
        while len(text) < size and not at_end:
            block = next(source, None)
            at_end = block is None
            text += block or b""
        if not text:
            return
        # Lone line ends are told from pairs by the byte after them.
        cut = len(text) if at_end and len(text) <= size else min(size, len(text))
        final = at_end and cut == len(text)
        part = text[:cut]
        found = scan(part, dialect, final=final)
        broken = found.broken or (_OPEN if final and found.is_open else None)
        n = len(found.starts)
        if broken is None and not final:
            filled = np.flatnonzero(found.ends > found.starts)
            if len(filled) < 2 and len(part) < MOST_RECORD_BYTES:
                size = 2 * max(size, len(part))
                continue
            broken = _LONG if not n else None
            # The last record shows whether the one before it is complete, and is looked at again with the next one.
            n = int(filled[-1]) if len(filled) > 1 else n
        if broken is not None and part.find(end_of_line, found.next) < 0 and not final:
            size = 2 * max(size, len(part))
            continue
        yield Window(text=part, scan=found, n=n, line=line, line_end=dialect.line_end, broken=broken)
        taken = found.next if n == len(found.starts) else int(found.starts[n])
        if broken is not None:
            end = part.find(end_of_line, taken)
            taken = len(part) if end < 0 else end + 1
        line += part.count(end_of_line, 0, taken)
        text = text[taken:]
        size = SMALL_WINDOW_BYTES if broken else min(2 * size, WINDOW_BYTES)
        if final and not text:
            return


def _escaped_alike(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """Double each backslash that is plain, so that every one escapes something."""
    special = re.escape(f"{dialect.delimiter[0]}{dialect.quote or ''}\\\r\n".encode())
    pattern = re.compile(rb"\\([" + special + rb"])|\\")
    rest = b""
    for block in blocks:
        block = rest + block
        # A backslash at the end waits for what it stands before.
        run = len(block) - len(block.rstrip(b"\\"))
        rest = b"\\" if run % 2 else b""
        yield pattern.sub(_keep_or_double, block[: len(block) - len(rest)])
    yield rest + rest


def _keep_or_double(match: re.Match[bytes]) -> bytes:
    return match[0] if match[1] else b"\\\\"
