"""What lets a run survive its workers: settings that are in force, and the same rows for a task that is tried again."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.executor import GroupScorer
from jobs.scoring.grouping import score_table
from jobs.spark.session import DEFAULTS, retrying
from jobs.tables.scores import ScoreColumns


@pytest.mark.parametrize(
    ("master", "expected"),
    [
        ("local", "local[1,4]"),
        ("local[2]", "local[2,4]"),
        ("local[*]", "local[*,4]"),
        ("local[2,1]", "local[2,1]"),  # asked for
        ("spark://host:7077", "spark://host:7077"),
        ("k8s://https://host", "k8s://https://host"),
        ("", ""),
    ],
)
def test_one_machine_tries_a_task_again(master: str, expected: str) -> None:
    assert retrying(master, "4") == expected


def test_a_worker_that_hangs_is_ended_and_replaced_without_a_submit_script(spark: SparkSession) -> None:
    for name, value in DEFAULTS.items():
        assert spark.conf.get(name) == value, name
    assert spark.sparkContext.master == "local[2,4]"
    assert int(spark.conf.get("spark.sql.execution.pyspark.udf.idleTimeoutSeconds") or 0) > 0
    assert spark.conf.get("spark.sql.execution.pyspark.udf.killOnIdleTimeout") == "true"
    # In force for UDFs as well, which fall back on it: before a worker is ended, it says where it hangs.
    assert spark.conf.get("spark.sql.execution.pyspark.udf.tracebackDumpIntervalSeconds") == "600000ms"


def test_a_worker_imports_nothing_from_the_folder_where_it_was_started(spark: SparkSession) -> None:
    assert spark.sparkContext.parallelize([0], 1).map(lambda _: sys.flags.safe_path).first() is True


def test_a_task_that_is_tried_again_finds_the_same_rows(spark: SparkSession, reviews: pa.Table) -> None:
    """No clock and no chance before the shuffle."""
    columns = ScoreColumns(id="review_id", text="text", kept=("review_id",), partition="run_date")
    scorer: Any = GroupScorer.__new__(GroupScorer)

    def plan(frame: DataFrame) -> Any:
        scored = score_table(frame, columns=columns, scorer=scorer, groups=4)
        return scored._jdf.queryExecution().analyzed()

    frame = spark.createDataFrame(reviews)
    found = plan(frame)
    assert found.deterministic()
    assert not any(name in found.toString().lower() for name in ("current_", "now(", "rand", "uuid", "monotonically"))
    assert not plan(frame.withColumn("text", F.concat("text", F.rand().cast("string")))).deterministic()
