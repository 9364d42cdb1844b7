"""What the dashboard shows beside its products: the trend of all, what stands out, the model, and the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.dashboard.reader import OpenMarts
from jobs.marts.counts import HISTOGRAM_BINS

__all__ = ["RUNS_LISTED", "Figures", "read_figures"]

_RUNS = "SELECT * EXCLUDE (month) FROM run_history ORDER BY run_date DESC, run_id DESC LIMIT {limit}"
# The last 7 days: labels that the model gave to texts, and labels that are known.
_WEEK = """
SELECT
  CAST(sum(negative) AS bigint) AS negative, CAST(sum(neutral) AS bigint) AS neutral,
  CAST(sum(positive) AS bigint) AS positive, CAST(coalesce(sum(labelled_count), 0) AS bigint) AS labelled,
  CAST(sum(struct_extract(label_sums, 'wy')) AS double)
    / nullif(CAST(sum(struct_extract(label_sums, 'w')) AS double), 0) AS by_label,
  CAST(sum(struct_extract(label_sums, 'wp')) AS double)
    / nullif(CAST(sum(struct_extract(label_sums, 'w')) AS double), 0) AS by_text
FROM sentiment_daily
WHERE day > (SELECT max(day) FROM sentiment_daily) - 7
"""
_LABELLED = "SELECT CAST(coalesce(sum(labelled_count), 0) AS bigint) AS labelled FROM sentiment_daily"
# The worst first.
_LEVELS = ("fail", "warn", "ok", "not judged")
# Rows of a list, runs of the table, and runs of the chart.
LISTED, RUNS_LISTED, RUNS_DRAWN = 5, 10, 400


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Rows of the queries, in the page's order.

    Attributes
    ----------
    trend : list of dict
        Days of all products together, the oldest first.
    week : dict
        The last 7 days: reviews by the label that the model gave them, ``labelled`` reviews whose label is known, and
        the share of positive ones among these ``by_label`` and ``by_text``.
    labelled : int
        Reviews of all days whose label is known.
    falls, volumes : list of dict
        The products that fell most this week, and the days with unusually many reviews.
    quality : list of dict
        By month and model, the newest first.
    histograms : list of dict
        By model: shares of the steps of probability, ``now``, in the 7 days ``before`` (None if it scored nothing in
        them), and of its ``validation`` (None if it is not known).
    drift : list of dict
        Days and models, the oldest first.
    duels : list of dict
        Days that two models scored.
    runs, costs : list of dict
        The newest first.
    """

    trend: list[dict[str, Any]]
    week: dict[str, Any]
    labelled: int
    falls: list[dict[str, Any]]
    volumes: list[dict[str, Any]]
    quality: list[dict[str, Any]]
    histograms: list[dict[str, Any]]
    drift: list[dict[str, Any]]
    duels: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    costs: list[dict[str, Any]]

    @property
    def last_week(self) -> dict[str, Any] | None:
        """The last day of all products together; None without reviews."""
        return self.trend[-1] if self.trend else None

    @property
    def last_drift(self) -> list[dict[str, Any]]:
        """The models of the last day with scores, the worst first, then the one that scored more."""
        rows = [row for row in self.drift if row["day"] == self.drift[-1]["day"]]
        return sorted(rows, key=lambda row: (_LEVELS.index(row["week_level"]), -row["scored"], row["model_sha256"]))

    @property
    def histogram(self) -> dict[str, Any] | None:
        """That of the first of these models, which is the one that is drawn."""
        shown = [row["model_sha256"] for row in self.last_drift[:1]]
        return next((one for one in self.histograms if one["model_sha256"] in shown), None)

    @property
    def timed_runs(self) -> list[dict[str, Any]]:
        """Runs whose speed is known, the oldest first."""
        return [row for row in reversed(self.runs) if row["reviews_per_second"] is not None]

    @property
    def models(self) -> list[str]:
        """SHA-256 of each model, the one that scored last first."""
        return list(dict.fromkeys(row["model_sha256"] for row in (*reversed(self.drift), *self.runs)))


def read_figures(marts: OpenMarts) -> Figures:
    """Ask the queries."""
    return Figures(
        trend=marts.question("overall_trend"),
        week=marts.rows(_WEEK)[0],
        labelled=marts.rows(_LABELLED)[0]["labelled"],
        falls=marts.question("worst_movers")[:LISTED],
        volumes=marts.question("volume_anomalies")[:LISTED],
        quality=list(reversed(marts.question("data_quality"))),
        histograms=_histograms(marts.question("moved_scores"), validation=marts.validation),
        drift=list(reversed(marts.question("drift"))),
        duels=marts.question("champion_challenger")[:LISTED],
        runs=marts.rows(_RUNS.format(limit=RUNS_DRAWN)),
        costs=list(reversed(marts.question("cost_per_million"))),
    )


def _histograms(moved: Sequence[Mapping[str, Any]], *, validation: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    models: dict[str, list[Mapping[str, Any]]] = {}
    for row in moved:
        models.setdefault(row["model_sha256"], []).append(row)
    return [
        {
            "model_sha256": sha256,
            "now": [row["share_now"] for row in rows],
            "before": _known([row["share_before"] for row in rows]),
            "validation": _shares(validation.get(sha256)),
        }
        for sha256, rows in models.items()
        if len(rows) == HISTOGRAM_BINS
    ]


def _known(shares: list[float | None]) -> list[float | None] | None:
    return None if None in shares else shares


def _shares(counts: Sequence[int] | None) -> list[float] | None:
    return [count / sum(counts) for count in counts] if counts and sum(counts) else None
