"""Read JSON objects, one a line, one after the other or in arrays, strictly; what is no object is malformed, by line.

Python's parser checks each object; what it read is written again, an object a line, for Spark or Arrow to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobs.raw.csv import Opener
from jobs.raw.encoding import Encoding, detect_encoding, given_encoding, utf8_blocks
from jobs.raw.malformed import MalformedRecords
from sentiment_core.errors import InputError

__all__ = ["JsonFile"]

_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT_OBJECT = re.compile(r"[ \t\r]*\{")
# Whole numbers up to this one are kept by a double, which Spark takes for a column that has fractions as well.
_MOST_EXACT = 2**53
_LONG_NUMBER = re.compile(r"[0-9]{16}")
_MOST_OBJECT_CHARACTERS = 64 << 20
_HEAD_CHARACTERS = 1 << 20
_TWICE = "an object has a name twice"
_HALF = "it escapes one half of a character"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(kw_only=True)
class JsonFile:
    """One JSON file.

    Attributes
    ----------
    opened : callable
        Opens the file's unpacked bytes, as often as it is called.
    name : str
        What messages call the file.
    encoding : Encoding
    layout : str
        ``lines`` of one object each, ``objects`` on any number of lines each, or the elements of an ``array``.
    records : int
        With malformed ones, as far as the file was read.
    long_numbers : set of tuple of str
        Names that lead to whole numbers that a double does not keep.
    """

    opened: Opener
    name: str
    encoding: Encoding
    layout: str
    records: int = 0
    long_numbers: set[tuple[str, ...]] = field(default_factory=set)

    @classmethod
    def look_at(cls, opened: Opener, *, name: str, encoding: str | None = None) -> JsonFile:
        """Find out how a file is to be read.

        Raises
        ------
        InputError
            If it is empty or its encoding cannot be told.
        """
        try:
            with opened() as stream:
                found = detect_encoding(stream) if encoding is None else given_encoding(stream, encoding)
            with opened() as stream:
                head = _head(_texts(utf8_blocks(stream, found)))
            if not head:
                raise InputError("the file is empty" + ("" if found.source == "BOM" else " or blank"))
        except InputError as error:
            raise error if str(error).startswith(name) else InputError(f"{name}: {error}") from error
        return cls(opened=opened, name=name, encoding=found, layout=_layout_of(head))

    def describe(self) -> dict[str, Any]:
        """How the file is read, for reports."""
        return {
            "format": "json",
            "encoding": self.encoding.name,
            "encoding_source": self.encoding.source,
            "layout": self.layout,
        }

    def objects(self, malformed: MalformedRecords) -> Iterator[str]:
        """Each object as one line of JSON, without its end; malformed records are noted.

        Raises
        ------
        InputError
            If an array or one of several objects is broken, so that the next one cannot be found.
        """
        with self.opened() as stream:
            texts = _texts(utf8_blocks(stream, self.encoding))
            if self.layout == "lines":
                yield from self._lines(texts, malformed)
            else:
                yield from self._elements(texts) if self.layout == "array" else self._objects(texts)

    def _lines(self, texts: Iterator[str], malformed: MalformedRecords) -> Iterator[str]:
        line, rest, rows = 0, "", 0
        for text in texts:
            *whole, rest = (rest + text).split("\n")
            for each in whole:
                line += 1
                if each.strip(" \t\r"):
                    found = self._checked(each, line, malformed)
                    if found is not None:
                        rows += 1
                        yield found
                    elif malformed.are_hopeless(rows=rows):
                        return
        if rest.strip(" \t\r"):
            found = self._checked(rest, line + 1, malformed)
            if found is not None:
                yield found

    def _checked(self, text: str, line: int, malformed: MalformedRecords) -> str | None:
        self.records += 1
        reason = None
        try:
            value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            reason = f"it is not valid JSON from character {error.pos + 1:,} on"
            if "\0" in text:
                reason = f"it has bytes that are not {self.encoding.name}, or NUL"
            elif error.msg == "Extra data":
                reason = f"something follows the JSON value that ends before character {error.pos + 1:,}"
        except _DoubledNameError:
            reason = _TWICE
        except RecursionError:
            reason = "it is nested too deeply"
        else:
            if not isinstance(value, dict):
                reason = "it is no JSON object"
            elif _has_half_character(text, value):
                reason = _HALF
        if reason is None:
            self._find_long_numbers(text, value)
            return text.strip(" \t\r").replace("\r", " ")
        malformed.add(file=self.name, line=line, reason=reason)
        return None

    def _find_long_numbers(self, text: str, value: object) -> None:
        if _LONG_NUMBER.search(text):
            self.long_numbers.update(_paths_of_long_numbers(value))

    def _objects(self, texts: Iterator[str]) -> Iterator[str]:
        """The objects that the file holds, one after the other, however their lines end."""
        buffer = _Buffer(texts)
        while buffer.skip_space():
            self.records += 1
            yield self._element(buffer, _decoder())

    def _elements(self, texts: Iterator[str]) -> Iterator[str]:
        """The elements of the arrays that the file holds, one array after the other."""
        decoder = _decoder()
        buffer = _Buffer(texts)
        while buffer.skip_space():
            self._expect(buffer, "[")
            if buffer.skip_space() and buffer.peek() == "]":
                buffer.take(1)
                continue
            while True:
                buffer.skip_space()
                self.records += 1
                yield self._element(buffer, decoder)
                buffer.skip_space()
                if buffer.peek() == "]":
                    buffer.take(1)
                    break
                self._expect(buffer, ",")

    def _element(self, buffer: _Buffer, decoder: json.JSONDecoder) -> str:
        while True:
            try:
                value, end = decoder.raw_decode(buffer.text, buffer.place)
            except json.JSONDecodeError as error:
                if len(buffer.text) - buffer.place < _MOST_OBJECT_CHARACTERS and buffer.grow():
                    continue
                what = "the array" if self.layout == "array" else "it"
                raise InputError(
                    f"{self.name}: {what} is not valid JSON in line {buffer.line_of(error.pos):,}; repair the file"
                ) from None
            except _DoubledNameError:
                raise InputError(
                    f"{self.name}: {_TWICE}, in line {buffer.line_of(buffer.place):,}; repair the file"
                ) from None
            break
        if not isinstance(value, dict):
            what = "an element of the array" if self.layout == "array" else "a value"
            raise InputError(
                f"{self.name}: {what} is no JSON object, in line {buffer.line_of(buffer.place):,}; repair the file"
            )
        if _has_half_character(buffer.text[buffer.place : end], value):
            raise InputError(f"{self.name}: {_HALF}, in line {buffer.line_of(buffer.place):,}; repair the file")
        # As it was written, so that numbers keep their digits; line ends within it are only space.
        text = buffer.text[buffer.place : end]
        self._find_long_numbers(text, value)
        buffer.take(end - buffer.place)
        return text.replace("\r", " ").replace("\n", " ")

    def _expect(self, buffer: _Buffer, character: str) -> None:
        if buffer.peek() != character:
            found = "ends" if not buffer.peek() else "is not valid JSON"
            raise InputError(
                f"{self.name}: the array {found} in line {buffer.line_of(buffer.place):,}, where {character!r} should "
                "be; repair "
                "the file"
            )
        buffer.take(1)


def _head(texts: Iterator[str]) -> str:
    """The beginning of what is not blank, of `_HEAD_CHARACTERS` or as many as there are."""
    head = ""
    for text in texts:
        head = (head + text).lstrip()
        if len(head) >= _HEAD_CHARACTERS:
            break
    return head


def _layout_of(head: str) -> str:
    """How objects are laid out, by the first one; a first line that is broken is one of lines."""
    if head.startswith("["):
        return "array"
    try:
        _, end = _decoder().raw_decode(head)
    except (json.JSONDecodeError, _DoubledNameError, RecursionError):
        return "lines"
    return "objects" if "\n" in head[:end] or _NEXT_OBJECT.match(head, end) else "lines"


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _paths_of_long_numbers(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Names that lead to whole numbers beyond `_MOST_EXACT`, those of lists left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths_of_long_numbers(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths_of_long_numbers(inner, path)
    elif isinstance(value, int) and abs(value) > _MOST_EXACT:
        yield path


class _DoubledNameError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DoubledNameError
    return found


def _has_half_character(text: str, value: object) -> bool:
    """Whether there is a surrogate without its other half, which no UTF-8 can hold."""
    if _SURROGATE.search(text) is None:
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _no_constant(name: str) -> float:
    """NaN and the infinities are no JSON, but numbers that Spark reads."""
    return float(name.replace("Infinity", "inf"))


class _Buffer:
    """A text that is read as far as it is needed."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self._lines = 0
        self.text, self.place = "", 0

    def grow(self) -> bool:
        """Read more; False at the end."""
        more = next(self._texts, None)
        if more is None:
            return False
        self._lines += self.text.count("\n", 0, self.place)
        self.text, self.place = self.text[self.place :] + more, 0
        return True

    def line_of(self, place: int) -> int:
        return self._lines + self.text.count("\n", 0, place) + 1

    def peek(self) -> str:
        while self.place >= len(self.text):
            if not self.grow():
                return ""
        return self.text[self.place]

    def take(self, count: int) -> None:
        self.place += count

    def skip_space(self) -> bool:
        """Pass over white space; False if nothing follows."""
        while self.peek():
            found = _SPACE.match(self.text, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.text):
                return True
        return False


def _texts(blocks: Iterator[bytes]) -> Iterator[str]:
    """The blocks as text; a character that is cut in two comes with the later one."""
    rest = b""
    for block in blocks:
        block = rest + block
        for back in range(4):
            try:
                text = block[: len(block) - back].decode()
            except UnicodeDecodeError:
                continue
            rest = block[len(block) - back :]
            yield text
            break
