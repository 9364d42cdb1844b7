"""What a refresh of the marts, or a comparison of two models, is asked to do."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from pathlib import Path

from jobs.marts.drift import DRIFT_REFERENCES, DriftLimits
from jobs.marts.quality import DateWindow
from sentiment_core.errors import UsageError

__all__ = ["CompareSettings", "SummarizeSettings"]

_LIMITS, _WINDOW = DriftLimits(), DateWindow()


@dataclass(frozen=True, kw_only=True)
class SummarizeSettings:
    """One refresh of the marts.

    Parameters
    ----------
    scores : str
        Directory of the scores table.
    output : str
        Directory of the marts.
    product_column : str
        Product of a review, in the scores table.
    date_column : str
        Date of a review.
    id_column : str
        By which a file of labels names the reviews.
    label_column : str, optional
        Labels that were kept when scoring, such as stars; NULL where a review has none.
    labels : str, optional
        CSV or Parquet of labelled reviews: the id column, label (0 or 1, negative or positive) and weight.
    positive_above : float
        A larger label is positive.
    positive_label : str, optional
        The label that is positive, where labels are words; every other one is negative, a blank is none.
    date_format : tuple of str
        Forms of dates in texts beside 2026-11-23, as Spark writes them: MM/dd/yyyy; the first that fits counts.
    earliest_date : date
        An older review is misdated, and counted in ``data_quality`` only.
    latest_date : date, optional
        A later review is misdated; by default the day after the run date of each row.
    date : tuple of date, optional
        Only these days are refreshed; by default what changed.
    rebuild : bool
        Make the marts anew from all scores.
    model : tuple of Path
        Models whose validation histogram or error between domains no run report has.
    core_hour_price : float, optional
        Price of a core hour, for ``run_history``, 0 or more.
    fail_on_drift : bool
        Publish nothing, with exit code 5, if the last day drifted.
    drift_against : str, one of `DRIFT_REFERENCES`, or ``both``
        What the last day is compared with.
    drift_warn : float
        Stability index from which a day is worth a warning.
    drift_fail : float
        Stability index from which a day closes the gate.
    drift_min_rows : int
        Scored reviews that both histograms need.

    Raises
    ------
    UsageError
        If a value is out of its range, or two contradict each other.
    """

    scores: str
    output: str
    product_column: str = "product_id"
    date_column: str = "run_date"
    id_column: str = "review_id"
    label_column: str | None = None
    labels: str | None = None
    positive_above: float = 0.5
    positive_label: str | None = None
    date_format: tuple[str, ...] = ()
    earliest_date: datetime.date = _WINDOW.earliest
    latest_date: datetime.date | None = None
    date: tuple[datetime.date, ...] | None = None
    rebuild: bool = False
    model: tuple[Path, ...] = ()
    core_hour_price: float | None = None
    fail_on_drift: bool = False
    drift_against: str = "both"
    drift_warn: float = _LIMITS.warn
    drift_fail: float = _LIMITS.fail
    drift_min_rows: int = _LIMITS.min_rows

    def __post_init__(self) -> None:
        # The marts keep it as text, and 3 is the same limit as 3.0.
        object.__setattr__(self, "positive_above", float(self.positive_above))
        self.limits()
        price = self.core_hour_price
        if price is not None and not 0 <= price < math.inf:
            raise UsageError(f"--core-hour-price must be 0 or more, not {price}")
        if self.drift_against not in (*DRIFT_REFERENCES, "both"):
            raise UsageError(
                f"drift_against must be one of {', '.join(DRIFT_REFERENCES)} and both, not {self.drift_against!r}"
            )
        self.window()
        for one, other in (("label_column", "labels"), ("date", "rebuild")):
            if getattr(self, one) and getattr(self, other):
                raise UsageError(f"{one} and {other} exclude each other; give one of the two")
        if self.positive_label is not None and self.label_column is None:
            raise UsageError("--positive-label is of a --label-column; name one")

    def limits(self) -> DriftLimits:
        """When a stability index is worth a warning or closes the gate."""
        return DriftLimits(warn=self.drift_warn, fail=self.drift_fail, min_rows=self.drift_min_rows)

    def references(self) -> tuple[str, ...]:
        """What the last day is compared with."""
        return DRIFT_REFERENCES if self.drift_against == "both" else (self.drift_against,)

    def window(self) -> DateWindow:
        """Which dates a review can have."""
        return DateWindow(earliest=self.earliest_date, latest=self.latest_date)


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """One comparison of two models that scored the same reviews.

    Parameters
    ----------
    scores : str
        Directory of the scores table.
    champion : str, optional
        By default the first model of the runs.
    challenger : str, optional
        By default the second, if there are two.
    run_id : tuple of str
        Only rows of these runs; none for all.
    id_column : str
        Names the reviews.
    label_column : str, optional
        Labels that were kept: numbers, booleans or words.
    positive_above : float
        A larger label is positive.
    positive_label : str, optional
        The label that is positive, where labels are words; every other one is negative, a blank is none.
    largest : int
        Reviews to name, 0 to 10,000.

    Raises
    ------
    UsageError
        If ``largest`` is out of its range.
    """

    scores: str
    champion: str | None = None
    challenger: str | None = None
    run_id: tuple[str, ...] = ()
    id_column: str = "review_id"
    label_column: str | None = None
    positive_above: float = 0.5
    positive_label: str | None = None
    largest: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.largest <= 10_000:
            raise UsageError(f"--largest must be from 0 to 10,000, not {self.largest}")
