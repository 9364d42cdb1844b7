"""The sample's whole output table and its marts have the stored bits on each Python, NumPy and pandas."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import cli
from tests.support import digests


@pytest.mark.slow
@pytest.mark.skipif(
    not digests.stored(digests.processor()),
    reason="no digests are stored for this processor; `python -m tests.support.digests --store` adds them",
)
def test_the_samples_table_and_marts_have_the_stored_bits(
    compiling: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "stop_spark", lambda: None)
    assert digests.differences(digests.of_job(tmp_path), digests.processor()) == [], digests.RENEW
