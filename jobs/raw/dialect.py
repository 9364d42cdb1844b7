"""The dialect of a CSV file: what is given wins, the rest is found by reading the head of the file strictly.

A dialect fits if every record of the head has as many fields as the first one and no quote breaks a rule. Of several
that fit, the one counts whose header has the columns that are asked for, then the one with more fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

import numpy as np

from jobs.raw.records import Dialect, read_windows, scan
from sentiment_core.errors import InputError

__all__ = ["CsvSettings", "Layout", "fields_of", "find_layout"]

_DELIMITERS = (",", ";", "\t", "|", ", ", "; ", "^", "~", "\x01", "\x1f")
# Excel's first line, which names the delimiter.
_SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?\r?(?:\n|\r)', re.IGNORECASE)
_MOST_TRIED = 2_000
_MOST_BROKEN = 50
_ROWS_OF_SHAPES = 200
# Of a column's values, the share that tells what they look like. What follows a malformed record must look like that
# even if a few of the values do not, since these may be broken themselves.
_NEARLY_ALL, _SOME = 0.95, 0.6
_FEWEST_ALIKE = 3
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,_ ]*(?:[eE][-+]?[0-9]+)?%?")
_DATE = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}(?:[ T].*)?")
_CODE = re.compile(r"(?=[^\s]{0,63}[0-9])[^\s]{1,64}")
_MADE_UP = re.compile(r"_c[0-9]+")


@dataclass(frozen=True, kw_only=True)
class CsvSettings:
    """What is known of CSV files before they are opened; None is found out.

    Attributes
    ----------
    delimiter : str, optional
        ``""`` if each line is one field.
    quote : str, optional
        ``""`` if quotes are plain characters.
    escape : str, optional
        ``""`` if a quote within quotes is doubled, else the backslash.
    header : bool, optional
    skip : int
        Lines above the header.
    nulls : tuple of str
        Words that, without quotes, stand for NULL, besides nothing at all.
    """

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    skip: int = 0
    nulls: tuple[str, ...] = (r"\N",)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a CSV file is to be read.

    Attributes
    ----------
    dialect : Dialect
    skip : int
        Lines above the header or, without one, above the first record.
    header : bool
    names : tuple of str
        Of the columns, each another one.
    repeated : dict
        Names that several columns have in the file, and what these are called instead.
    shapes : dict
        Of each column most of whose values look alike, what they look like.
    firm_shapes : dict
        Of each column nearly all of whose values look alike, what they look like.
    """

    dialect: Dialect
    skip: int
    header: bool
    names: tuple[str, ...]
    repeated: dict[str, list[str]] = field(default_factory=dict)
    shapes: dict[int, re.Pattern[str]] = field(default_factory=dict)
    firm_shapes: dict[int, re.Pattern[str]] = field(default_factory=dict)

    def is_record(self, fields: Sequence[str]) -> bool:
        """Whether fields look like those of a record, as far as the columns tell."""
        return all(
            place < len(fields) and (not fields[place] or shape.fullmatch(fields[place]))
            for place, shape in self.shapes.items()
        ) and any(fields[place : place + 1] != [""] for place in self.shapes)


@dataclass(frozen=True, kw_only=True)
class _Trial:
    dialect: Dialect
    records: list[bytes]
    counts: list[int]
    lines: list[int]
    faults: int
    n_fields: int
    quoted: int

    @property
    def share(self) -> float:
        good = sum(count == self.n_fields for count in self.counts)
        return good / max(1, len(self.counts) + self.faults)

    @property
    def fits(self) -> bool:
        return bool(self.counts) and self.share == 1


