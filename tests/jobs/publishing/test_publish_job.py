"""The job's publication on real file systems: this machine's, and through Hadoop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from pyspark.sql import SparkSession

from jobs.publishing import output as scores_output
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication
from jobs.storage.files import FileSystem, LocalFileSystem
from jobs.storage.hadoop import HadoopFileSystem
from jobs.tables.reading import hadoop_path
from tests.support.file_operations import operations, perform, tree
from tests.support.publishing import publishing
from tests.support.simulated_file_system import Crash, Disk, SimulatedFileSystem

CHANGES = ("write", "make_folder", "rename", "exchange", "delete", "remove_empty")


class WatchedFileSystem:
    """Looks at the table as a reader before each change, and lets one of them fail."""

    def __init__(self, fs: FileSystem, table: Path) -> None:
        self._fs = fs
        self._table = table
        self.failing: int | None = None
        self.error: type[BaseException] = OSError
        self.n_changes = 0
        self.seen: list[dict[str, frozenset[str]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._fs, name)
        if name not in CHANGES:
            return method

        def watched(*arguments: Any) -> Any:
            self.seen.append(partitions(self._table))
            self.n_changes += 1
            if self.n_changes - 1 == self.failing:
                self.failing += self.error is Crash  # which lasts
                raise self.error("disk gone")
            return method(*arguments)

        return watched


def partitions(table: Path) -> dict[str, frozenset[str]]:
    """Data files by partition."""
    return {folder.name: frozenset(file.name for file in folder.glob("*.parquet")) for folder in table.glob("[!_.]*")}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(params=["local", pytest.param("hadoop", marks=pytest.mark.slow)])
def watched(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Iterator[WatchedFileSystem]:
    """The file system of the outputs: this machine's, or the same folders through Hadoop, which cannot exchange."""
    found: list[WatchedFileSystem] = [WatchedFileSystem(LocalFileSystem(tmp_path / "scores"), tmp_path / "scores")]

    def open_output(session: SparkSession, output: str) -> tuple[FileSystem, str]:
        fs, root = hadoop_path(session, output)
        if request.param == "hadoop":
            found[0]._fs = HadoopFileSystem(session._jvm, fs=fs, root=root)
        return found[0], root.toString()

    monkeypatch.setattr(scores_output, "open_output", open_output)
    yield found[0]


@pytest.fixture
def score(sentiment: Any, spark: SparkSession, model_path: Path, tmp_path: Path) -> Any:
    def run(reviews: pa.Table, *options: str) -> tuple[int, list[dict[str, Any]], str]:
        pq.write_table(reviews, tmp_path / "in.parquet")
        return sentiment(  # type: ignore[no-any-return]
            "score", "--input", tmp_path / "in.parquet", "--output", tmp_path / "scores", "--model", model_path,
            "--run-date", "2026-11-23", "--partition-by", "product_id", "--groups", "2", *options,
        )  # fmt: skip

    return run


