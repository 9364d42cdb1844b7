"""What a job says while it runs: readable lines in a terminal, one JSON object a line for everything else.

Every line of JSON has the time in UTC, the level, the verb, the run and the stage, so that a log collector can follow
one run through many. A terminal also shows, below the lines, what goes on right now.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from jobs.telemetry.privacy import redact, redact_values
from sentiment_core.errors import UsageError

__all__ = ["LOG_FORMATS", "begin_run", "configure_log", "end_log", "in_stage", "live_line", "log_spark", "log_verdict"]

LOG_FORMATS = ("auto", "text", "json")
_FORMAT_VARIABLE = "SENTIMENT_LOG_FORMAT"
# What was chosen, for Spark's own log (log4j2.properties): its JVM inherits the environment.
_SPARK_VARIABLE = "SENTIMENT_SPARK_LOG"
_RUN_PROPERTY = "sentiment.run.id"
_CLEAR_LINE = "\r\x1b[K"

# Logging is the process's, and so is what it says of the present: a process does one run at a time.
_PRESENT: dict[str, str | None] = {"verb": None, "run_id": None, "stage": None}


def configure_log(verb: str, *, log_format: str | None = None) -> None:
    """Let all loggers write to standard error.

    Parameters
    ----------
    verb : str
    log_format : str, optional
        One of ``LOG_FORMATS``; by default what the environment's ``SENTIMENT_LOG_FORMAT`` says, else ``auto``: ``text``
        if standard error is a terminal, else ``json``.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    chosen = log_format or os.environ.get(_FORMAT_VARIABLE) or "auto"
    if chosen not in LOG_FORMATS:
        raise UsageError(f"{_FORMAT_VARIABLE} must be one of {', '.join(LOG_FORMATS)}, not {chosen!r}")
    if chosen == "auto":
        chosen = "text" if sys.stderr.isatty() else "json"
    os.environ[_SPARK_VARIABLE] = chosen
    _PRESENT.update(verb=verb, run_id=None, stage=None)
    handler = _LiveHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if chosen == "json" else _TextFormatter("%(asctime)s %(message)s"))
    level = logging.DEBUG if os.environ.get("SENTIMENT_LOG_LEVEL") == "DEBUG" else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("py4j").setLevel(logging.WARNING)


def log_verdict(code: int, sentence: str) -> None:
    """Let those who read only JSON know how it ended; people read it in the closing line."""
    if os.environ.get(_SPARK_VARIABLE) == "json":
        level = logging.INFO if code == 0 else logging.ERROR
        logging.getLogger(__name__).log(level, "%s", sentence, extra={"facts": {"exit_code": code}})


def end_log() -> None:
    """Leave the terminal to whoever writes next."""
    for handler in _live_handlers():
        handler.show("")


def begin_run(run_id: str) -> None:
    """Name the run that later lines are about."""
    _PRESENT["run_id"] = run_id


def log_spark(jvm: Any) -> None:
    """Name the run in Spark's own log, too."""
    getattr(jvm, "java.lang.System").setProperty(_RUN_PROPERTY, _PRESENT["run_id"] or "")


@contextmanager
def in_stage(stage: str) -> Iterator[None]:
    """Name the stage that later lines are about."""
    before = _PRESENT["stage"]
    _PRESENT["stage"] = stage
    live_line(stage.replace("_", " "))
    try:
        yield
    finally:
        _PRESENT["stage"] = before


def live_line(text: str) -> bool:
    """Show in a terminal, below the log, what goes on; False where there is none."""
    handlers = [handler for handler in _live_handlers() if handler.is_live]
    for handler in handlers:
        handler.show(text)
    return bool(handlers)


def _live_handlers() -> list[_LiveHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _LiveHandler)]


class _LiveHandler(logging.StreamHandler[TextIO]):
    """Writes lines, and in a terminal keeps one more below them that is written anew."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._shown = ""

    @property
    def is_live(self) -> bool:
        """Whether a person looks at lines of text in a terminal."""
        return isinstance(self.formatter, _TextFormatter) and self.stream.isatty()

    def show(self, text: str) -> None:
        """Replace the line below the log."""
        self.acquire()
        try:
            if text != self._shown:
                width = shutil.get_terminal_size().columns - 1  # what wraps could not be replaced
                self.stream.write(_CLEAR_LINE + text[:width])
                self.stream.flush()
                self._shown = text
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line above the live one."""
        shown = self._shown
        if shown:
            self.show("")
        super().emit(record)
        if shown:
            self.show(shown)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _JsonFormatter(logging.Formatter):
    """One object a line; what a record brings in ``extra={"facts": {...}}`` has names of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **_PRESENT,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(redact_values(line), ensure_ascii=False, default=str)
