"""The sheet to label: no cell that a spreadsheet program would run or round, and every cell comes back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.labels.reviews import read_table
from jobs.labels.sheet import guarded, guarded_name, is_label_sheet, sheet_bytes, unguarded, weights_of
from sentiment_core.errors import InputError
from tests.support.hostile_texts import NASTY

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "|calc", "%0A", "＝1", "'=1", "'quoted'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_program_would_run_is_a_text(text: str) -> None:
    assert guarded(text) == "'" + text
    assert guarded_name(text) == "'" + text


@given(st.text())
def test_a_guarded_cell_comes_back(text: str) -> None:
    assert unguarded(pa.array([guarded(text), guarded_name(text)])).to_pylist() == [text, text]
    assert not guarded(text).lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (17, "17"),
        (10**15 - 1, "9" * 15),
        (2**53 + 1, f"'{2**53 + 1}"),
        (-5, "'-5"),
        ("007", "'007"),
        ("1e5", "'1e5"),
        ("desk-lamp", "desk-lamp"),
        ("SEP2", "'SEP2"),
        ("True", "'True"),
        ("3-4", "'3-4"),
        ("", "'"),
    ],
)
def test_an_id_is_a_text_unless_every_program_keeps_it_as_it_is(value: object, cell: str) -> None:
    assert guarded_name(value) == cell


def test_a_sheet_is_read_as_it_was_written(tmp_path: Path) -> None:
    nasty = [text for text in NASTY.values() if isinstance(text, str) and text.strip() and _is_unicode(text)]
    texts = [*FORMULAS, "a, b", 'he said "no"', "two\nlines", "x" * 32_000, *nasty]
    ids = [f"-{number}" for number in range(len(texts))]
    path = tmp_path / "sheet.csv"
    path.write_bytes(
        sheet_bytes(
            {
                "id": list(map(guarded_name, ids)),
                "text": list(map(guarded, texts)),
                "label": [""] * len(ids),
                "weight": [repr(1 / (3 + number)) for number in range(len(ids))],
                "probability_bin": ["0.1 to 0.2"] * len(ids),
            }
        )
    )
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,text,label,weight,probability_bin\r\n")
    table = read_table(path, ["id", "text", "label", "weight", "probability_bin"])
    assert is_label_sheet(table.column_names)
    assert unguarded(table["id"]).to_pylist() == ids
    assert unguarded(table["text"]).to_pylist() == [text.replace("\0", "\ufffd") for text in texts]
    assert weights_of(table["weight"], source="s").tolist() == [1 / (3 + number) for number in range(len(ids))]


def _is_unicode(text: str) -> bool:
    return text == text.encode(errors="replace").decode()


def test_a_plain_reader_finds_the_same_cells() -> None:
    content = sheet_bytes({"id": ["1"], "text": ['a\r\nb, "c"']}).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(content, newline=""))) == [["id", "text"], ["1", 'a\r\nb, "c"']]


def test_weights_with_a_decimal_comma_are_numbers() -> None:
    assert weights_of(pa.array([" 3,25", "1"]), source="s").tolist() == [3.25, 1.0]


@pytest.mark.parametrize("wrong", ["", "x", "0", "-1", "nan", "inf", None])
def test_weights_that_are_no_numbers_above_0_are_refused(wrong: str | None) -> None:
    with pytest.raises(InputError, match=r"file\.csv: weight (must be numbers above 0|is no number above 0 in 1 rows)"):
        weights_of(pa.array(["1.5", wrong]), source="file.csv")
    with pytest.raises(InputError):
        weights_of(pa.array([1.5, np.nan]), source="file.csv")
