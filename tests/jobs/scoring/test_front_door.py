"""`score` and `backfill` as functions: what an orchestrator's task or a notebook calls."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.scoring import BackfillSettings, ScoreSettings, score
from jobs.scoring.backfill import backfill
from jobs.shaping.conditions import parse_condition
from sentiment_core.errors import UsageError

DAY = date(2026, 11, 23)


def test_the_function_gives_what_the_verb_gives(
    sentiment: Any, spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(reviews, source)
    settings = ScoreSettings(
        input=(str(source),), output=str(tmp_path / "called"), model=(str(model_path),), run_date=DAY
    )
    dry = score(spark, replace(settings, dry_run=True))
    assert (dry.status, dry.rows_to_score, (tmp_path / "called" / "_runs").exists()) == ("dry-run", len(reviews), False)
    report = score(spark, settings)
    options = ("--input", source, "--output", tmp_path / "verb", "--model", model_path, "--run-date", DAY)
    code, (emitted,), sentence = sentiment("score", *map(str, options))
    assert (code, report.status) == (0, "published"), sentence
    assert report.run_id == dry.run_id == emitted["run_id"]
    assert set(report.facts) == set(emitted)
    assert report.facts["counts"] == emitted["counts"]
    called, by_verb = (
        ds.dataset(tmp_path / name, partitioning="hive").to_table().sort_by("review_id") for name in ("called", "verb")
    )
    assert called.equals(by_verb)
    assert score(spark, settings).status == "unchanged"


def test_a_backfill_is_called_with_each_report(
    spark: SparkSession, reviews: pa.Table, model_path: Path, tmp_path: Path
) -> None:
    days = [None, *([date(2026, 11, 1 + number % 2) for number in range(len(reviews) - 1)])]
    pq.write_table(reviews.append_column("day", pa.array(days, pa.date32())), tmp_path / "in.parquet")
    settings = BackfillSettings(
        input=(str(tmp_path / "in.parquet"),),
        output=str(tmp_path / "scores"),
        model=(str(model_path),),
        first=date(2026, 11, 1),
        last=date(2026, 11, 2),
        date_column="day",
    )
    seen: list[str] = []
    report = backfill(spark, settings, done=lambda run: seen.append(run.run_id))
    assert seen == [run.run_id for run in report.runs]
    assert [run.rows_read for run in report.runs] == [days.count(date(2026, 11, day)) for day in (1, 2)]
    assert report.undated_rows == 1


def test_settings_are_frozen_and_checked() -> None:
    settings = ScoreSettings(input=("in",), output="out", where=(parse_condition("stars >= 3"),))
    with pytest.raises(FrozenInstanceError):
        settings.output = "elsewhere"  # type: ignore[misc]
    wrong: dict[str, Any] = {
        "input": "in",
        "model": "model",
        "engine": "steam",
        "precision": "int2",
        "device": "tpu",
        "input_format": "xml",
        "drivers": 101,
        "groups": 0,
        "max_failed_ratio": 1.5,
    }
    for name, value in wrong.items():
        with pytest.raises(UsageError, match=name):
            replace(settings, **{name: value})
    with pytest.raises(UsageError, match="input must name at least one"):
        replace(settings, input=())
