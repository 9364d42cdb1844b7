"""The run reports of a scores table: one JSON file a scoring run, kept when its partitions are replaced later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.storage.files import FileSystem
from jobs.tables.scores import CONTRACT_VERSION
from sentiment_core.errors import InputError
from sentiment_core.scoring.status import COUNTED, EMPTY, FAILED, TRUNCATED, UNFAMILIAR

__all__ = ["RunReports", "run_history"]

_RUNS = "_runs"


class RunReports:
    """The reports beside a scores table.

    Parameters
    ----------
    fs : FileSystem
        Its root is the directory of the table.
    """

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self.files = self._list_files()

    def read(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Reports by file name.

        Raises
        ------
        InputError
            If one is no report, or of a scores table of another contract version.
        """
        return [self._read(name) for name in sorted(names)]

    def _list_files(self) -> dict[str, str]:
        """Size and time of each report, by file name."""
        if not self._fs.exists(_RUNS):
            return {}
        return {
            name: f"{size}-{self._fs.modified(f'{_RUNS}/{name}')}"
            for name, size in self._fs.list(_RUNS).items()
            if name.endswith(".json") and not name.startswith((".", "_"))
        }

    def _read(self, name: str) -> dict[str, Any]:
        try:
            report = json.loads(self._fs.read(f"{_RUNS}/{name}") or b"")
            month = str(date.fromisoformat(report["run_date"]))[:7]
            report["run_id"], report["model"]["sha256"], report["counts"]["rows"]
            if not name.startswith(month):
                raise ValueError(f"its run_date is {report['run_date']}")
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"_runs/{name} is no run report ({error!r}); move it away or restore it") from error
        written = report.get("contract_version", CONTRACT_VERSION)
        if written != CONTRACT_VERSION:
            raise InputError(
                f"_runs/{name}: the scores are of contract version {written}, this program knows {CONTRACT_VERSION}; "
                "summarize with the version that scored, or score again with this one"
            )
        return dict(report)


def run_history(
    session: SparkSession, reports: Iterable[Mapping[str, Any]], *, core_hour_price: float | None
) -> DataFrame | None:
    """The mart of scoring runs: one row a report; None without reports."""
    rows = [_history_row(report, core_hour_price=core_hour_price) for report in reports]
    # As Arrow: rows of Python objects would start Python workers to convert them.
    return session.createDataFrame(pa.Table.from_pylist(rows)) if rows else None


def _history_row(report: Mapping[str, Any], *, core_hour_price: float | None) -> dict[str, Any]:
    counts, settings = report["counts"], report.get("settings", {})
    seconds, cost_inputs = report.get("seconds", {}), report.get("cost_inputs", {})
    throughput = report.get("throughput", {})
    core_hours = _number(cost_inputs.get("core_seconds"), 3600)
    cost = core_hours * core_hour_price if core_hours is not None and core_hour_price is not None else None
    scored = sum(counts.get(status, 0) for status in COUNTED)
    return {
        "run_id": report["run_id"],
        "run_date": date.fromisoformat(report["run_date"]),
        "model_sha256": report["model"]["sha256"],
        "engine": settings.get("engine"),
        "precision": settings.get("precision"),
        "devices": ",".join(report.get("devices", [])) or None,
        "version": report.get("versions", {}).get("sentiment-warehouse"),
        "reviews": counts["rows"],
        "scored": scored,
        **{name: counts.get(name) for name in (EMPTY, FAILED, TRUNCATED, "positive", "tokens", "unknown_tokens")},
        UNFAMILIAR: counts.get(UNFAMILIAR, 0),
        "score_seconds": _number(seconds.get("score")),
        "total_seconds": _number(sum(seconds.values())) if seconds else None,
        "reviews_per_second": _number(throughput.get("reviews_per_second")),
        "tokens_per_second": _number(throughput.get("tokens_per_second")),
        "cores": cost_inputs.get("cores"),
        "core_hours": core_hours,
        "cost": cost,
        "cost_per_million": cost * 1e6 / counts["rows"] if cost is not None and counts["rows"] else None,
        "output_bytes": report.get("output", {}).get("bytes"),
        "month": report["run_date"][:7],
    }


def _number(value: float | None, divisor: float = 1.0) -> float | None:
    return None if value is None else float(value) / divisor