def find_layout(
    head: bytes, *, whole: bool, given: CsvSettings, wanted: Sequence[str] = (), nul: bool = False
) -> Layout:
    """Find out how a file is to be read.

    Parameters
    ----------
    head : bytes
        Whole lines from its beginning, UTF-8.
    whole : bool
        Whether that is all of the file.
    given : CsvSettings
    wanted : sequence of str
        Names of columns that will be read, as far as they are known.
    nul : bool
        Whether NUL within quotes is a part of the text.

    Raises
    ------
    InputError
        If the file is empty, no dialect fits or the header is elsewhere; the message lacks the file's name.
    """
    line_end = _line_end(head)
    skip, delimiter = given.skip, given.delimiter
    for _ in range(skip):
        end = head.find(line_end.encode())
        head = head[end + 1 :] if end >= 0 else b""
    marked = _SEPARATOR_LINE.match(head)
    if marked is not None:
        skip, head = skip + 1, head[marked.end() :]
        delimiter = marked[1].decode("latin-1") if delimiter is None else delimiter
    if not head and not skip:
        raise InputError("the file is empty (0 bytes)")
    if not head.strip():
        raise InputError("has no line with text" + (f" after the {skip:,} that are passed over" if skip else ""))
    dialects = (replace(dialect, nul=nul) for dialect in _dialects(head, given, delimiter, line_end))
    trials = [_try(head, dialect, whole=whole) for dialect in dialects]
    trial = _choose(trials, wanted, is_given=delimiter is not None, is_quote_given=given.quote is not None)
    has_header = _has_header(trial, given, wanted, skip=skip)
    first = fields_of(trial.records[0], trial.dialect)
    if has_header:
        if not any(name.strip() for name in first[trial.n_fields :]):
            first = first[: trial.n_fields]  # delimiters at its end, as no record has them
        _refuse_preamble(trial, first, skip=skip)
    names, repeated = _column_names(first if has_header else [""] * len(first))
    is_by_place = bool(wanted) and all(_MADE_UP.fullmatch(name) for name in wanted)
    if has_header and given.header is None and is_by_place and not set(wanted) & set(names):
        raise InputError(
            f"line {trial.lines[0] + skip:,} is taken for the header, so no column is called {wanted[0]}; write "
            "--csv-header absent if it is a record"
        )
    return Layout(
        dialect=trial.dialect,
        skip=skip,
        header=has_header,
        names=names,
        repeated=repeated,
        shapes=_shapes(_rows(trial, has_header), least=_SOME),
        firm_shapes=_shapes(_rows(trial, has_header), least=_NEARLY_ALL, odd=1),
    )


def _line_end(head: bytes) -> str:
    r"""``\r`` if more lines end with it alone than with ``\n``; what stands in double quotes ends no line."""
    if b"\r" not in head or b"\n" not in head:
        return "\r" if b"\r" in head else "\n"
    data = np.frombuffer(head, np.uint8)
    outside = np.cumsum(data == ord('"')) % 2 == 0
    alone = outside & (data == ord("\r"))
    # Before the end of a line there may be more than one.
    alone[:-1] &= (data[1:] != ord("\n")) & (data[1:] != ord("\r"))
    return "\r" if alone.sum() > (outside & (data == ord("\n"))).sum() else "\n"


def fields_of(record: bytes, dialect: Dialect) -> list[str]:
    """The fields of one record, without quotes and escapes."""
    found = scan(record, dialect, final=True)
    bounds = [-len(dialect.delimiter), *found.delimiters.tolist(), len(record)]
    fields = []
    for start, end in pairwise(bounds):
        text = record[start + len(dialect.delimiter) : end].decode(errors="replace")
        if dialect.quote and text.startswith(dialect.quote):
            text = text[1:-1]
            text = text if dialect.escape else text.replace(2 * dialect.quote, dialect.quote)
        fields.append(re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) if dialect.escape else text)
    return fields


def _dialects(head: bytes, given: CsvSettings, delimiter: str | None, line_end: str) -> Iterator[Dialect]:
    """Those that are possible, as far as their characters are there at all."""
    delimiters = _present(head, _DELIMITERS) or (",",)
    escapes = (None, *_present(head, ("\\",))) if given.escape is None else (given.escape or None,)
    quotes = ('"', *_present(head, ("'",))) if given.quote is None else (given.quote or None,)
    for escape in escapes:
        for quote in quotes:
            # Without a delimiter, one that no record may hold.
            for each in delimiters if delimiter is None else (delimiter or "\x00",):
                if each[0] != quote:
                    yield Dialect(delimiter=each, quote=quote, escape=escape, line_end=line_end)


