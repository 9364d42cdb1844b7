"""`--deploy-mode cluster` with stand-ins for Spark's programs: spark-submit ends with 0 whatever the driver did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# The driver that spark-submit starts; it notes what it was given, and writes what the test wants to be its verdict.
SPARK_SUBMIT = (
    '#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/given\n[ ! -f {folder}/verdict ] || cp {folder}/verdict {status}\n'
)
FS_SHELL = '#!/bin/sh\n[ "$1" = org.apache.hadoop.fs.FsShell ] || exit 9\nshift\nfor last; do :; done\n' + (
    'file=${last#file:}\ncase $1 in -rm) rm -f "$file" ;; -cat) cat "$file" ;; esac\n'
)
PYTHON = (
    "#!/bin/sh\ncase $2 in\n"
    'jobs.spark.java) printf "%s\\n" {folder}/spark {root}/jobs -XX:OfThisMachine ;;\n'
    '*) exec {python} "$@" ;;\nesac\n'
)


@pytest.fixture
def submit(tmp_path: Path) -> Any:
    """Submit with a verdict to come: exit code, standard output, last line, and what spark-submit was given."""
    status = tmp_path / "status.json"
    names = {"folder": tmp_path, "status": status, "python": sys.executable, "root": ROOT}
    (tmp_path / "spark" / "bin").mkdir(parents=True)
    programs = {"python": PYTHON, "spark/bin/spark-submit": SPARK_SUBMIT, "spark/bin/spark-class": FS_SHELL}
    for name, text in programs.items():
        for key, value in names.items():
            text = text.replace(f"{{{key}}}", str(value))
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    status.write_text(json.dumps({"exit_code": 0, "sentence": "last night's", "result": None}))

    def run(verdict: str | None, *options: str) -> tuple[int, str, str, list[str]]:
        if verdict is not None:
            (tmp_path / "verdict").write_text(verdict)
        done = subprocess.run(
            [
                ROOT / "spark-submit.sh",
                "--master",
                "yarn",
                "--deploy-mode",
                "cluster",
                "score",
                "--input",
                "x",
                *options,
            ],
            capture_output=True,
            text=True,
            env={
                "PATH": "/usr/bin:/bin",
                "PYSPARK_DRIVER_PYTHON": str(tmp_path / "python"),
                "SENTIMENT_ENVIRONMENT": "",
            },
        )
        given = tmp_path / "given"
        lines = given.read_text().splitlines() if given.exists() else []
        return done.returncode, done.stdout, done.stderr.splitlines()[-1], lines

    return run


@pytest.mark.parametrize(
    ("verdict", "code", "sentence"),
    [
        ({"exit_code": 0, "sentence": "published 3 rows", "result": {"rows": 3}}, 0, "done: published 3 rows"),
        ({"exit_code": 4, "sentence": "rows were lost", "result": None}, 4, "failed: rows were lost"),
        (None, 1, "failed: the driver ended without a verdict; look at its log in the cluster"),
    ],
)
def test_the_drivers_verdict_is_the_scripts(
    submit: Any, tmp_path: Path, verdict: dict[str, Any] | None, code: int, sentence: str
) -> None:
    location = f"file:{tmp_path}/status.json"
    found = submit(verdict and json.dumps(verdict), "--status-file", location)
    assert found[0] == code
    assert found[1] == ('{"rows": 3}\n' if code == 0 else "")
    assert found[2] == f"sentiment score: {sentence}"
    assert found[3][-4:] == ["--status-file", location, "--status-file", location]
    settings = dict(setting.split("=", 1) for setting in found[3] if setting.startswith("spark."))
    assert settings["spark.yarn.appMasterEnv.SENTIMENT_LOG_FORMAT"] == "json"


@pytest.mark.parametrize(
    "verdict", ["", "{", "[]", '{"exit_code": null, "sentence": "x", "result": null}', '{"status": "running"}']
)
def test_a_status_that_is_no_verdict_is_a_failure(submit: Any, tmp_path: Path, verdict: str) -> None:
    assert submit(verdict, f"--status-file=file:{tmp_path}/status.json")[0] == 1


@pytest.mark.parametrize("options", [[], ["--status-file", "status.json"]])
def test_without_a_place_that_both_can_reach_nothing_is_submitted(submit: Any, options: list[str]) -> None:
    code, _, sentence, given = submit(None, *options)
    assert (code, given) == (2, [])
    assert "name a --status-file URI" in sentence


@pytest.mark.parametrize("place", ["options", "settings", "file"])
@pytest.mark.parametrize(
    ("master", "python", "program"),
    [
        (
            "k8s://https://h",
            "/opt/sentiment/bin/python",
            "local:///opt/sentiment/lib/python/site-packages/jobs/cli.py",
        ),
        ("yarn", "./environment/bin/python", f"{ROOT}/jobs/cli.py"),
    ],
)
def test_a_driver_in_the_cluster_runs_what_executors_run(
    submit: Any, tmp_path: Path, place: str, master: str, python: str, program: str
) -> None:
    values = [master, "cluster"] + ([] if master.startswith("k8s") else ["a.tar.gz#environment"])
    settings = list(zip(("spark.master", "spark.submit.deployMode", "spark.archives"), values))
    if place == "options":
        options = [f"{name}={value}" for name, value in zip(("--master", "--deploy-mode", "--archives"), values)]
    elif place == "settings":
        options = [f"--conf={name}={value}" for name, value in settings]
    else:
        options = ["--properties-file", f"{tmp_path}/properties"]
        (tmp_path / "properties").write_text("".join(f"{name} {value}\n" for name, value in settings))
    done = subprocess.run(
        [ROOT / "spark-submit.sh", *options, "score", "--status-file", f"file:{tmp_path}/status.json"],
        capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "PYSPARK_DRIVER_PYTHON": str(tmp_path / "python")},
    )  # fmt: skip
    given = (tmp_path / "given").read_text().splitlines()
    assert done.returncode == 1  # no verdict
    assert f"spark.pyspark.python={python}" in given
    assert f"spark.pyspark.driver.python={python}" in given
    assert program in given
    home = Path(python).parents[1]
    for process in ("driver", "executor"):
        java = next(setting for setting in given if setting.startswith(f"spark.{process}.defaultJavaOptions="))
        assert f"{home}/lib/python/site-packages/jobs/spark/log4j2.properties" in java.replace("=./", "=")
        assert "OfThisMachine" not in java
