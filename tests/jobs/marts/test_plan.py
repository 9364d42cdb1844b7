"""Which days a refresh counts: checked against a naive model of scores tables that change."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.marts.days import Folder
from jobs.marts.plan import MartPlan, plan_refresh
from jobs.marts.state import MartState
from sentiment_core.errors import InputError, UsageError

DAYS = [date(2026, 11, 1) + timedelta(number) for number in range(5)]
EMPTY = MartState(settings={})
# The rows of each day in a folder, as a version of the day; a table is its folders.
Table = dict[str, dict[date, int]]
tables = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.dictionaries(st.sampled_from(DAYS), st.integers(1, 3)), max_size=3
)


class StubScores:
    """A scores table in memory."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.files = {name: repr(sorted(days.items())) for name, days in table.items()}

    def folders_of(self, days: Any) -> None:
        return None

    def inspect(self, folders: set[str]) -> dict[str, Folder]:
        return {
            name: Folder(files=self.files[name], days=tuple(sorted(self.table[name])), rows=1, undated=0)
            for name in folders
        }


class StubReports:
    """Run reports in memory."""

    def __init__(
        self, files: dict[str, str], histogram: list[int] | None = None, shift: dict[str, float] | None = None
    ) -> None:
        self.files = files
        self._model = {"sha256": "c", "validation_histogram": histogram, "domain_shift": shift}

    def read(self, names: Any) -> list[dict[str, Any]]:
        return [{"name": name, "model": self._model} for name in names]


def plan(table: Table, before: MartState, *, reports: StubReports | None = None, **options: Any) -> MartPlan:
    given = {"core_hour_price": None, "validation": {}} | options
    return plan_refresh(StubScores(table), reports or StubReports({}), before=before, **given)  # type: ignore[arg-type]


def content(table: Table) -> dict[date, dict[str, int]]:
    """What each day's marts are made of."""
    return {
        day: {name: days[day] for name, days in table.items() if day in days}
        for day in DAYS
        if any(day in days for days in table.values())
    }


def refreshed(marts: dict[date, dict[str, int]], table: Table, made: MartPlan) -> dict[date, dict[str, int]]:
    """Count the plan's days from the plan's folders, and keep the others."""
    read = content({name: days for name, days in table.items() if name in made.folders})
    kept = {day: value for day, value in marts.items() if day not in made.days}
    return kept | {day: value for day, value in read.items() if day in made.days}


@given(st.lists(tables, min_size=1, max_size=5))
def test_refreshing_after_each_change_is_a_rebuild(history: list[Table]) -> None:
    state, marts = EMPTY, {}
    for table in history:
        made = plan(table, state)
        marts, state = refreshed(marts, table, made), made.state
        assert marts == content(table)
        assert not plan(table, state).days


@given(st.lists(st.tuples(tables, st.sets(st.sampled_from(DAYS))), min_size=1, max_size=5))
def test_refreshing_named_days_forgets_no_other_change(history: list[tuple[Table, set[date]]]) -> None:
    state, marts, table = EMPTY, {}, {}
    for table, named in history:
        there = sorted(named & content(table).keys())
        if not there:
            continue
        made = plan(table, state, dates=there)
        assert sorted(made.days) == there
        marts, state = refreshed(marts, table, made), made.state
        assert all(marts[day] == content(table)[day] for day in there)
    assert refreshed(marts, table, plan(table, state)) == content(table)


def test_a_date_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match="2026-11-03: no rows for that date; the scores hold 2026-11-01 to 2026-11-02"):
        plan({"a": {DAYS[0]: 1}, "b": {DAYS[1]: 1}}, EMPTY, dates=[DAYS[0], DAYS[2]])


def test_months_of_changed_and_lost_reports_are_read_whole() -> None:
    before = replace(EMPTY, reports={"2026-09-01-x.json": "1", "2026-10-01-x.json": "1", "2026-11-01-x.json": "1"})
    now = StubReports({"2026-10-01-x.json": "1", "2026-11-01-x.json": "2", "2026-11-02-x.json": "1"})
    made = plan({}, before, reports=now)
    assert made.report_months == {"2026-09", "2026-11"}
    assert [report["name"] for report in made.reports] == ["2026-11-01-x.json", "2026-11-02-x.json"]
    assert plan({}, made.state, reports=now).report_months == frozenset()
    assert plan({}, made.state, reports=now, core_hour_price=2.0).report_months == {"2026-10", "2026-11"}


def test_a_new_validation_histogram_compares_every_day_anew() -> None:
    now = StubReports({"2026-11-01-x.json": "1"}, histogram=[1] * 15)
    made = plan({}, EMPTY, reports=now)
    assert made.all_models
    assert made.state.validation == {"c": [1] * 15}
    assert not plan({}, made.state, reports=StubReports({"2026-11-02-x.json": "1"}, histogram=[1] * 15)).all_models


SHIFT = {"mean": 0.0, "standard_error": 0.0, "standard_deviation": 0.04}


def test_another_correction_of_a_known_model_counts_every_day_anew() -> None:
    table = {"a": {DAYS[0]: 1}, "b": {DAYS[1]: 1}}
    made = plan(table, EMPTY, reports=StubReports({"2026-11-01-x.json": "1"}))
    assert not made.state.corrections["c"].is_known
    again = StubReports({"2026-11-01-x.json": "1", "2026-11-02-x.json": "1"}, shift=SHIFT)
    known = plan(table, made.state, reports=again)
    assert known.days == frozenset(DAYS[:2])
    assert known.folders == ("a", "b")
    assert known.state.corrections["c"].standard_deviation == pytest.approx(0.04)
    # An older report that tells none takes none away.
    older = StubReports({**again.files, "2026-11-03-x.json": "1"})
    assert not plan(table, known.state, reports=older).days
    with pytest.raises(UsageError, match="every day is counted anew"):
        plan(table, made.state, reports=again, dates=[DAYS[0]])


def test_other_labels_count_every_day_anew() -> None:
    table = {"a": {DAYS[0]: 1}, "b": {DAYS[1]: 1}}
    made = plan(table, EMPTY, labels="one")
    assert not plan(table, made.state, labels="one").days
    assert plan(table, made.state, labels="two").days == frozenset(DAYS[:2])
