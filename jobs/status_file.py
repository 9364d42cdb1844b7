"""The verdict of a command as a file, for schedulers that cannot trust an exit code.

spark-submit may end with 0 although the driver failed, when the driver runs in the cluster. The file lies where it was
asked for, apart from all data: it says of a failed run, too, what happened. ``python -m jobs.status_file VERB`` reads
one from standard input, and ends as the command did.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError

from jobs.storage.java import HADOOP_PATH, java_class
from jobs.telemetry.privacy import redact, redact_values
from sentiment_core.durable import replace_durably
from sentiment_core.errors import SentimentError, UsageError

__all__ = ["StatusFile", "repeat"]

_LOGGER = logging.getLogger(__name__)
_SCHEME = re.compile(r"^([A-Za-z][\w+.-]*):/")


class StatusFile:
    """One command's status: ``running``, then ``done`` or ``failed``.

    Parameters
    ----------
    location : str
        A path of this machine, or a URI that Hadoop knows.
    verb : str

    Raises
    ------
    UsageError
        If it cannot be written.
    EnvironmentFault
        If it is a URI and there is no Java.
    """

    def __init__(self, location: str, *, verb: str) -> None:
        self._location = location
        self._facts: dict[str, Any] = {
            "verb": verb,
            "host": socket.gethostname(),
            "process_id": os.getpid(),
            "started_at": _now(),
        }
        scheme = _SCHEME.match(location)
        self._is_local = scheme is None or scheme[1] == "file"
        try:
            self._write({"status": "running"})
        except (OSError, Py4JError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UsageError(f"--status-file {redact(location)} cannot be written ({reason}); name another") from error

    def end(self, code: int, sentence: str, *, result: Mapping[str, Any] | None) -> None:
        """Write the verdict; that it cannot be written is logged and changes nothing.

        Parameters
        ----------
        code : int
        sentence : str
        result : mapping, optional
            The last object that the command wrote to standard output.
        """
        verdict = {"status": "done" if code == 0 else "failed", "exit_code": code, "sentence": sentence}
        try:
            self._write({**verdict, "ended_at": _now(), "result": result})
        except (OSError, Py4JError, SentimentError) as error:
            _LOGGER.warning("the status file %s cannot be written: %s", self._location, type(error).__name__)

    def _write(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps(redact_values({**self._facts, **facts}), indent=2, default=str) + "\n"
        if self._is_local:
            path = Path(self._location.removeprefix("file://").removeprefix("file:"))
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(path, text.encode())
        else:
            write_with_hadoop(self._location, text.encode())


def repeat(verb: str, text: str) -> int:
    """Say again what a command said: its last result, its closing sentence; returns its exit code.

    Parameters
    ----------
    verb : str
    text : str
        The content of its status file; empty if there is none.
    """
    try:
        verdict = json.loads(text)
        code, sentence, result = int(verdict["exit_code"]), verdict["sentence"], verdict["result"]
    except (ValueError, LookupError, TypeError):
        code, sentence, result = 1, "the driver ended without a verdict; look at its log in the cluster", None
    if result is not None:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    sys.stderr.write(f"sentiment {verb}: {'done' if code == 0 else 'failed'}: {sentence}\n")
    return code


def write_with_hadoop(location: str, content: bytes) -> None:
    """Write a file through the Java of the session."""
    from pyspark import SparkContext

    from jobs.spark.session import start_java

    start_java()
    jvm: Any = SparkContext._jvm
    settings = java_class(jvm, "org.apache.spark.SparkConf")()
    conf = java_class(jvm, "org.apache.spark.deploy.SparkHadoopUtil").get().newConfiguration(settings)
    path = java_class(jvm, HADOOP_PATH)(location)
    stream = path.getFileSystem(conf).create(path, True)
    try:
        stream.write(bytearray(content))
    finally:
        stream.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(repeat(sys.argv[1], sys.stdin.read()))
