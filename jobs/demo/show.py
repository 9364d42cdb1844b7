"""Show a few rows of a scores table and the estimates of its marts, for a person who has just run the demo."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.dashboard.reader import open_marts
from sentiment_core.errors import InputError

__all__ = ["describe_estimate", "describe_scores"]

_SHOWN = ("positive_probability", "sentiment", "score_status")


def describe_scores(path: Path, *, n_rows: int = 8, reviews_per_second: float | None = None) -> list[str]:
    """Describe a scores table in lines of text.

    Parameters
    ----------
    path : Path
        Directory of the scores table.
    n_rows : int, default 8
        Rows to show, spread evenly from the most negative to the most positive; those without a probability come
        last.
    reviews_per_second : float, optional
        The speed of the run.

    Returns
    -------
    list of str
        The rows under their column names, the counts, and where the table is.

    Raises
    ------
    InputError
        If the table cannot be read.
    """
    scores = _read_scores(path)
    last, steps = scores.num_rows - 1, max(1, n_rows - 1)
    spread = sorted({last * step // steps for step in range(n_rows)}) if scores.num_rows else []
    rows = [[_cell(value) for value in row.values()] for row in scores.take(pa.array(spread, pa.int64())).to_pylist()]
    counts = pc.value_counts(scores["score_status"]).to_pylist()
    statuses = sorted(f"{count['counts']:,} {count['values']}" for count in counts)
    summary = f"{scores.num_rows:,} rows" + (f" ({', '.join(statuses)})" if statuses else "")
    if reviews_per_second is not None:
        summary += f", {reviews_per_second:,.0f} reviews/s"
    return [*_aligned([scores.column_names, *rows]), "", summary, f"Parquet: {path}"]


def describe_estimate(marts: Path) -> str:
    """The estimated share of positive reviews in the last 28 days of marts, in a sentence.

    Raises
    ------
    InputError
        If there are no marts, or none with a review.
    """
    with open_marts(str(marts)) as opened:
        rows = opened.rows("SELECT * FROM sentiment_overall ORDER BY day DESC LIMIT 1")
    if not rows or rows[0]["estimated_share_28d"] is None:
        raise InputError(f"{marts}: no review of these marts could be scored; run `make demo` first")
    share, low, high = (f"{100 * rows[0][f'estimated_share_28d{end}']:.1f} %" for end in ("", "_low", "_high"))
    labels = rows[0]["labelled_count_28d"]
    source = f"the texts and {labels:,} known labels" if labels else "the texts alone"
    return (
        f"Estimated share of positive reviews in the 28 days to {rows[0]['day']}: {share}, 95 % interval {low} to "
        f"{high}, from {source}"
    )


def _read_scores(path: Path) -> pa.Table:
    """The id and the shown columns, ordered by probability."""
    try:
        scores = ds.dataset(path, format="parquet", partitioning="hive")
        names = [scores.schema.names[0], *_SHOWN] if scores.schema.names else list(_SHOWN)
        return scores.to_table(names).sort_by([("positive_probability", "ascending"), (names[0], "ascending")])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is no scores table ({str(error).splitlines()[0]}); run `make demo` first") from error


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
