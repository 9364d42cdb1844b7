"""What a scoring run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from jobs.raw.options import ReadingSettings
from jobs.shaping.casts import Cast
from jobs.shaping.conditions import Condition

__all__ = ["ScoreSettings"]


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """A scoring run; what is left out is as the ``score`` verb has it by default.

    Parameters
    ----------
    input : tuple of str
        Reviews: files, directories, patterns, URIs, or a table.
    output : str
        Directory of the scores table.
    input_format : str, optional
        ``parquet``, ``csv``, ``json`` or ``table``; by default by the name.
    reading : ReadingSettings
        How CSV and JSON files are read.
    model : tuple of str
        Model directories, each as ``NAME=DIR`` if there are several; by default the bundled model.
    drivers : int, 0 to 100
        Words and pairs that are named as having moved each review most.
    id_column, text_column : str
        ``none`` as the id makes a stable id of each row's content.
    keep_columns : str
        ``A,B:OTHER`` or ``all``: columns that the output repeats.
    cast : tuple of Cast
        Columns that are read as another type.
    date_format : tuple of str
        Forms of dates in texts, as Spark writes them.
    where : tuple of Condition
        Rows are scored for which all hold.
    date_column : str, optional
        Date of a row, where a condition of the caller reads it.
    partition_by : str
        Column of the output's partitions.
    engine, precision, device : str
        ``auto``, or as the options of the verb.
    groups : int, 1 to 1,000,000, optional
        By default by rows and cores.
    max_failed_ratio : float, 0 to 1
        Largest share of failed rows of a run that is published.
    only_new : bool
        Score rows whose id and text the model has not scored yet.
    allow_empty : bool
        Let an input without rows replace the rows of its date.
    dry_run : bool
        Check everything, score nothing.
    run_date : date
        By default today.
    """

    input: tuple[str, ...]
    output: str
    input_format: str | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    model: tuple[str, ...] = ()
    drivers: int = 0
    id_column: str = "review_id"
    text_column: str = "text"
    keep_columns: str = ""
    cast: tuple[Cast, ...] = ()
    date_format: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    date_column: str | None = None
    partition_by: str = "run_date"
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    groups: int | None = None
    max_failed_ratio: float = 0.001
    only_new: bool = False
    allow_empty: bool = False
    dry_run: bool = False
    run_date: date = field(default_factory=date.today)
