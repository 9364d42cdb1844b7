"""What a test run shows: percent and time left while it runs, and for each failure the command that repeats it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.seconds import seconds_of, store

__all__ = ["Progress"]

_LIVE_SECONDS, _LOG_SECONDS = 0.5, 15.0
_MOST_COMMANDS = 10
# Of the whole run; from less nobody can tell how long the rest takes.
_LEAST_SHARE = 0.02


class Progress:
    """A plugin of the process that reports, which with several workers is none of them.

    In a terminal one line is drawn again and again; elsewhere a line is written every 15 seconds. pytest's own dots,
    which tell no time, are left out.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._live = sys.stdout.isatty()
        self._left: dict[str, float] = {}
        self._n_all = self._n_done = 0
        self._done = 0.0
        self._began = self._shown = time.monotonic()
        self._ended = False
        self._took: dict[str, float] = {}
        self._failed: dict[str, None] = {}

    @property
    def _terminal(self) -> Any:
        return self._config.pluginmanager.getplugin("terminalreporter")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # with several workers, this process collects nothing
            self._begin([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self._n_all:
            self._begin(ids)

    def _begin(self, nodeids: Sequence[str]) -> None:
        self._left = {nodeid: seconds_of(nodeid) for nodeid in nodeids}
        self._n_all = len(nodeids)
        self._began = self._shown = time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count as pytest counts, and write nothing while tests run; failures are written as they come."""
        if self._ended:
            return None
        if report.failed:
            return ("failed" if report.when == "call" else "error"), "", ""
        if report.skipped:
            return "skipped", "", ""
        return ("passed" if report.when == "call" else ""), "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        nodeid = report.nodeid
        self._took[nodeid] = self._took.get(nodeid, 0.0) + report.duration
        if report.failed and nodeid not in self._failed:
            self._failed[nodeid] = None
            self._write(f"FAILED {nodeid}")
        if report.when == "teardown" and nodeid in self._left:
            self._done += self._left.pop(nodeid)
            self._n_done += 1
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown < (_LIVE_SECONDS if self._live else _LOG_SECONDS) or not self._n_all:
            return
        self._shown = now
        line = progress_line(
            n_done=self._n_done,
            n_all=self._n_all,
            n_failed=len(self._failed),
            share=self._done / (self._done + sum(self._left.values())),
            seconds=now - self._began,
        )
        if self._live:
            self._terminal.rewrite(line, erase=True)
        else:
            self._write(line)

    def _write(self, line: str) -> None:
        if self._live:
            self._terminal.rewrite("", erase=True)
        self._terminal.write_line(line)
        sys.stdout.flush()

    def pytest_sessionfinish(self) -> None:
        self._ended = True
        if self._live:
            self._terminal.rewrite("", erase=True)
        if self._config.getoption("--store-seconds"):
            store(self._took)

    def pytest_terminal_summary(self) -> None:
        if not self._failed:
            return
        self._terminal.section("to repeat what failed")
        seed = self._config.getoption("randomly_seed", None)
        for nodeid in [*self._failed][:_MOST_COMMANDS]:
            self._terminal.write_line(command_again([nodeid], seed=seed))
        if len(self._failed) > _MOST_COMMANDS:
            self._terminal.write_line(f"and {len(self._failed) - _MOST_COMMANDS} more, which are listed below")


def progress_line(*, n_done: int, n_all: int, n_failed: int, share: float, seconds: float) -> str:
    """How far a run is; the time left is that of the tests left, at the speed so far."""
    failed = f", {n_failed} failed" if n_failed else ""
    line = f"{share:4.0%}, {n_done:,} of {n_all:,} tests{failed}"
    if share < _LEAST_SHARE:
        return line
    minutes, left = divmod(round(seconds * (1 - share) / share), 60)
    return f"{line}, about {minutes}:{left:02} min left"


def command_again(nodeids: Sequence[str], *, seed: object) -> str:
    """Runs these tests in one process, with the same random numbers."""
    chosen = [] if seed is None else [f"--randomly-seed={seed}"]
    return shlex.join([".venv/bin/pytest", *chosen, *nodeids])
