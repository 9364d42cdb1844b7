"""What a refresh of the marts has to do: which days, from which folders of the scores, and which run reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from jobs.marts.days import Folder, ScoreDays
from jobs.marts.quality import DateCounts, sum_counts
from jobs.marts.schemas import MARTS_VERSION
from jobs.marts.state import MartState
from jobs.statistics.corrections import ShareCorrection, correction_of
from jobs.tables.run_reports import RunReports
from sentiment_core.errors import InputError, UsageError

__all__ = ["MartPlan", "months_of", "plan_refresh"]


@dataclass(frozen=True, kw_only=True)
class MartPlan:
    """What a refresh does.

    Attributes
    ----------
    days : frozenset of date
        Whose rows are counted anew.
    folders : tuple of str
        Of the scores table: those that hold these days.
    driver_folders : tuple of str
        Those with drivers that hold any day of the same months.
    reports : tuple of dict
        All run reports of ``report_months``.
    report_months : frozenset of str
    run_dates : dict
        Counts of ``data_quality`` by run date, of all dates of ``quality_months``.
    quality_months : frozenset of str
    all_models : bool
        A validation histogram has changed, so that every day of ``model_daily`` is compared anew.
    begun : MartState
        While some of the marts may be refreshed and others not: what is refreshed counts as changed.
    state : MartState
        Of the marts afterwards.
    run_id : str
        Names the refresh by what it reads.
    """

    days: frozenset[date]
    folders: tuple[str, ...]
    driver_folders: tuple[str, ...]
    reports: tuple[dict[str, Any], ...]
    report_months: frozenset[str]
    run_dates: dict[str, DateCounts]
    quality_months: frozenset[str]
    all_models: bool
    begun: MartState
    state: MartState
    run_id: str


def plan_refresh(
    scores: ScoreDays,
    reports: RunReports,
    *,
    before: MartState,
    core_hour_price: float | None,
    validation: Mapping[str, Sequence[int]],
    corrections: Mapping[str, ShareCorrection] | None = None,
    labels: str = "",
    dates: Sequence[date] | None = None,
) -> MartPlan:
    """Compare the scores table and its reports with what the marts were made of.

    Parameters
    ----------
    scores, reports
        As they are now.
    before : MartState
        Of the marts; an empty one asks for everything.
    core_hour_price : float or None
    validation : mapping
        Validation histograms that the run reports lack, by the model's SHA-256.
    corrections : mapping, optional
        Likewise how shares follow from probabilities. All days are counted anew if that of a known model changes.
    labels : str
        Digest of the file of labels; all days are counted anew if it changes.
    dates : sequence of date, optional
        Refresh these days; by default, all days of folders that are new, changed or gone.

    Raises
    ------
    InputError
        If the scores cannot be read, or a date has no rows.
    UsageError
        If only some dates are asked for, and all days have to be counted anew.
    """
    renewed = {name for name, text in reports.files.items() if before.reports.get(name) != text}
    report_months = {name[:7] for name in renewed | (before.reports.keys() - reports.files.keys())}
    if core_hour_price != before.core_hour_price:
        report_months |= {name[:7] for name in reports.files}
    read = reports.read(name for name in reports.files if name[:7] in report_months)
    histograms = dict(before.validation) | _histograms(read) | dict(validation)
    known_corrections = _corrections(read, before=before.corrections) | dict(corrections or {})
    recount = before.labels != labels or any(
        known_corrections[sha256] != correction for sha256, correction in before.corrections.items()
    )
    changed = {name for name, digest in scores.files.items() if _digest_of(before, name) != digest}
    named = scores.folders_of(dates) if dates else None
    facts = scores.inspect(changed if named is None else changed & named)
    known = {name: folder for name, folder in before.folders.items() if name in scores.files} | facts
    replaced = [folder for name, folder in before.folders.items() if name in facts or name not in known]
    renewed_folders = (*facts.values(), *replaced)
    if dates and recount and before.folders:
        raise UsageError("labels or a model's correction have changed, so every day is counted anew; leave out --date")
    if dates:
        days = set(dates)
        _require_rows(days, known)
    else:
        days = {day for folder in (*renewed_folders, *(known.values() if recount else ())) for day in folder.days}
    quality_months = {run_date[:7] for folder in renewed_folders for run_date, _ in folder.run_dates}
    run_dates = sum_counts(folder.run_dates for folder in known.values())
    state = replace(
        before,
        core_hour_price=core_hour_price,
        folders=_folders_after(before.folders, facts, present=scores.files, days=days),
        reports=reports.files,
        validation=histograms,
        corrections=known_corrections,
        labels=labels,
    )
    decisive = [sorted(map(str, days)), scores.files, reports.files, dict(before.settings), labels, MARTS_VERSION]
    months = months_of(days)
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
    return MartPlan(
        days=frozenset(days),
        folders=tuple(sorted(name for name, folder in known.items() if days.intersection(folder.days))),
        driver_folders=tuple(
            sorted(name for name, folder in known.items() if folder.with_drivers and months & months_of(folder.days))
        ),
        reports=tuple(read),
        report_months=frozenset(report_months),
        run_dates={run_date: counts for run_date, counts in run_dates.items() if run_date[:7] in quality_months},
        quality_months=frozenset(quality_months),
        all_models=histograms != before.validation,
        begun=replace(
            before,
            folders=_folders_after(before.folders, facts, present=scores.files, days=set()),
            reports=before.reports | dict.fromkeys(renewed, ""),
        ),
        state=state,
        run_id=f"{max(days) if days else 'unchanged'}-{digest}",
    )


def months_of(days: Iterable[date]) -> set[str]:
    """Months of some days, as the marts name them."""
    return {str(day)[:7] for day in days}


def _digest_of(state: MartState, name: str) -> str | None:
    return state.folders[name].files if name in state.folders else None


def _require_rows(dates: Iterable[date], known: Mapping[str, Folder]) -> None:
    held = {day for folder in known.values() for day in folder.days}
    absent = sorted(set(dates) - held)
    if absent:
        there = f"the scores hold {min(held)} to {max(held)}" if held else "the scores hold no row with a date"
        raise InputError(f"--date {absent[0]}: no rows for that date; {there}")


def _histograms(reports: Iterable[Mapping[str, Any]]) -> dict[str, Sequence[int]]:
    models = (report["model"] for report in reports)
    return {model["sha256"]: model["validation_histogram"] for model in models if model.get("validation_histogram")}


def _corrections(
    reports: Iterable[Mapping[str, Any]], *, before: Mapping[str, ShareCorrection]
) -> dict[str, ShareCorrection]:
    """Those of the models of all reports; a report of an earlier version, which tells none, takes none away."""
    found = dict(before)
    for report in reports:
        correction = correction_of(report["model"].get("domain_shift"))
        if correction.is_known:
            found[report["model"]["sha256"]] = correction
        else:
            found.setdefault(report["model"]["sha256"], correction)
    return found


def _folders_after(
    before: Mapping[str, Folder], facts: Mapping[str, Folder], *, present: Iterable[str], days: set[date]
) -> dict[str, Folder]:
    """What is known of folders after a refresh; one of which only some days were refreshed is found changed again."""
    after = {}
    for name in sorted(before.keys() | facts.keys()):
        old, new = before.get(name), facts.get(name)
        touched = {day for folder in (old, new) if folder is not None for day in folder.days}
        if new is not None:
            # Of a part, the marts may hold old and new days; no file has the digest "".
            after[name] = new if touched <= days else replace(new, files="", days=tuple(sorted(touched)))
        elif name in present or not touched <= days:
            after[name] = before[name]
    return after
