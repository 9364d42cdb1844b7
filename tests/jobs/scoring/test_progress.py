from __future__ import annotations

import threading
from itertools import count

import pytest
from pyspark.sql import SparkSession

from jobs.executor import WorkerStatistics
from jobs.scoring import progress
from jobs.scoring.progress import Progress, showing_progress
from tests.support.waiting import MOST_SECONDS, wait_until


def report(rows: int) -> dict[str, object]:
    return {
        "rows": rows, "tokens": 0, "groups": 1, "seconds": 0.0, "engines": [], "devices": [], "gpu_addresses": [],
        "peak_memory_bytes": 0, "failures": {},
    }  # fmt: skip


def progress_of(groups_done: int, *, seconds: float = 30, failed: int = 0) -> Progress:
    return Progress(
        groups_done=groups_done, groups=8, rows_done=100 * groups_done, rows=800, tasks_running=2, tasks_failed=failed,
        seconds=seconds,
    )  # fmt: skip


def test_progress_says_what_is_done_and_what_is_left() -> None:
    assert str(progress_of(0)) == "no group of 8 is scored yet, 2 tasks running"
    assert str(progress_of(2, failed=1)) == (
        "2 of 8 groups, 200 of 800 rows, 7 rows/s, 2 tasks running, 1 attempts failed, about 1:30 min left"
    )
    assert progress_of(8).seconds_left == 0
    assert progress_of(0).as_dict()["seconds_left"] is None
    assert progress_of(2).as_dict()["seconds_left"] == 90


def test_progress_is_that_of_the_tasks_that_ended(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    context = spark.sparkContext
    statistics = context.accumulator({}, WorkerStatistics())
    times = count(0, 10)

    done = report(50)

    def task(number: int) -> int:
        statistics.add({f"worker {number % 2}": done})
        return number

    seen: list[str] = []
    looked = threading.Event()
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "live_line", lambda text: (seen.append(text), looked.set()) is not None)
    with showing_progress(context, statistics, groups=5, rows=230, clock=lambda: next(times)) as now:
        assert now().rows_done == 0
        context.parallelize(range(3), 3).map(task).collect()
        # Spark's own count of running tasks follows a little later.
        wait_until(lambda: now().tasks_running == 0, what="no task runs any more")
        found = now()
        assert (found.groups_done, found.rows_done, found.tasks_running) == (3, 150, 0)
        context.parallelize(range(3), 3).map(task).collect()  # one of them twice
        found = now()
        assert (found.groups_done, found.rows_done) == (5, 230)
        assert looked.wait(MOST_SECONDS)
    assert seen[0].startswith("scoring: ")
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_progress_survives_a_spark_that_does_not_answer(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    context = spark.sparkContext

    def broken() -> None:
        raise OSError("connection reset")

    statistics = context.accumulator({}, WorkerStatistics())
    monkeypatch.setattr(context, "statusTracker", broken)
    with showing_progress(context, statistics, groups=5, rows=230) as now:
        assert now().tasks_running == 0