def _present(head: bytes, characters: Sequence[str]) -> tuple[str, ...]:
    return tuple(each for each in characters if each.encode() in head)


def _try(head: bytes, dialect: Dialect, *, whole: bool) -> _Trial:
    records: list[bytes] = []
    counts: list[int] = []
    lines: list[int] = []
    faults = 0
    for window in read_windows([head], dialect):
        found = window.scan
        filled = np.flatnonzero(found.ends[: window.n] > found.starts[: window.n])[:_MOST_TRIED]
        starts = found.starts[filled].tolist()
        records += [window.text[start:end] for start, end in zip(starts, found.ends[filled].tolist())]
        counts += np.where(found.stray, -1, found.counts)[filled].tolist()
        ends = np.flatnonzero(np.frombuffer(window.text, np.uint8) == ord(dialect.line_end))
        lines += (window.line + np.searchsorted(ends, starts)).tolist()
        if window.broken is not None:
            if not whole and found.is_open:
                break
            faults += 1
        if faults > _MOST_BROKEN or len(records) > _MOST_TRIED:
            break
    usual = Counter(count for count in counts if count > 0).most_common(1)
    return _Trial(
        dialect=dialect,
        records=records,
        counts=counts,
        lines=lines,
        faults=faults,
        n_fields=usual[0][0] if usual else 0,
        quoted=_with_quotes(records, dialect) if dialect.quote == "'" else 0,
    )


def _with_quotes(records: list[bytes], dialect: Dialect) -> int:
    """How many records have a field in quotes."""
    quote = (dialect.quote or "").encode()
    field = dialect.delimiter.encode() + quote
    return sum(record.startswith(quote) or field in record for record in records)


def _choose(trials: list[_Trial], wanted: Sequence[str], *, is_given: bool, is_quote_given: bool) -> _Trial:
    def has_wanted(trial: _Trial) -> bool:
        return bool(wanted) and set(wanted) <= set(fields_of(trial.records[0], trial.dialect))

    # Single quotes are apostrophes unless most records have fields in them; a backslash is plain unless it must escape.
    trials = [
        trial
        for trial in trials
        if trial.dialect.quote != "'" or is_quote_given or 2 * trial.quoted > len(trial.records)
    ]
    fitting = [trial for trial in trials if trial.fits and trial.n_fields > 1]
    plain = [trial for trial in fitting if trial.dialect.escape is None] or fitting
    if plain:
        with_space = {trial.dialect.delimiter[0] for trial in plain if len(trial.dialect.delimiter) > 1}
        plain = [trial for trial in plain if trial.dialect.delimiter not in with_space]
        named = [trial for trial in plain if has_wanted(trial)] or plain
        return max(named, key=lambda trial: (trial.n_fields, trial.dialect.quote == "'", -trials.index(trial)))
    single = next((trial for trial in trials if trial.fits), None)
    if single is not None and (is_given or not any(_is_divided(trial) for trial in trials)):
        return single
    candidates = [trial for trial in trials if trial.records and (trial.n_fields > 1 or is_given)]
    if not candidates:
        raise InputError(
            "no delimiter divides its lines into fields alike; name it with --csv-delimiter, or write --csv-delimiter "
            "none "
            "if each line is one text"
        )
    best = max(
        candidates, key=lambda trial: (has_wanted(trial), round(trial.share, 3), trial.n_fields, -trials.index(trial))
    )
    if best.share < 0.5 and not is_given and not has_wanted(best):
        raise InputError(
            f"no dialect fits: with {_described(best.dialect)}, only {best.share:.0%} of the first records have "
            f"{best.n_fields} fields; state it with --csv-delimiter, --csv-quote and --csv-escape"
        )
    return best


def _is_divided(trial: _Trial) -> bool:
    """Whether a delimiter divides some lines, the header among them."""
    return bool(trial.counts) and trial.counts[0] > 1


def _described(dialect: Dialect) -> str:
    quote, escape = dialect.quote or "none", dialect.escape or "none"
    return f"the delimiter {dialect.delimiter!r}, the quote {quote} and the escape {escape}"


