"""What a scoring run is asked to do: the settings of `score` and `backfill`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from jobs.raw.options import ReadingSettings
from jobs.shaping.casts import Cast
from jobs.shaping.conditions import Condition
from jobs.tables.reading import INPUT_FORMATS
from sentiment_core.engines.selection import ENGINES, PRECISIONS
from sentiment_core.errors import UsageError

__all__ = ["DEVICES", "PLACE_OF_DATE", "BackfillSettings", "ScoreSettings", "ScoringSettings"]

DEVICES = ("auto", "cpu", "gpu")
PLACE_OF_DATE = "{date}"


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """Everything but the date.

    Parameters
    ----------
    input : tuple of str
        Reviews: files, directories, patterns like 'reviews/*.csv', URIs, or one table of the catalog.
    input_format : str, one of `INPUT_FORMATS`, optional
        By default as the name says, else ``parquet``.
    reading : ReadingSettings
        How CSV and JSON files are read.
    output : str
        Directory of the scores table.
    model : tuple of str
        Directories, by default the bundled model; named ones get a column ``positive_probability_NAME`` each.
    drivers : int
        How many words and pairs are named that moved a review most, 0 to 100.
    id_column : str
        Names the reviews; ``none`` makes a stable id of each row's content, as the column ``review_id``.
    text_column : str
        Where the review is; ``A.B`` is the field B of the column A.
    keep_columns : str
        Columns that the output repeats; ``B:OTHER`` keeps B under the name OTHER, ``all`` keeps every column.
    cast : tuple of Cast
        Columns that are read as another type; a value that would change is refused.
    date_format : tuple of str
        Forms of dates in texts beside 2026-11-23, as Spark writes them: MM/dd/yyyy; the first that fits counts.
    where : tuple of Condition
        Only rows for which all of them hold are scored: COLUMN = 'text', COLUMN >= 3, COLUMN in (1, 2), COLUMN is not
        null.
    partition_by : str
        Column that partitions the output.
    engine : str, one of `ENGINES`
        What computes.
    precision : str, one of `PRECISIONS`
        Of the engine's numbers.
    device : str, one of `DEVICES`
        Where it computes.
    groups : int, optional
        Groups that the rows are scored in, 1 to 1,000,000; by default as rows and cores ask for.
    max_failed_ratio : float
        Largest share of failed rows that is published, 0 to 1.
    only_new : bool
        Score rows whose id and text this model has not scored yet.
    allow_empty : bool
        Let an input without rows replace the rows of its run date.
    dry_run : bool
        Check everything, score nothing.

    Raises
    ------
    UsageError
        If a value is out of its range.
    """

    input: tuple[str, ...]
    input_format: str | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    output: str
    model: tuple[str, ...] = ()
    drivers: int = 0
    id_column: str = "review_id"
    text_column: str = "text"
    keep_columns: str = ""
    cast: tuple[Cast, ...] = ()
    date_format: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    partition_by: str = "run_date"
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    groups: int | None = None
    max_failed_ratio: float = 0.001
    only_new: bool = False
    allow_empty: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("input", "model"):
            if isinstance(getattr(self, name), str):
                raise UsageError(f"{name} must be a tuple of names, not {getattr(self, name)!r}; put it into one")
        if not self.input:
            raise UsageError("input must name at least one file, directory or table, not none")
        for name, known in (("engine", ENGINES), ("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.input_format not in (None, *INPUT_FORMATS):
            raise UsageError(f"input_format must be one of {', '.join(INPUT_FORMATS)}, not {self.input_format!r}")
        if not 0 <= self.drivers <= 100:
            raise UsageError(f"drivers must be a whole number from 0 to 100, not {self.drivers}")
        if self.groups is not None and not 1 <= self.groups <= 1_000_000:
            raise UsageError(f"groups must be a whole number from 1 to 1,000,000, not {self.groups}")
        if not 0 <= self.max_failed_ratio <= 1:
            raise UsageError(f"max_failed_ratio must be from 0 to 1, not {self.max_failed_ratio}")

    def asked_columns(self) -> tuple[str, ...]:
        """Columns that decide which rows are scored and where they are written."""
        return (self.partition_by, *(condition.name for condition in self.where))


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(ScoringSettings):
    """One run for one date.

    Parameters
    ----------
    run_date : date
        The date of the run, by default today; a later run of the same date replaces its rows.
    """

    run_date: date = field(default_factory=date.today)


@dataclass(frozen=True, kw_only=True)
class BackfillSettings(ScoringSettings):
    """One run for each date of a range.

    Parameters
    ----------
    first, last : date
        The range, both included.
    date_column : str, optional
        Date of a row; or write ``{date}`` into the input, which then names the rows of one date each.

    Raises
    ------
    UsageError
        If the range is empty, or the rows of a date are named in no way or in two, or dates share partitions.
    """

    first: date
    last: date
    date_column: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first > self.last:
            raise UsageError(f"--from {self.first} is after --to {self.last}; exchange them")
        if (self.date_column is None) == (PLACE_OF_DATE not in "".join(self.input)):
            raise UsageError(
                f"name the rows of a date by --date-column or by {PLACE_OF_DATE} in --input, by one of the two"
            )
        # Each date replaces the partitions that it writes: one that two dates share would keep the later date's rows.
        if self.partition_by not in ("run_date", self.date_column) and not self.only_new:
            raise UsageError(
                f"--partition-by {self.partition_by}: a later date would replace the rows of an earlier one in the "
                "same partition; add --only-new, or partition by run_date or by the --date-column"
            )

    def asked_columns(self) -> tuple[str, ...]:
        """Columns that decide which rows are scored and where they are written."""
        dates = () if self.date_column is None else (self.date_column,)
        return (*super().asked_columns(), *dates)
