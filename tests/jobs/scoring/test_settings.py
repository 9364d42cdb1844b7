"""The score job as a function."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession

from jobs.demo.sample_reviews import write_reviews
from jobs.scoring.run import score
from jobs.scoring.settings import ScoreSettings
from jobs.verbs.options import add_scoring_arguments, score_settings
from sentiment_core.errors import InputError


def test_the_defaults_are_those_of_the_verb() -> None:
    parser = argparse.ArgumentParser()
    add_scoring_arguments(parser)
    options = parser.parse_args(["--input", "a", "b", "--output", "c"])
    assert score_settings(options) == ScoreSettings(input=("a", "b"), output="c")


def test_a_function_scores_as_the_verb_does(spark: SparkSession, sentiment: Any, tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.parquet", n_reviews=40)
    settings = ScoreSettings(
        input=(str(tmp_path / "reviews.parquet"),),
        output=str(tmp_path / "of_function"),
        keep_columns="product_id",
        run_date=date(2026, 11, 1),
    )
    report = score(spark, settings)
    options = ("--output", tmp_path / "of_verb", "--keep-columns", "product_id", "--run-date", "2026-11-01")
    code, (printed,), _ = sentiment("score", "--input", tmp_path / "reviews.parquet", *options)
    assert (code, printed["run_id"]) == (0, report["run_id"])
    found, expected = (
        ds.dataset(tmp_path / name, partitioning="hive").to_table().sort_by("review_id")
        for name in ("of_function", "of_verb")
    )
    assert found.equals(expected)
    assert score(spark, settings)["status"] == "unchanged"


def test_what_the_verb_refuses_a_function_raises(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such path or table"):
        score(spark, ScoreSettings(input=(str(tmp_path / "nowhere.parquet"),), output=str(tmp_path / "scores")))
