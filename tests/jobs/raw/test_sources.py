"""Which files of a folder are read, and as what."""

from __future__ import annotations

import re

import pytest

from jobs.raw.sources import choose_files, format_of
from sentiment_core.errors import InputError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.csv", "csv"), ("A.CSV", "csv"), ("a.tsv.gz", "csv"), ("a.txt", "csv"), ("a.jsonlines.ZST", "json")),
        *(
            ("a.ndjson", "json"),
            ("a.parquet", "parquet"),
            ("part-0.snappy.parquet", "parquet"),
            ("a", None),
            (".gz", None),
        ),
    ],
)
def test_the_suffix_tells_the_format(name: str, expected: str | None) -> None:
    assert format_of(name) == expected


def test_what_is_no_data_is_passed_over() -> None:
    found = choose_files("in", ["README", "a.csv", "b/b.tsv", "b/notes.md", "License.txt"])
    assert (found.format, found.names) == ("csv", ("a.csv", "b/b.tsv"))
    assert found.passed_over == ("README", "b/notes.md", "License.txt")


@pytest.mark.parametrize(
    ("source", "names", "message"),
    [
        ("in", ["README"], "in: no data file there"),
        ("in", ["a.csv", "b.parquet"], "holds files of several formats (a.csv and b.parquet)"),
        ("in", ["a.csv", "b.xlsx"], "in/b.xlsx: is an Excel workbook, which cannot be read"),
        ("in", ["a.csv", "b.data"], "in/b.data: its name does not say whether it is a csv file"),
        ("in.xlsx", [""], "in.xlsx: is an Excel workbook"),
    ],
)
def test_what_may_be_data_is_never_passed_over(source: str, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        choose_files(source, names)


def test_a_format_that_is_given_wins() -> None:
    assert choose_files("in.data", [""], input_format="csv").format == "csv"
    assert choose_files("in", ["part-0", "part-1"], input_format="json").names == ("part-0", "part-1")
    assert choose_files("in", ["part-0"]).format == "parquet"
    with pytest.raises(InputError, match=r"in: b\.parquet is no csv file by its name"):
        choose_files("in", ["a.csv", "b.parquet"], input_format="csv")
