"""Variables that keep Spark from starting are named before Java starts, and locales are understood."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from jobs.spark.environment import faults_of, refuse_faults
from jobs.spark.file_names import encoding_of_names, use_utf8_names
from sentiment_core.errors import EnvironmentFault


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SPARK_HOME", "/no/such/place", "holds no Spark; unset it"),
        ("SPARK_LOCAL_DIRS", "{file}/below", "nothing can be written below"),
        ("SPARK_LOCAL_DIRS", "/proc/nothing,{file}", "nothing can be written below"),
        ("JAVA_HOME", "{folder}", "has no bin/java"),
        ("PYSPARK_SUBMIT_ARGS", "--master local[2]", "does not end with pyspark-shell"),
        ("PYSPARK_SUBMIT_ARGS", "--conf 'spark.x=1 pyspark-shell", "quotes do not match"),
        ("PYSPARK_SUBMIT_ARGS", "--conf", "no value"),
        ("PYSPARK_PYTHON", "/no/python", "there is no program"),
        ("PYSPARK_PYTHON", "/bin/true", "not {}.{}".format(*sys.version_info[:2])),
        ("PYSPARK_PYTHON", "/bin/false", "is no Python"),
        ("PYSPARK_DRIVER_PYTHON", "/no/python", "there is no program"),
    ],
)
def test_a_wrong_variable_is_named_with_its_fault(variable: str, value: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = value.format(file=tmp_path / "file", folder=tmp_path)
    with pytest.raises(EnvironmentFault, match=f"^{variable} is wrong: .*{says}"):
        refuse_faults({variable: given})


def test_another_spark_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.12-3.5.1.jar").touch()
    assert "3.5.1" in dict(faults_of({"SPARK_HOME": str(tmp_path)}))["SPARK_HOME"]


def test_what_works_is_no_fault(tmp_path: Path) -> None:
    environment = {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOCAL_DIRS": f"/proc/nothing,{tmp_path / 'made' / 'later'}",
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.x='a b' pyspark-shell",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
    assert list(faults_of(environment)) == []
    assert list(faults_of({})) == []


def test_no_locale_becomes_one_of_utf8_for_what_is_started() -> None:
    program = (
        "from jobs.spark.file_names import use_utf8_names\n"
        "found = {}\n"
        "print(use_utf8_names(found), found.get('LC_ALL'))"
    )
    other = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    for locale, expected in (("C", "C.UTF-8 C.UTF-8"), ("xx_YY.UTF-8", "C.UTF-8 C.UTF-8"), ("C.UTF-8", "None None")):
        environment = other | {"LC_ALL": locale}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_a_locale_of_another_encoding_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.spark.file_names.encoding_of_names", lambda name="": "ISO-8859-1")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(EnvironmentFault, match=r"ISO-8859-1, and Spark needs UTF-8; set LC_ALL=C\.UTF-8"):
        use_utf8_names({})
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "utf-8")
    with pytest.raises(EnvironmentFault, match="no locale of UTF-8 is installed"):
        use_utf8_names({})


def test_a_locale_that_is_not_installed_is_none() -> None:
    assert encoding_of_names("xx_YY.UTF-8") == "ASCII"


def test_the_workers_python_of_a_cluster_is_not_looked_for_here() -> None:
    shipped = {"PYSPARK_PYTHON": "./environment/bin/python"}
    assert [variable for variable, _ in faults_of(shipped)] == ["PYSPARK_PYTHON"]
    assert list(faults_of(shipped | {"PYSPARK_SUBMIT_ARGS": "--master spark://host:7077 pyspark-shell"})) == []
