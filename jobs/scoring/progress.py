"""How far scoring is, while it runs: groups and rows done, and the time that is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.accumulators import Accumulator

from jobs.telemetry.log import live_line

__all__ = ["Progress", "showing_progress"]

_LOGGER = logging.getLogger(__name__)
LIVE_SECONDS, _LOG_SECONDS = 1.0, 30.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is done of a run's groups and rows.

    Attributes
    ----------
    groups_done, groups, rows_done, rows : int
        Done is what a finished task reported; a repeated task may report twice, so it is cut at the whole.
    tasks_running, tasks_failed : int
        Of Spark's active stages.
    seconds : float
        Since scoring began.
    """

    groups_done: int
    groups: int
    rows_done: int
    rows: int
    tasks_running: int
    tasks_failed: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None before the first group is done."""
        return self.seconds / self.groups_done * (self.groups - self.groups_done) if self.groups_done else None

    def __str__(self) -> str:
        running = f"{self.tasks_running} tasks running"
        failed = f", {self.tasks_failed} attempts failed" if self.tasks_failed else ""
        if self.seconds_left is None:
            return f"no group of {self.groups:,} is scored yet, {running}{failed}"
        minutes, seconds = divmod(round(self.seconds_left), 60)
        speed = self.rows_done / max(self.seconds, 1e-9)
        return (
            f"{self.groups_done:,} of {self.groups:,} groups, {self.rows_done:,} of {self.rows:,} rows, "
            f"{speed:,.0f} rows/s, {running}{failed}, about {minutes}:{seconds:02} min left"
        )

    def as_dict(self) -> dict[str, Any]:
        """For a line of the log."""
        left = self.seconds_left
        return {
            **{name: getattr(self, name) for name in ("groups_done", "groups", "rows_done", "rows", "tasks_failed")},
            "seconds_left": None if left is None else round(left, 1),
        }


@contextmanager
def showing_progress(
    context: SparkContext,
    statistics: Accumulator[dict[str, Any]],
    *,
    groups: int,
    rows: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[], Progress]]:
    """Show progress while the block scores: every second in a terminal, else as a line of the log now and then.

    Parameters
    ----------
    context : SparkContext
    statistics : Accumulator
        What workers report, of `jobs.executor.WorkerStatistics`.
    groups, rows : int
        All of them.
    clock : callable
        Seconds.

    Yields
    ------
    callable
        Tells the progress at this moment.
    """
    started = clock()

    def now() -> Progress:
        workers = list(statistics.value.copy().values())
        stages = _active_stages(context)
        return Progress(
            groups_done=min(groups, sum(worker["groups"] for worker in workers)),
            groups=groups,
            rows_done=min(rows, sum(worker["rows"] for worker in workers)),
            rows=rows,
            tasks_running=sum(stage.numActiveTasks for stage in stages),
            tasks_failed=sum(stage.numFailedTasks for stage in stages),
            seconds=clock() - started,
        )

    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(now, ended), name="progress", daemon=True)
    watcher.start()
    try:
        yield now
    finally:
        ended.set()
        watcher.join()


def _watch(now: Callable[[], Progress], ended: threading.Event) -> None:
    logged_at = 0.0
    while not ended.wait(LIVE_SECONDS):
        progress = now()
        if live_line(f"scoring: {progress}"):
            continue
        if progress.seconds - logged_at >= _LOG_SECONDS:
            logged_at = progress.seconds
            _LOGGER.info("%s", progress, extra={"facts": {"progress": progress.as_dict()}})


def _active_stages(context: SparkContext) -> list[Any]:
    """Spark's own count of tasks; none when its JVM does not answer, which is for others to say."""
    try:
        tracker = context.statusTracker()
        found = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
    except (Py4JError, OSError):
        return []
    return [stage for stage in found if stage is not None]
