"""Tests of the whole demo."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.demo.__main__ import main, run_demo
from jobs.demo.show import describe_estimate
from jobs.marts import SummarizeSettings


@pytest.mark.slow
def test_the_demo_prints_scores_and_both_estimates_and_writes_the_page(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second one replaces what the first one wrote
        run_demo(spark, tmp_path, n_reviews=120)
        *_, of_texts, of_labels, page = capsys.readouterr().out.splitlines()
        assert of_texts == describe_estimate(tmp_path / "marts-of-texts")
        assert of_texts.endswith("from the texts alone")
        assert of_labels == describe_estimate(tmp_path / "marts")
        assert "known labels" in of_labels
        assert page == f"Dashboard: {tmp_path / 'dashboard.html'}"
        assert (tmp_path / "dashboard.html").read_text(encoding="utf-8").startswith("<!")


def test_a_whole_number_is_the_same_limit_as_a_float() -> None:
    one, other = (SummarizeSettings(scores="s", output="m", positive_above=limit) for limit in (3, 3.0))
    assert repr(one) == repr(other)


def test_a_wrong_setting_of_the_log_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SENTIMENT_LOG_FORMAT", "xml")
    assert main([str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err.startswith("demo: failed: SENTIMENT_LOG_FORMAT must be one of ")
    assert not (tmp_path / "demo").exists()
