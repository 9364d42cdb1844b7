"""The status file where only Hadoop reaches it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import status_file
from jobs.status_file import StatusFile


def test_a_uri_is_written_through_hadoop(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder" / "status.json"
    written = status_file._write_with_hadoop
    monkeypatch.setattr(status_file, "_write_with_hadoop", lambda _, content: written(target.as_uri(), content))
    status = StatusFile("hdfs://cluster/status.json", verb="score")
    assert not target.exists()
    status.end(4, "rows were lost", result=None)
    verdict = json.loads(target.read_text())
    assert (verdict["status"], verdict["exit_code"], verdict["sentence"]) == ("failed", 4, "rows were lost")


def test_a_place_that_cannot_be_written_does_not_change_the_verdict(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    StatusFile("nowhere://user:canary@host/status.json", verb="score").end(0, "done", result=None)
    assert "the status file" in caplog.text
