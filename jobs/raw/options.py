"""Options of every verb that reads tables from files."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.raw.dialect import CsvSettings
from jobs.raw.encoding import encoding_option
from jobs.raw.malformed import POLICIES, MalformedRecords
from sentiment_core.errors import UsageError

__all__ = ["FILE_FORMATS", "ReadingSettings", "add_reading_arguments", "ratio_option"]

FILE_FORMATS = ("parquet", "csv", "json")
_NAMED_DELIMITERS = {"none": "", "tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How files are read.

    Attributes
    ----------
    csv : CsvSettings
    encoding : str, optional
        Of CSV and JSON files; found out by default.
    malformed_rows : str
        What becomes of malformed records: ``refuse`` or ``set-aside``.
    max_malformed_ratio : float
        Largest share of them that is set aside, 0 to 1.
    """

    csv: CsvSettings = field(default_factory=CsvSettings)
    encoding: str | None = None
    malformed_rows: str = "refuse"
    max_malformed_ratio: float = 0.001

    def malformed(self) -> MalformedRecords:
        """Where malformed records are noted."""
        return MalformedRecords(policy=self.malformed_rows, max_ratio=self.max_malformed_ratio)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for files of other formats than Parquet; what is not given is found out."""
    group = parser.add_argument_group("CSV and JSON files", "what is not given is found out, and named in the log")
    group.add_argument("--encoding", type=encoding_option, metavar="NAME", help="utf-8, cp1252, utf-16, ...")
    group.add_argument(
        "--csv-delimiter", type=_delimiter, metavar="CHARACTER", help="or tab; none: a line is one field"
    )
    group.add_argument("--csv-quote", type=_quote, metavar="CHARACTER", help="none: quotes are plain characters")
    group.add_argument(
        "--csv-escape",
        type=_escape,
        metavar="CHARACTER",
        help="the backslash, or none: quotes within quotes are doubled",
    )
    group.add_argument("--csv-header", choices=("auto", "present", "absent"), default="auto")
    group.add_argument("--csv-skip", type=_count, default=0, metavar="N", help="lines above the header")
    group.add_argument(
        "--csv-null", action="append", metavar="WORD", help=r"stands for NULL if not in quotes; repeatable, default \N"
    )
    group.add_argument(
        "--malformed-rows",
        choices=POLICIES,
        default="refuse",
        help="set-aside: leave malformed records out, and list them",
    )
    group.add_argument(
        "--max-malformed-ratio",
        type=ratio_option("--max-malformed-ratio"),
        default=0.001,
        metavar="R",
        help="most that is set aside",
    )


def _delimiter(value: str) -> str:
    found = _NAMED_DELIMITERS.get(value.lower(), value)
    if value.lower() != "none" and (len(found) not in (1, 2) or found[1:] not in ("", " ")):
        raise UsageError(
            f"--csv-delimiter must be one ASCII character, such a one and a space, tab or none, not {value!r}"
        )
    if not found.isascii() or found[:1] in ("\n", "\r", "\0", '"', "\\"):
        raise UsageError(f"--csv-delimiter cannot be {value!r}; write the ASCII character between two fields")
    return found


def _quote(value: str) -> str:
    found = "" if value.lower() == "none" else value
    if len(found) > 1 or not found.isascii() or found in ("\n", "\r", "\0", "\\"):
        raise UsageError(f"--csv-quote must be one ASCII character or none, not {value!r}")
    return found


def _escape(value: str) -> str:
    if value.lower() == "none" or value == '"':
        return ""
    if value not in ("\\", "backslash"):
        raise UsageError(f"--csv-escape must be the backslash or none, not {value!r}")
    return "\\"


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > 1_000_000:
        raise UsageError(f"--csv-skip must be a whole number from 0 to 1,000,000, not {value!r}")
    return int(value)


def ratio_option(option: str) -> Callable[[str], float]:
    """Parser of an option's share, from 0 to 1."""

    def parse(value: str) -> float:
        try:
            ratio = float(value)
        except ValueError:
            ratio = math.nan
        if not 0 <= ratio <= 1:
            raise UsageError(f"{option} must be from 0 to 1, not {value!r}")
        return ratio

    return parse
