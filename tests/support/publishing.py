"""Tables, runs and readers for the tests of publishing."""

from __future__ import annotations

from collections.abc import Callable

from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication
from jobs.storage.files import FileSystem
from tests.support.simulated_file_system import Disk, SimulatedFileSystem

# Partitions, each with the contents of its files by name.
Table = dict[str, dict[str, bytes]]
Run = Callable[[FileSystem], None]
LEASE_SECONDS = 100


def disk_of(table: Table, *, exchanges: bool = True) -> Disk:
    disk = Disk(exchanges=exchanges)
    fs = SimulatedFileSystem(disk)
    for partition, files in table.items():
        fs.make_folder(partition)
        for name, content in files.items():
            fs.write(f"{partition}/{name}", content)
    return disk


def replaced(table: Table, *runs: Table) -> Table:
    for run in runs:
        table = table | run
    return table


def owner_of(run_id: str) -> Owner:
    return Owner(run_id=run_id, host="h", user="u", process_id=1, process=None)


def publishing(
    run_id: str,
    table: Table,
    *,
    wait: Callable[[float], None] = lambda seconds: None,
    taken: Callable[[], None] = lambda: None,
    given: Callable[[], None] = lambda: None,
) -> Run:
    """A run that has scored what a table holds; told are the moments in which it has the lock, and has it no more."""

    def run(fs: FileSystem) -> None:
        lock = OutputLock(fs, owner_of(run_id), lease_seconds=LEASE_SECONDS, wait=wait)
        lock.acquire()
        taken()
        try:
            with Publication(fs, run_id=run_id, lock=lock) as publication:
                for partition, files in table.items():
                    fs.make_folder(f"{publication.data}/{partition}")
                    for name, content in files.items():
                        fs.write(f"{publication.data}/{partition}/{name}", content)
                publication.publish({"run_id": run_id, "partitions": sorted(table)}, metrics=f"run {run_id}\n")
        finally:
            given()
            lock.release()

    return run


def watch(disk: Disk, *tables: Table) -> None:
    """Fail when a reader would see anything but a whole partition of one of the tables, the first of them the old."""
    names = {name for table in tables for name in table}

    def check() -> None:
        seen = disk.partitions()
        assert seen.keys() <= names, seen
        for name in names:
            whole = [table[name] for table in tables if name in table]
            if name in seen:
                assert seen[name] in whole, (name, seen[name])
            elif disk.exchanges:
                assert name not in tables[0], f"{name} is absent"

    disk.watch = check


def assert_clean(disk: Disk, table: Table, *, reports: set[str]) -> None:
    """The table is there, with its reports, and nothing else."""
    assert disk.partitions() == table
    ours = {path for path in disk.tree if path.startswith("_")}
    assert ours - {"_runs"} == {f"_runs/{run_id}.{kind}" for run_id in reports for kind in ("json", "prom")}
