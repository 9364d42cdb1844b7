"""The status file where only Hadoop reaches it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import status_file
from jobs.status_file import StatusFile
from sentiment_core.errors import UsageError


@pytest.fixture
def target(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of this machine that Hadoop writes."""
    path = tmp_path / "folder" / "status.json"
    written = status_file.write_with_hadoop
    monkeypatch.setattr(status_file, "write_with_hadoop", lambda _, content: written(path.as_uri(), content))
    return path


def test_a_uri_is_written_through_hadoop(target: Path) -> None:
    status = StatusFile("hdfs://cluster/status.json", verb="score")
    assert json.loads(target.read_text())["status"] == "running"
    status.end(4, "rows were lost", result=None)
    verdict = json.loads(target.read_text())
    assert (verdict["status"], verdict["exit_code"], verdict["sentence"]) == ("failed", 4, "rows were lost")


def test_a_place_that_cannot_be_written_is_refused_before_the_command_starts(spark: SparkSession) -> None:
    with pytest.raises(UsageError, match=r"--status-file nowhere://.* cannot be written") as refused:
        StatusFile("nowhere://user:canary@host/status.json", verb="score")
    assert "canary" not in str(refused.value)


def test_a_place_that_cannot_be_written_any_more_does_not_change_the_verdict(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status = StatusFile("hdfs://cluster/status.json", verb="score")
    shutil.rmtree(target.parent)
    target.parent.write_text("")
    status.end(0, "done", result=None)
    assert "the status file" in caplog.text
