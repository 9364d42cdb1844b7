"""One run at a time: owners, expiry, and two runs interleaved at every operation."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication
from jobs.storage.files import LocalFileSystem
from sentiment_core.errors import LockLostError, OutputLockedError
from tests.support.publishing import LEASE_SECONDS, Table, assert_clean, disk_of, owner_of, publishing, replaced, watch
from tests.support.simulated_file_system import Alternation, Disk, SimulatedFileSystem

OLD: Table = {"day=1": {"old": b"a"}, "day=2": {"old": b"b"}}
FIRST: Table = {"day=1": {"first": b"cc"}, "day=3": {"first": b"d"}}
SECOND: Table = {"day=1": {"second": b"eee"}, "day=2": {"second": b"ff"}}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of runs warn of what others left."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def lock_of(disk: Disk, run_id: str) -> OutputLock:
    return OutputLock(
        SimulatedFileSystem(disk), owner_of(run_id), lease_seconds=LEASE_SECONDS, wait=lambda seconds: None
    )


def test_the_second_run_is_told_who_is_writing() -> None:
    disk = Disk()
    lock_of(disk, "nightly").acquire()
    second = lock_of(disk, "second")
    second._wait = lambda seconds: pytest.fail("it waited for a run that is older")
    with pytest.raises(OutputLockedError, match=r"run nightly \(process 1 of u on h\)") as refused:
        disk.clock += 1
        second.acquire()
    assert refused.value.exit_code == 3
    assert len(disk.tree) == 2  # the root and the holder's claim


def test_a_lock_that_is_renewed_outlives_its_lease_and_one_that_is_not_is_taken() -> None:
    disk = Disk()
    first, second = lock_of(disk, "first"), lock_of(disk, "second")
    first.acquire()
    for _ in range(5):
        disk.clock += LEASE_SECONDS
        first.renew()
        with pytest.raises(OutputLockedError):
            second.acquire()
    disk.clock += LEASE_SECONDS
    with pytest.raises(OutputLockedError):
        second.acquire()  # at the end of the lease, to the second
    disk.clock += 1
    second.acquire()
    with pytest.raises(LockLostError):
        first.renew()
    second.renew()
    first.release()
    second.renew()  # of a lock, only the holder's is given back
    second.release()
    assert list(disk.tree) == [""]


def test_a_run_that_was_silent_for_too_long_does_not_go_on_even_if_nobody_took_over() -> None:
    disk = Disk()
    lock = lock_of(disk, "first")
    lock.acquire()
    disk.clock += LEASE_SECONDS + 1
    with pytest.raises(LockLostError):
        lock.renew()
    assert list(disk.tree) == [""]


def test_a_run_that_was_silent_while_it_scored_publishes_nothing() -> None:
    disk = disk_of(OLD)
    fs, lock = SimulatedFileSystem(disk), lock_of(disk, "first")
    lock.acquire()
    with pytest.raises(LockLostError), Publication(fs, run_id="first", lock=lock) as publication:
        fs.write(f"{publication.data}/day=1/new", b"new")
        disk.clock += LEASE_SECONDS + 1
        publication.publish({})
    assert_clean(disk, OLD, reports=set())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lease_seconds": 1}'])
def test_a_claim_that_is_being_written_counts_until_it_expires(content: bytes) -> None:
    disk = Disk()
    SimulatedFileSystem(disk).write("_lock-x.json", content)
    disk.clock += 0.5
    with pytest.raises(OutputLockedError, match="just starting"):
        lock_of(disk, "second").acquire()
    disk.clock += LEASE_SECONDS
    lock_of(disk, "second").acquire()


def test_the_lock_of_a_process_that_ended_on_this_machine_is_free_at_once(tmp_path: Path) -> None:
    script = (
        "import os; from pathlib import Path; from jobs.storage.files import LocalFileSystem;"
        "from jobs.publishing.lock import OutputLock; from jobs.publishing.owner import Owner;"
        f"OutputLock(LocalFileSystem(Path({str(tmp_path)!r})), Owner.this_process('dead')).acquire(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with OutputLock(LocalFileSystem(tmp_path), Owner.this_process("next")).held():
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(OutputLockedError, match="run next"):
            OutputLock(LocalFileSystem(tmp_path), Owner.this_process("third"), wait=lambda seconds: None).acquire()
    assert not list(tmp_path.iterdir())


def test_only_a_process_of_this_machine_that_ended_is_gone() -> None:
    mine = Owner.this_process("run")
    assert not mine.is_gone()
    assert mine.process is not None
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    ended = replace(mine, process_id=child.pid, process=mine.process.replace(str(mine.process_id), str(child.pid)))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ended.is_gone()  # a zombie
    child.wait()
    assert ended.is_gone()
    assert replace(mine, process=mine.process + "0").is_gone()  # the number was given again
    assert not replace(ended, process="elsewhere/" + mine.process).is_gone()
    assert not replace(ended, process=None).is_gone()


def interleaved(*, stop: int, resume: int, pause: float, exchanges: bool) -> tuple[Disk, set[str]]:
    """Two runs, the first stopped (and the clock put forward) and resumed; the disk, and who succeeded."""
    disk = disk_of(OLD, exchanges=exchanges)
    watch(disk, OLD, FIRST, SECOND)
    holders: set[str] = set()
    succeeded: set[str] = set()

    def put_forward() -> None:
        disk.clock += pause

    alternation = Alternation(stop=stop, resume=resume, at_stop=put_forward)

    def process(number: int, run_id: str, table: Table) -> None:
        def taken() -> None:
            holders.add(run_id)
            assert pause or len(holders) == 1, holders

        run = publishing(
            run_id,
            table,
            wait=lambda seconds: alternation.wait(number),
            taken=taken,
            given=lambda: holders.remove(run_id),
        )
        try:
            run(SimulatedFileSystem(disk, lambda: alternation.before(number)))
        except (OutputLockedError, LockLostError, OSError):
            return
        succeeded.add(run_id)

    alternation.run(lambda: process(0, "first", FIRST), lambda: process(1, "second", SECOND))
    return disk, succeeded


def assert_whole(disk: Disk, succeeded: set[str]) -> None:
    """Who succeeded is in the table, whole, and a run that follows leaves it clean."""
    disk.clock += LEASE_SECONDS + 1
    publishing("nothing", {})(SimulatedFileSystem(disk))
    published = {run_id for run_id in ("first", "second") if f"_runs/{run_id}.json" in disk.tree}
    assert succeeded <= published
    runs = [{"first": FIRST, "second": SECOND}[run_id] for run_id in sorted(published)]
    assert disk.partitions() in (replaced(OLD, *runs), replaced(OLD, *reversed(runs)))
    assert_clean(disk, disk.partitions(), reports=published | {"nothing"})


N_OPERATIONS = 100


# How a partition is swapped: by one exchange, or by two renames where the file system knows none.
WAYS = [
    pytest.param(True, id="exchange"),
    pytest.param(False, id="two renames", marks=pytest.mark.slow),
]


def test_the_length_of_a_run_is_what_the_schedules_cover() -> None:
    fs = SimulatedFileSystem(disk_of(OLD))
    publishing("first", FIRST)(fs)
    assert N_OPERATIONS - 10 < fs.n_operations <= N_OPERATIONS


@pytest.mark.parametrize("exchanges", WAYS)
def test_two_runs_at_once_never_hold_the_lock_together_and_one_succeeds(exchanges: bool) -> None:
    for stop in range(N_OPERATIONS):
        for resume in range(15) if stop < 15 else range(stop % 7, N_OPERATIONS, 7):
            disk, succeeded = interleaved(stop=stop, resume=resume, pause=0, exchanges=exchanges)
            assert succeeded, (stop, resume)
            assert_whole(disk, succeeded)


@pytest.mark.parametrize("exchanges", WAYS)
def test_a_run_that_wakes_up_after_its_lease_mixes_nothing(exchanges: bool) -> None:
    """The first is stopped at each operation for longer than its lease, and wakes up while the second is publishing."""
    for stop in range(N_OPERATIONS):
        for resume in [*range(stop % 7, N_OPERATIONS, 7), 10**9]:
            disk, succeeded = interleaved(stop=stop, resume=resume, pause=LEASE_SECONDS + 1, exchanges=exchanges)
            assert_whole(disk, succeeded)


def test_the_schedules_find_what_a_lock_that_looks_before_it_writes_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_then_write(lock: OutputLock) -> None:
        if any(name.startswith("_lock") for name in lock._fs.list("")):
            raise OutputLockedError("held")
        lock._fs.write(lock._path, lock._content)
        lock._renewed = lock._fs.modified(lock._path)

    monkeypatch.setattr(OutputLock, "acquire", look_then_write)
    with pytest.raises(AssertionError):
        for stop in range(N_OPERATIONS):
            interleaved(stop=stop, resume=10, pause=0, exchanges=True)
