"""Every step of publishing, with a death or a failure at each operation, twice in a row."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.publishing.publication import read_report
from jobs.storage.files import FileSystem
from tests.support.publishing import LEASE_SECONDS, Run, Table, assert_clean, disk_of, publishing, replaced, watch
from tests.support.simulated_file_system import Crash, Disk, SimulatedFileSystem, dies_at, fails_at

OLD = {"day=1": {"old-1": b"a", "old-2": b"b"}, "day=2": {"old-3": b"c"}, "day=4": {"old-4": b"d"}}
# Replaces two partitions, one of them by nothing, and adds one.
NEW = {"day=1": {"new-1": b"ee"}, "day=2": {}, "day=3": {"new-2": b"f", "new-3": b"g"}}
LATER = {"day=1": {"later-1": b"hh"}, "day=3": {"later-2": b"i"}, "day=5": {"later-3": b"j"}}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of runs warn of what dead ones left."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def naive(table: Table) -> Run:
    """Overwrites as Spark does: delete, then rename."""

    def run(fs: FileSystem) -> None:
        fs.delete("_staging")
        for partition, files in table.items():
            fs.make_folder(f"_staging/{partition}")
            for name, content in files.items():
                fs.write(f"_staging/{partition}/{name}", content)
        for partition in table:
            fs.delete(partition)
            fs.rename(f"_staging/{partition}", partition)
        fs.write("_runs/run.json", b"{}")
        fs.delete("_staging")

    return run


def succeeds(disk: Disk, run: Run, *, dies: int = 10**9, fails: int = 10**9) -> bool:
    """Run in a process that dies at a change, or of which one operation fails; whether it ended without an error."""
    try:
        run(SimulatedFileSystem(disk, fails_at(fails), before_change=dies_at(dies)))
    except (Crash, OSError):
        return False
    return True


def uninterrupted(run: Run, *, exchanges: bool) -> SimulatedFileSystem:
    """A process that has run, with its counts."""
    fs = SimulatedFileSystem(disk_of(OLD, exchanges=exchanges))
    run(fs)
    return fs


def explore(run: Run, later: Run, *, exchanges: bool, tables: tuple[Table, ...], check: Any) -> int:
    """Kill a run at each of its operations, and the one that follows at each of its own; returns the cases."""
    cases = 0
    for death in range(uninterrupted(run, exchanges=exchanges).n_changes):
        after_death = disk_of(OLD, exchanges=exchanges)
        watch(after_death, *tables)
        assert not succeeds(after_death, run, dies=death)
        after_death.clock += LEASE_SECONDS + 1
        for second in range(10**9):
            disk = after_death.copy()
            watch(disk, *tables)
            cases += 1
            if succeeds(disk, later, dies=second):
                break
            disk.clock += LEASE_SECONDS + 1
            assert succeeds(disk, later)
            check(disk)
    return cases


@pytest.mark.parametrize(
    ("exchanges", "again"),
    [
        pytest.param(True, False, id="exchange-another run"),
        pytest.param(False, True, id="two renames-the same run", marks=pytest.mark.slow),
        pytest.param(True, True, id="exchange-the same run", marks=pytest.mark.slow),
        pytest.param(False, False, id="two renames-another run", marks=pytest.mark.slow),
    ],
)
def test_no_death_nor_a_second_one_shows_to_a_reader_or_needs_a_hand(exchanges: bool, again: bool) -> None:
    later, table = ("first", NEW) if again else ("later", LATER)

    def check(disk: Disk) -> None:
        finished = "_runs/first.json" in disk.tree
        expected = replaced(OLD, NEW, table) if finished else replaced(OLD, table)
        assert_clean(disk, expected, reports={later, "first"} if finished else {later})

    cases = explore(
        publishing("first", NEW), publishing(later, table), exchanges=exchanges, tables=(OLD, NEW, table), check=check
    )
    assert cases > 3000


def test_the_explorer_finds_what_a_naive_overwrite_shows() -> None:
    with pytest.raises(AssertionError, match=r"absent|day="):
        explore(naive(NEW), naive(LATER), exchanges=True, tables=(OLD, NEW, LATER), check=lambda disk: None)
    with pytest.raises(AssertionError):  # even where a partition may be absent for a moment
        explore(naive(NEW), naive(LATER), exchanges=False, tables=(OLD, NEW, LATER), check=lambda disk: None)


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_after_recovery_a_run_is_published_as_a_whole_or_not_at_all(exchanges: bool) -> None:
    run, nothing = publishing("first", NEW), publishing("nothing", {})
    seen = set()
    for death in range(uninterrupted(run, exchanges=exchanges).n_changes):
        disk = disk_of(OLD, exchanges=exchanges)
        succeeds(disk, run, dies=death)
        committed = any(path.endswith("/publish.json") for path in disk.tree)
        finished = committed or "_runs/first.json" in disk.tree
        disk.clock += LEASE_SECONDS + 1
        assert succeeds(disk, nothing)
        assert_clean(
            disk, replaced(OLD, NEW) if finished else OLD, reports={"nothing", "first"} if finished else {"nothing"}
        )
        seen.add(finished)
    assert seen == {True, False}


@pytest.mark.parametrize(
    "exchanges",
    [pytest.param(True, id="exchange"), pytest.param(False, id="two renames", marks=pytest.mark.slow)],
)
def test_a_run_that_fails_publishes_nothing(exchanges: bool) -> None:
    """One operation fails, and then the process dies at each operation of its clearing up, or never."""
    run, nothing = publishing("first", NEW), publishing("nothing", {})
    complete = uninterrupted(run, exchanges=exchanges)
    for failure in range(complete.n_operations):
        for death in [10**9, *range(complete.n_changes - 40, complete.n_changes + 10)]:
            disk = disk_of(OLD, exchanges=exchanges)
            watch(disk, OLD, NEW)
            done = succeeds(disk, run, dies=death, fails=failure)
            if death == 10**9:
                assert disk.partitions() == (replaced(OLD, NEW) if done else OLD), failure
            disk.clock += LEASE_SECONDS + 1
            assert succeeds(disk, nothing)
            finished = "_runs/first.json" in disk.tree
            assert_clean(
                disk,
                replaced(OLD, NEW) if finished else OLD,
                reports={"nothing", "first"} if finished else {"nothing"},
            )


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_a_run_that_is_told_to_stop_stops(exchanges: bool) -> None:
    """Nor does it go on when it is told so while it clears up: a backfill would score its next date."""
    run, nothing = publishing("first", NEW), publishing("nothing", {})
    for moment in range(uninterrupted(run, exchanges=exchanges).n_operations):
        disk = disk_of(OLD, exchanges=exchanges)
        watch(disk, OLD, NEW)
        with pytest.raises(KeyboardInterrupt):
            run(SimulatedFileSystem(disk, fails_at(moment, KeyboardInterrupt())))
        disk.clock += LEASE_SECONDS + 1
        assert succeeds(disk, nothing)
        finished = "_runs/first.json" in disk.tree
        assert disk.partitions() == (replaced(OLD, NEW) if finished else OLD)
        assert_clean(disk, disk.partitions(), reports={"nothing", "first"} if finished else {"nothing"})


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_what_was_damaged_after_its_run_died_is_not_put_into_place(exchanges: bool) -> None:
    """The run is undone, whichever of its partitions is damaged and wherever it died."""
    run, nothing = publishing("first", NEW), publishing("nothing", {})
    undone = 0
    for death in range(uninterrupted(run, exchanges=exchanges).n_changes):
        disk = disk_of(OLD, exchanges=exchanges)
        assert not succeeds(disk, run, dies=death)
        staged = [path for path in disk.tree if path.endswith(("/data/day=1/new-1", "/data/day=3/new-2"))]
        if not staged or not any(path.endswith("/publish.json") for path in disk.tree):
            continue
        disk.tree[staged[0]] = b""
        disk.clock += LEASE_SECONDS + 1
        assert succeeds(disk, nothing)
        assert_clean(disk, OLD, reports={"nothing"})
        undone += 1
    assert undone > 2


def test_the_report_can_be_read_back() -> None:
    disk = disk_of(OLD, exchanges=True)
    fs = SimulatedFileSystem(disk)
    assert read_report(fs, "first") is None
    publishing("first", NEW)(fs)
    assert read_report(fs, "first") == {"run_id": "first", "partitions": ["day=1", "day=2", "day=3"]}
    fs.write("_runs/first.json", b"{cut")
    assert read_report(fs, "first") is None


def test_strange_things_in_staging_are_removed() -> None:
    disk = disk_of(OLD, exchanges=True)
    fs = SimulatedFileSystem(disk)
    for path in ("_staging/file", "_staging/run/file", "_staging/run/token/publish.json.crc", "_staging/run/a/b/c"):
        fs.write(path, json.dumps({}).encode())
    publishing("first", NEW)(fs)
    assert_clean(disk, replaced(OLD, NEW), reports={"first"})