@pytest.fixture
def nights(reviews: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Two partitions, and the same two and a third."""
    kettle, lamp, shoes = (pc.equal(reviews["product_id"], name) for name in ("kettle-k2", "desk-lamp", "trail-shoes"))
    return reviews.filter(pc.or_(kettle, lamp)), reviews.filter(pc.or_(pc.or_(kettle, lamp), shoes))


def test_a_reader_sees_each_partition_as_it_was_or_as_it_is(
    score: Any, watched: WatchedFileSystem, nights: tuple[pa.Table, pa.Table], tmp_path: Path, request: Any
) -> None:
    score(nights[0])
    before = partitions(tmp_path / "scores")
    watched.seen.clear()
    code, _, sentence = score(nights[1], "--run-date", "2026-11-24")
    assert code == 0, sentence
    after = partitions(tmp_path / "scores")
    assert before.keys() < after.keys()
    gaps = 0
    for seen in watched.seen:
        for name, files in seen.items():
            assert files in (before.get(name), after[name])
        gaps += len(before.keys() - seen.keys())
    # Through Hadoop a partition is away for one rename; here for none.
    assert gaps == (len(before) if "hadoop" in request.node.name else 0)
    assert not list((tmp_path / "scores").glob("_staging")) + list((tmp_path / "scores").glob("_lock*"))


OLD = {"p=1": {"old-1.parquet": b"a", "old-2.parquet": b"b"}, "p=2": {"old-3.parquet": b"c"}}
NEW = {"p=1": {"new-1.parquet": b"dd"}, "p=2": {}, "p=3": {"new-2.parquet": b"ee"}}


def open_root(kind: str, spark: SparkSession, root: Path) -> FileSystem:
    root.mkdir()
    if kind == "local":
        return LocalFileSystem(root)
    fs, path = hadoop_path(spark, str(root))
    return HadoopFileSystem(spark._jvm, fs=fs, root=path)


@pytest.mark.parametrize("kind", ["local", pytest.param("hadoop", marks=pytest.mark.slow)])
def test_a_swap_that_fails_is_undone(kind: str, spark: SparkSession, tmp_path: Path) -> None:
    """At each change of the run in turn, by an error or an interrupt; the last gives the lock back."""
    new = {name: frozenset(files) for name, files in NEW.items()}

    def run(failing: int) -> tuple[int, bool]:
        """The number of changes, and whether the run was published."""
        root = tmp_path / str(failing)
        watched = WatchedFileSystem(open_root(kind, spark, root), root)
        for partition, files in OLD.items():
            for name, content in files.items():
                watched.write(f"{partition}/{name}", content)
        old = partitions(root)
        watched.n_changes, watched.failing = 0, failing
        watched.error = KeyboardInterrupt if failing % 2 else OSError
        try:
            publishing("run", NEW)(watched)
        except OSError:
            # One that fails where it only clears up is not told: the next run clears up.
            assert partitions(root) == (new if failing == n_changes - 1 else old)
        except KeyboardInterrupt:
            assert partitions(root) in (old, new)
        else:
            assert partitions(root) == new
        return watched.n_changes, partitions(root) == new

    n_changes = 10**9
    n_changes, _ = run(n_changes)
    published = [run(failing)[1] for failing in range(0, n_changes, 1 if kind == "local" else n_changes // 5)]
    assert published[0] is False
    assert published == sorted(published), "from one change on"


@given(steps=operations())
@settings(max_examples=30)
def test_hadoops_file_system_does_what_the_simulated_one_does_without_exchange(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    simulated = SimulatedFileSystem(Disk(exchanges=False))
    hadoop = open_root("hadoop", spark, tmp_path_factory.mktemp("hadoop") / "root")
    # Of an exchange it knows only that it cannot.
    steps = [step for step in steps if step[0] != "exchange"]
    assert perform(hadoop, steps) == perform(simulated, steps)
    assert tree(hadoop) == tree(simulated)


def test_a_second_run_is_refused_and_says_who_is_writing(
    score: Any, nights: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    fs = LocalFileSystem(tmp_path / "scores")
    with OutputLock(fs, Owner.this_process("nightly")).held():
        code, reports, sentence = score(nights[0])
        assert (code, reports) == (3, [])
        assert f"run nightly (process {os.getpid()} of " in sentence
        assert not list((tmp_path / "scores").glob("_staging"))
    assert score(nights[0])[0] == 0


def test_what_a_dead_run_left_is_finished_or_removed_by_the_next(
    score: Any, watched: WatchedFileSystem, nights: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    """One died while it scored, the other while it published; a run of another name follows."""
    score(nights[0])
    root = tmp_path / "scores"
    old = partitions(root)
    dead = {name: {"dead.parquet": next((root / name).glob("*.parquet")).read_bytes()} for name in old}
    watched.error, watched.n_changes = Crash, 0
    watched.write("_staging/another/token/data/product_id=x/part.parquet", b"")
    with pytest.MonkeyPatch.context() as patch:
        put = Publication.put

        def dying(publication: Publication, staging: str) -> None:
            watched.failing = watched.n_changes + 3
            put(publication, staging)

        patch.setattr(Publication, "recover", lambda publication: None)
        patch.setattr(Publication, "put", dying)
        with pytest.raises(Crash):
            publishing("dead", dead)(watched)
    watched.failing = None
    assert partitions(root) != old
    assert len(list(root.glob("_staging/*"))) == 2
    code, _, sentence = score(nights[1])
    assert (code, "run dead (process 1 of u on h)" in sentence) == (3, True), sentence
    (lock,) = root.glob("_lock-*")
    os.utime(lock, (0, 0))  # as if it had been silent for long
    code, _, sentence = score(nights[1].slice(0, 0))  # no row, so no partition of its own
    assert code == 0, sentence
    assert partitions(root) == {name: frozenset(files) for name, files in dead.items()}
    assert (root / "_runs" / "dead.json").exists()
    assert not list(root.glob("_staging")) + list(root.glob("_lock*"))


def test_what_is_published_already_is_scored_again_if_it_is_not_there_any_more(
    score: Any, nights: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    score(nights[0])
    code, (report,), sentence = score(nights[0])
    assert (code, report["status"]) == (0, "unchanged"), sentence
    next((tmp_path / "scores" / "product_id=kettle-k2").glob("*.parquet")).unlink()
    code, (report,), _ = score(nights[0])
    assert (code, report["status"]) == (0, "published")
    assert ds.dataset(tmp_path / "scores", partitioning="hive").count_rows() == len(nights[0])
