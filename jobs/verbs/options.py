"""Options of every verb that scores tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date

from jobs.raw.options import add_reading_arguments, ratio_option
from jobs.scoring.settings import DEVICES
from jobs.shaping.casts import CAST_TYPES, parse_cast
from jobs.shaping.conditions import parse_condition
from jobs.tables.dates import date_format
from jobs.tables.reading import INPUT_FORMATS
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import UsageError

__all__ = ["add_scoring_arguments", "date_option"]


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the date."""
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH|TABLE",
        help="reviews: files, directories, patterns like 'reviews/*.csv', URIs, or a table",
    )
    parser.add_argument("--input-format", choices=INPUT_FORMATS, help="default: by the name, else parquet")
    add_reading_arguments(parser)
    parser.add_argument("--output", required=True, metavar="PATH", help="directory of the scores table")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="default: the bundled model; named ones, repeatable, get a column positive_probability_NAME each",
    )
    parser.add_argument(
        "--drivers", type=_few, default=0, metavar="K", help="name the K words and pairs that moved each review most"
    )
    parser.add_argument(
        "--id-column",
        default="review_id",
        metavar="NAME|none",
        help="default: %(default)s; none makes a stable id of each row's content, as the column review_id",
    )
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument(
        "--keep-columns",
        default="",
        metavar="A,B:OTHER|all",
        help="columns that the output repeats; B:OTHER keeps B under the name OTHER",
    )
    parser.add_argument(
        "--cast",
        action="append",
        default=[],
        type=parse_cast,
        metavar="COLUMN=TYPE",
        help=f"read a column as another type ({', '.join(CAST_TYPES)}); a value that would change is refused; "
        "repeatable",
    )
    parser.add_argument(
        "--date-format",
        action="append",
        default=[],
        type=date_format,
        metavar="PATTERN",
        help="form of dates in texts beside 2026-11-23, as Spark writes it: MM/dd/yyyy; repeatable, the first that "
        "fits counts",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        type=parse_condition,
        metavar="CONDITION",
        help="score only rows for which it holds: COLUMN = 'text', COLUMN >= 3, COLUMN in (1, 2), COLUMN is not null; "
        "given repeatedly, all must hold",
    )
    parser.add_argument("--partition-by", default="run_date", metavar="COLUMN")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--groups", type=_positive, metavar="N", help="default: by rows and cores")
    parser.add_argument("--max-failed-ratio", type=ratio_option("--max-failed-ratio"), default=0.001, metavar="R")
    parser.add_argument(
        "--only-new", action="store_true", help="score rows whose id and text this model has not scored yet"
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="let an input without rows replace the rows of its run date"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, score nothing")


def date_option(option: str) -> Callable[[str], date]:
    """Parser of an option's date."""

    def parse(value: str) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise UsageError(f"{option} must be a date like 2026-11-23, not {value!r}") from None

    return parse


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1_000_000:
        raise UsageError(f"--groups must be a whole number from 1 to 1,000,000, not {value!r}")
    return int(value)


def _few(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 0 <= int(value) <= 100:
        raise UsageError(f"--drivers must be a whole number from 0 to 100, not {value!r}")
    return int(value)
