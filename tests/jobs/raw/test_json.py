"""JSON files: each object is read as it was written, in lines or arrays; what is no object is named by line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.raw import encoding
from jobs.raw.csv import Opener
from jobs.raw.json import JsonFile
from jobs.raw.malformed import MalformedRecords
from sentiment_core.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), min_size=1, max_size=5)


def opener(content: bytes) -> Opener:
    @contextmanager
    def opened() -> Iterator[io.BytesIO]:
        yield io.BytesIO(content)

    return opened


def read(content: bytes, *, policy: str = "refuse") -> tuple[list[object], MalformedRecords]:
    malformed = MalformedRecords(policy=policy, max_ratio=1.0)
    file = JsonFile.look_at(opener(content), name="in.json")
    lines = list(file.objects(malformed))
    assert not any("\n" in line for line in lines)
    assert file.records == len(lines) + len(malformed.records)
    malformed.check("in.json", rows=len(lines))
    return [json.loads(line) for line in lines], malformed


@given(OBJECTS, st.sampled_from([None, 2]), st.booleans(), st.sampled_from(["", "\r", "\n"]), st.integers(20, 60))
def test_objects_come_out_as_they_went_in(
    objects: list[object], indent: int | None, is_array: bool, between: str, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "BLOCK_BYTES", block)
        # The first object tells how they are laid out, and an empty one is on one line.
        texts = [json.dumps(each, indent=indent if objects[0] else None, ensure_ascii=False) for each in objects]
        text = json.dumps(objects, indent=indent, ensure_ascii=False) if is_array else between.join(texts)
        try:
            content = text.encode()
        except UnicodeEncodeError:
            return
        assert read(content)[0] == objects


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings_are_read(name: str) -> None:
    assert read('[{"text": "déçu"}]'.encode(name))[0] == [{"text": "déçu"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{oops", "it is not valid JSON from character 2 on"),
        ("[1]", "it is no JSON object"),
        ('{"a": 1} {"a": 2}', "something follows the JSON value"),
        ('{"a": 1},', "something follows the JSON value"),
        ('{"a": 1, "a": 2}', "an object has a name twice"),
        (r'{"a": "\ud83d"}', "it escapes one half of a character"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, reason: str) -> None:
    content = f'{{"a": 1}}\n\n{line}\n{{"a": 3}}'.encode()
    with pytest.raises(InputError, match=rf"1 of 3 records are malformed \(in\.json line 3: {reason}"):
        read(content)
    found, malformed = read(content, policy="set-aside")
    assert found == [{"a": 1}, {"a": 3}]
    assert "oops" not in malformed.as_json_lines()


def test_a_broken_object_among_others_is_refused_by_line() -> None:
    content = b'{\n "a": 1\n}\n{\n "a": oops\n}\n'
    with pytest.raises(InputError, match=r"in\.json: it is not valid JSON in line 5; repair the file"):
        read(content)
    with pytest.raises(InputError, match=r"in\.json: a value is no JSON object, in line 4; repair the file"):
        read(content[:11] + b"\n3,")


def test_whole_numbers_that_a_double_would_round_are_known_by_name() -> None:
    content = b'{"a": 9007199254740993, "b": 9007199254740992, "c": [{"d": -1e20, "e": [12345678901234567890]}]}'
    for text in (content, b"[" + content + b"]", content + content):
        file = JsonFile.look_at(opener(text), name="in.json")
        assert list(file.objects(MalformedRecords()))
        assert file.long_numbers == {("a",), ("c", "e")}


def test_bytes_that_are_not_utf_8_are_named() -> None:
    with pytest.raises(InputError, match="line 2: it has bytes that are not utf-8"):
        read('{"a": "très déçu, hélas"}\n'.encode() + b'{"a": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"in\.json: line 1 is not UTF-8"):
        read(b'{"a": "\x81\x8d\xd5"}\n')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"a": 1},\n{"a": 2}', "the array ends in line 2"),
        (b'[{"a": 1}\n{"a": 2}]', "the array is not valid JSON in line 2, where ',' should be"),
        (b'[{"a": 1},\n\n2]', "an element of the array is no JSON object, in line 3"),
        (b'[{"a": 1},\n{"a": oops}]', "the array is not valid JSON in line 2"),
        (b'[{"a": 1, "a": 2}]', "an object has a name twice, in line 1"),
    ],
)
def test_a_broken_array_is_refused_by_line(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"in.json: {reason}"):
        read(content)


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf"])
def test_a_file_without_an_object_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"in\.json: the file is empty"):
        read(content)