def _rows(trial: _Trial, has_header: bool) -> list[list[str]]:
    good = (
        record
        for record, count in zip(trial.records[has_header:], trial.counts[has_header:])
        if count == trial.n_fields and record != trial.records[0]
    )
    return [fields_of(record, trial.dialect) for record in islice(good, _ROWS_OF_SHAPES)]


def _shapes(rows: list[list[str]], *, least: float, odd: int = 0) -> dict[int, re.Pattern[str]]:
    """Of each column what at least that share of its values look like, or all but so many of a few values."""
    shapes = {}
    for place, values in enumerate(zip(*rows)):
        filled = [value for value in values if value]
        if 2 * len(filled) < len(values) or not filled:
            continue
        for shape in (_NUMBER, _DATE, _CODE):
            alike = sum(map(bool, map(shape.fullmatch, filled)))
            if alike >= least * len(filled) or (odd and alike >= max(_FEWEST_ALIKE, len(filled) - odd)):
                shapes[place] = shape
                break
    return shapes


def _has_header(trial: _Trial, given: CsvSettings, wanted: Sequence[str], *, skip: int) -> bool:
    if given.header is not None:
        return given.header
    first = fields_of(trial.records[0], trial.dialect)
    shapes = _shapes(_rows(trial, True), least=_NEARLY_ALL)
    alike = [place for place, shape in shapes.items() if place < len(first) and shape.fullmatch(first[place])]
    # A header of numbers, such as years, is one if its names are asked for.
    if not alike or set(wanted) & set(first):
        return True
    if not wanted or all(_MADE_UP.fullmatch(name) for name in wanted):
        return False
    raise InputError(
        f"line {skip + 1:,} looks like a record and not like a header; write --csv-header absent, which names the "
        "columns "
        "_c0, _c1 and so on, or --csv-header present"
    )


def _refuse_preamble(trial: _Trial, names: list[str], *, skip: int) -> None:
    """Refuse a file whose first line has fewer or more fields than the others, or nearly no names."""
    n_fields, counts = trial.n_fields, trial.counts
    empty = sum(not name.strip() for name in names)
    if len(names) == n_fields and (2 * empty <= len(names) or len(names) < 3):
        return
    shapes = _shapes(_rows(trial, True), least=_NEARLY_ALL, odd=1)
    places = [
        place
        for place, count in enumerate(counts)
        if place
        and count == n_fields
        and all(name.strip() for name in fields_of(trial.records[place], trial.dialect)[:-1])
    ]
    seems = ""
    if places:
        line, fields = trial.lines[places[0]] + skip, fields_of(trial.records[places[0]], trial.dialect)
        if not any(shape.fullmatch(fields[place]) for place, shape in shapes.items()):
            seems = f"; the header seems to be line {line:,}: pass over those above it with --csv-skip {line - 1}"
    if len(names) == n_fields:
        raise InputError(f"line {skip + 1:,} has names in {len(names) - empty} of {len(names)} fields{seems}")
    line = trial.lines[0] + skip
    cure = (
        f"; give each field a name, or write --csv-skip {line} --csv-header absent, which names the columns _c0, _c1 "
        "and so on"
    )
    raise InputError(
        f"line {line:,}, the header, has {max(0, counts[0])} fields, but most records have {n_fields}{seems or cure}"
    )


def _column_names(header: list[str]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Spark's names: ``_c2`` for the third if it has none, its place added if others have the same name."""
    folded = Counter(name.casefold() for name in header)
    names: list[str] = []
    repeated: dict[str, list[str]] = {}
    taken = {name.casefold() for name in header if name and folded[name.casefold()] == 1}
    for place, name in enumerate(header):
        called = name
        if not name.strip():
            called = _free(f"_c{place}", taken)
        elif folded[name.casefold()] > 1:
            called = _free(f"{name}{place}", taken)
            repeated.setdefault(name, []).append(called)
        taken.add(called.casefold())
        names.append(called)
    return tuple(names), repeated


def _free(name: str, taken: set[str]) -> str:
    while name.casefold() in taken:
        name += "_"
    return name
