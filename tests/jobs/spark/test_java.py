"""The archive of classes that Java starts with: it is of one Java and one Spark, and nothing depends on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.spark import java
from jobs.spark.java import archive_path, java_options, spark_home

ROOT = Path(__file__).parents[3]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A Java and a Spark that are empty files, and a place for their archive with a space in its name."""
    for name in ("java/bin", "spark/jars", "a place"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "java/bin/java").touch()
    monkeypatch.setattr(java.sys, "prefix", str(tmp_path / "a place"))
    return {"JAVA_HOME": str(tmp_path / "java"), "SPARK_HOME": str(tmp_path / "spark"), "PATH": ""}


def test_a_java_starts_without_an_archive_where_there_is_none(environment: dict[str, str]) -> None:
    assert "Archive" not in java_options(environment)
    assert "-XX:Tier4InvocationThreshold=50000" in java_options(environment).split()


def test_an_archive_is_named_in_quotes_and_java_is_silent_about_it(environment: dict[str, str]) -> None:
    archive = archive_path(environment)
    assert archive is not None
    archive.touch()
    options = java_options(environment)
    assert options.endswith(f'"-XX:SharedArchiveFile={archive}"')
    assert options.index("-Xlog:disable") < options.index("-XX:SharedArchiveFile")


@pytest.mark.parametrize("replaced", ["java/bin/java", "spark/jars"])
def test_another_java_or_spark_has_another_archive(environment: dict[str, str], tmp_path: Path, replaced: str) -> None:
    before = archive_path(environment)
    os.utime(tmp_path / replaced, (1, 1))
    assert archive_path(environment) != before


def test_without_a_java_there_is_no_archive(environment: dict[str, str]) -> None:
    assert archive_path({"PATH": "/nowhere"}) is None
    assert archive_path(environment | {"JAVA_HOME": "/nowhere"}) is None
    assert java.java_options({"PATH": "/nowhere"})


def test_what_the_submit_script_asks_for_needs_no_import_of_spark() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs.spark.java", "--show"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    home, jobs, options = shown.stdout.splitlines()
    assert (Path(home), Path(jobs)) == (spark_home(), ROOT / "jobs")
    assert options == java_options(os.environ)
    assert "pyspark" not in shown.stderr


@pytest.mark.slow
def test_a_java_with_its_archive_takes_the_classes_from_it_and_writes_nothing_about_it(
    tmp_path: Path,
) -> None:
    existing = archive_path(os.environ)
    if existing is not None and existing.is_file():  # by the set-up
        archive = Path(shutil.copy(existing, tmp_path))
    else:
        made = subprocess.run([sys.executable, "-c", MAKE, tmp_path], capture_output=True, text=True, cwd=ROOT)
        assert made.returncode == 0, made.stderr
        assert "MB" in made.stdout
        (archive,) = tmp_path.glob("*.jsa")
    for is_whole in (True, False):
        log = f"-Xlog:class+load:file={tmp_path}/loaded"
        arguments = f"--master local[1] --driver-java-options '{log}' pyspark-shell"
        started = subprocess.run(
            [sys.executable, "-c", START, tmp_path], capture_output=True, text=True, cwd=ROOT,
            env={**os.environ, "PYSPARK_SUBMIT_ARGS": arguments},
        )  # fmt: skip
        assert (started.returncode, started.stdout) == (0, "3\n"), started.stderr
        assert ("shared objects file (top)" in (tmp_path / "loaded").read_text()) == is_whole
        archive.write_bytes(b"no archive")


MAKE = "import sys; sys.prefix = sys.argv[1]; from jobs.spark import java; print(java.make_archive())"
START = (
    "import sys; sys.prefix = sys.argv[1]; from jobs.spark.session import spark_session; "
    "session = spark_session('test'); print(session.range(3).count()); session.stop()"
)
