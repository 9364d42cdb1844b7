from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from jobs.telemetry import log as run_log
from jobs.telemetry.log import begin_run, configure_log, end_log, in_stage, live_line, log_verdict
from sentiment_core.errors import UsageError

LOGGER = logging.getLogger("jobs.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What a person sees: text after a return and an erase replaces its line."""
        return [re.split(r"\r\x1b\[K", line)[-1] for line in self.getvalue().split("\n")]


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.delenv("SENTIMENT_LOG_FORMAT", raising=False)
    monkeypatch.setenv("SENTIMENT_SPARK_LOG", "text")
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(run_log, "sys", SimpleNamespace(stderr=stream))  # pytest puts its own in sys
    return stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(run_log, "sys", SimpleNamespace(stderr=stream))  # pytest puts its own in sys
    return stream


def test_outside_a_terminal_each_line_is_an_object_that_names_run_and_stage(stderr: io.StringIO) -> None:
    configure_log("score")
    LOGGER.info("before")
    begin_run("2026-11-23-abc")
    with in_stage("audit"):
        LOGGER.warning('%s "rows"\n', 3, extra={"facts": {"seconds": 1.5}})
    log_verdict(4, "rows were lost")
    first, second, last = map(json.loads, stderr.getvalue().splitlines())
    assert (first["verb"], first["run_id"], first["stage"], first["message"]) == ("score", None, None, "before")
    assert {name: second[name] for name in ("level", "run_id", "stage", "message", "seconds")} == {
        "level": "WARNING",
        "run_id": "2026-11-23-abc",
        "stage": "audit",
        "message": '3 "rows"\n',
        "seconds": 1.5,
    }
    assert datetime.fromisoformat(second["time"]).tzinfo == UTC
    assert (last["stage"], last["exit_code"], last["level"]) == (None, 4, "ERROR")
    assert live_line("scoring") is False


def test_a_terminal_shows_plain_lines_and_one_that_changes(terminal: Terminal) -> None:
    configure_log("score")
    live_line("scoring: 1 of 8 groups")
    LOGGER.info("a group was repeated")
    live_line("scoring: 2 of 8 groups")
    lines = terminal.screen()
    assert lines[0].endswith("a group was repeated")
    assert lines[1:] == ["scoring: 2 of 8 groups"]
    log_verdict(0, "done")  # the closing line says it
    end_log()
    assert terminal.screen()[1:] == [""]


def test_a_line_that_is_too_long_for_the_terminal_is_cut(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    configure_log("score")
    live_line("x" * 100)
    assert len(terminal.screen()[-1]) == 19


@pytest.mark.parametrize(
    ("option", "variable", "is_json"), [("json", "text", True), (None, "json", True), ("text", "json", False)]
)
def test_the_option_wins_over_the_environment_and_that_over_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, option: str | None, variable: str, is_json: bool
) -> None:
    monkeypatch.setenv("SENTIMENT_LOG_FORMAT", variable)
    configure_log("score", log_format=option)
    LOGGER.info("hello")
    assert terminal.getvalue().startswith("{") == is_json


def test_an_unknown_format_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_LOG_FORMAT", "xml")
    with pytest.raises(UsageError, match="must be one of auto, text, json, not 'xml'"):
        configure_log("score")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_shows_a_password(stderr: io.StringIO, log_format: str) -> None:
    configure_log("score", log_format=log_format)
    LOGGER.info("reading %s", "s3a://key:canary@bucket", extra={"facts": {"source": "s3a://key:canary@bucket"}})
    assert "s3a://key:***@bucket" in stderr.getvalue()
    assert "canary" not in stderr.getvalue()
