"""What the command writes where its output cannot take it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULT = {"product": "日本 é 😀"}
# A job that is done, and emits its result.
PROGRAM = f"""
import sys
from jobs import cli

class Job:
    @staticmethod
    def add_arguments(parser):
        if sys.argv[1] == "score":
            parser.add_argument("--output")

    @staticmethod
    def run(options, emit):
        emit({RESULT!r})
        return "all is well"

cli._load = lambda module: Job
sys.exit(cli.main([sys.argv[1]]))
"""


def run(verb: str, *, to: Path, encoding: str = "utf-8") -> tuple[int, list[str]]:
    """Exit code, and the lines of standard error."""
    with to.open("w") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, verb],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
    return done.returncode, done.stderr.splitlines()


def test_a_job_that_has_published_is_done_though_its_report_cannot_be_written() -> None:
    code, lines = run("score", to=Path("/dev/full"))
    assert (code, lines[-1]) == (0, "sentiment score: done: all is well")
    assert "standard output cannot be written: No space left on device" in lines[0]


def test_a_result_that_lies_nowhere_else_and_cannot_be_written_is_a_failure() -> None:
    code, lines = run("predict", to=Path("/dev/full"))
    assert code == 6
    assert lines[-1] == (
        "sentiment predict: failed: the result cannot be written (No space left on device); make room and run again"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_the_result_is_json_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    assert run("predict", to=tmp_path / "out", encoding=encoding)[0] == 0
    assert json.loads((tmp_path / "out").read_text(encoding)) == RESULT
