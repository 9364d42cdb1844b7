"""One Spark session for all tests of the jobs, and a small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.demo.sample_reviews import generate_reviews
from jobs.spark.session import spark_session
from sentiment_core.artifact import Architecture, Decision, Model, save_model
from sentiment_core.text.pipeline import TextPipeline, TextSettings, build_vocabulary

_INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
_COMPILED = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with pytest.MonkeyPatch.context() as patch:
        # Java's second compiler and its threads for garbage would take longer than they save. Without the second
        # compiler there are 48 MB for compiled code, which some hundred plans fill; all that follow are interpreted.
        java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m -Xmn512m"
        settings = {
            "spark.sql.shuffle.partitions": 2,
            # Spark would generate and compile Java for each plan, which takes longer than a small table. In processes
            # and clusters of their own (demo, notebooks, faults, submit script) plans are compiled, as users have it.
            **_INTERPRETED,
            "spark.sql.optimizer.dynamicPartitionPruning.enabled": "false",
            # The text of each plan is for a page that nobody opens.
            "spark.sql.ui.explainMode": "simple",
        }
        conf = " ".join(f"--conf {name}={value}" for name, value in settings.items())
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[2] {conf} --driver-java-options '{java}' pyspark-shell")
        patch.chdir(tmp_path_factory.mktemp("spark"))
        session = spark_session("tests")
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture
def compiling(spark: SparkSession) -> Iterator[SparkSession]:
    """The session, which compiles its plans as Spark does by default."""
    for name, value in _COMPILED.items():
        spark.conf.set(name, value)
    yield spark
    for name, value in _INTERPRETED.items():
        spark.conf.set(name, value)


@pytest.fixture(scope="session")
def reviews() -> pa.Table:
    return generate_reviews(300)


@pytest.fixture(scope="session")
def model(reviews: pa.Table) -> Model:
    settings = TextSettings(max_tokens=60)
    vocabulary, _ = build_vocabulary([reviews["text"]], settings=settings, max_size=200)
    architecture = Architecture(vocab_size=len(vocabulary), embed_size=6, hidden_size=6)
    rng = np.random.default_rng(3)
    return Model(
        kind="sentiment",
        architecture=architecture,
        text=TextPipeline(settings=settings, vocabulary=vocabulary),
        weights={
            name: rng.normal(0, 0.8, shape).astype(np.float32)
            for name, shape in architecture.shapes("sentiment").items()
        },
        decision=Decision(slope=1.5, intercept=-0.1, negative_below=0.45, positive_from=0.55),
    )


@pytest.fixture(scope="session")
def model_path(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    save_model(model, path)
    return path
