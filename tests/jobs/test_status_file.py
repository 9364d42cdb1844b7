from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentiment_core.artifact import save_model
from tests.support.models import tiny_model
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def status(tmp_path: Path) -> Path:
    return tmp_path / "status" / "tonight.json"


def test_the_verdict_of_a_command_is_that_of_its_last_line(sentiment: Any, tmp_path: Path, status: Path) -> None:
    save_model(tiny_model(), tmp_path / "model")
    code, rows, sentence = sentiment("predict", "--model", tmp_path / "model", "--status-file", status, "good")
    verdict = json.loads(status.read_text())
    assert (
        (verdict["status"], verdict["exit_code"], verdict["verb"])
        == ("done", code, "predict")
        == ("done", 0, "predict")
    )
    assert sentence.endswith(verdict["sentence"])
    assert verdict["result"] == rows[-1]
    assert verdict["started_at"] <= verdict["ended_at"]


def test_a_command_that_fails_leaves_its_exit_code_and_sentence(sentiment: Any, tmp_path: Path, status: Path) -> None:
    code, _, sentence = sentiment("predict", "--model", tmp_path / "none", "--status-file", status.as_uri(), "good")
    verdict = json.loads(status.read_text())
    assert (verdict["status"], verdict["exit_code"], verdict["result"]) == ("failed", code, None) == ("failed", 3, None)
    assert sentence == f"sentiment predict: failed: {verdict['sentence']}"


def test_a_command_that_was_killed_is_running_for_ever(tmp_path: Path, status: Path) -> None:
    save_model(tiny_model(), tmp_path / "model")
    command = [sys.executable, "-m", "jobs.cli", "predict", "--model", tmp_path / "model", "--status-file", status]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as job:
        # It waits for its input, with the status file written.
        wait_until(lambda: status.exists() or job.poll() is not None, what="the status file")
        assert job.poll() is None
        job.send_signal(signal.SIGKILL)
        job.communicate()
    verdict = json.loads(status.read_text())
    assert (verdict["status"], verdict["process_id"]) == ("running", job.pid)
    assert "exit_code" not in verdict


@pytest.mark.skipif(os.getuid() != 0, reason="others are refused elsewhere")
def test_a_place_that_cannot_be_written_is_refused_before_the_command_starts(sentiment: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, rows, sentence = sentiment("predict", "--status-file", tmp_path / "file" / "status.json", "good")
    assert (code, rows) == (2, [])
    assert "--status-file" in sentence
