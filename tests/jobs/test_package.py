"""The environment archive on a cluster whose machine has neither the project nor its Python.

`make package` builds the archive; without a fresh one these tests have nothing to say, and are skipped.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import Model
from tests.support.daemons import QUICK_JAVA, SPARK_HOME, daemon, executors_logs
from tests.support.reference import reference_probability
from tools.packaging.verify_environment import NEEDED, problems_in_list

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "dist" / "environment.tar.gz"


@pytest.fixture
def archive() -> Path:
    folders = [path for folder in ("jobs", "sentiment_core") for path in (ROOT / folder).rglob("*")]
    made_of = [ROOT / "requirements.lock", *(path for path in folders if path.is_file() and path.suffix != ".pyc")]
    changed = [path.stat().st_mtime for path in made_of]
    if not ARCHIVE.exists() or ARCHIVE.stat().st_mtime < max(changed):
        pytest.skip("no fresh dist/environment.tar.gz; run `make package`")
    return ARCHIVE


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that driver and executors both see."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def elsewhere() -> list[str]:
    """Starts a command where the project, its environment and its interpreter are not there."""
    folders = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    hidden = sorted(str(folder) for folder in folders if not folders & set(folder.parents))
    if sys.base_prefix in ("/usr", "/usr/local"):
        pytest.skip("the interpreter is the system's, and Java needs its folder")
    mounts = "; ".join(f"mount -t tmpfs tmpfs {shlex.quote(path)}" for path in hidden)
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{mounts}; exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this user may not hide folders from a process")
    return command


@pytest.fixture
def master(shared: Path, elsewhere: list[str]) -> Iterator[str]:
    """URL of a cluster with one worker, which runs elsewhere, from a copy of Spark's own files."""
    spark_home = shared / "spark"
    for part in ("bin", "jars", "python/lib"):
        shutil.copytree(SPARK_HOME / part, spark_home / part, copy_function=_link)
    java = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    with ExitStack() as stack:
        url = stack.enter_context(
            daemon(
                "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
                until=r"Starting Spark master at (spark://\S+)", spark_home=spark_home,
            )
        )  # fmt: skip
        stack.enter_context(
            daemon(
                "worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "-c", "2", "-m", "3g",
                "-d", str(shared / "work"), url,
                until=r"(Successfully registered with master)", spark_home=spark_home, inside=elsewhere,
                environment={"PATH": "/usr/local/bin:/usr/bin:/bin", **java},
            )
        )  # fmt: skip
        yield url


def environment_with(archive: Path | str) -> dict[str, str]:
    """That of the tests, but for the Python of executors, which a session in this process has set."""
    kept = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
    return {**kept, "PYSPARK_DRIVER_PYTHON": sys.executable, "SENTIMENT_ENVIRONMENT": str(archive)}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.mark.slow
def test_executors_without_the_project_score_with_the_shipped_environment(
    master: str, elsewhere: list[str], archive: Path, model: Model, model_path: Path, shared: Path
) -> None:
    reviews = generate_reviews(300)
    hidden = subprocess.run([*elsewhere, "ls", "-A", ROOT, sys.base_prefix], capture_output=True, text=True)
    assert set(hidden.stdout.split()) == {f"{ROOT}:", f"{sys.base_prefix}:"}, hidden
    pq.write_table(reviews, shared / "in.parquet")
    done = subprocess.run(
        [
            ROOT / "spark-submit.sh", "--master", master, "--executor-memory", "1g",
            "--driver-java-options", QUICK_JAVA, "--conf", f"spark.executor.extraJavaOptions={QUICK_JAVA}",
            "--conf", "spark.task.maxFailures=1", "score", "--input", shared / "in.parquet",
            "--output", shared / "scores", "--model", model_path, "--precision", "float32",
            "--run-date", "2026-11-23",
        ],
        capture_output=True,
        text=True,
        cwd=shared,
        env=environment_with(archive),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engines"] == ["onnx float32"]
    table = ds.dataset(shared / "scores", partitioning="hive").to_table().sort_by("review_id")
    expected = reference_probability(model, reviews.sort_by("review_id")["text"].to_pylist())
    np.testing.assert_allclose(table["positive_probability"].to_numpy(), expected, atol=1e-5)
    assert " INFO " not in executors_logs(shared / "work")


@pytest.fixture
def submit_beside(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Submit to a cluster with the code and an environment that were made at the same time, but for one newer file."""

    def run(newer: str | None, *options: str) -> tuple[int, str]:
        files = {
            "jobs/__init__.py": "", "jobs/cli.py": "print('started')", "jobs/dashboard/page/page.css": "",
            "jobs/marts/queries/top.sql": "",
            "sentiment_core/models/sentiment/weights": "", "requirements.lock": "", "environment.tar.gz": "",
        }  # fmt: skip
        for name in {**files, **({newer: ""} if newer else {})}:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files.get(name, ""))
            os.utime(path, (2000, 2000) if name == newer else (1000, 1000))
        done = subprocess.run(
            [ROOT / "spark-submit.sh", "--master", "spark://127.0.0.1:1", *options, "score"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment_with(tmp_path / "environment.tar.gz"), "PYTHONPATH": str(tmp_path)},
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()[-1]

    return run


@pytest.mark.parametrize(
    "options",
    [(), ("--archives", "words.zip#words,environment.tar.gz#environment,more.zip"),
     ("--conf", "spark.archives=file:{}/environment.tar.gz#environment")],
    ids=["default", "option", "setting"],
)  # fmt: skip
@pytest.mark.parametrize(
    "newer",
    ["jobs/cli.py", "jobs/dashboard/page/page.css", "jobs/marts/queries/top.sql",
     "sentiment_core/models/sentiment/weights", "requirements.lock"],
)  # fmt: skip
def test_an_environment_older_than_what_it_was_made_of_is_not_shipped(
    submit_beside: Callable[..., tuple[int, str]], tmp_path: Path, options: tuple[str, ...], newer: str
) -> None:
    code, sentence = submit_beside(newer, *(option.format(tmp_path) for option in options))
    assert code == 6
    assert "environment.tar.gz is older than" in sentence
    assert sentence.endswith(f"{newer}; run `make package`")


@pytest.mark.parametrize(
    ("newer", "options"),
    [
        (None, ()),
        ("jobs/__pycache__/cli.cpython-311.pyc", ()),
        ("jobs/cli.py", ("--archives", "environment.tar.gz#words")),  # executors run something else
        ("jobs/cli.py", ("--archives", "hdfs:/environment.tar.gz#environment")),  # nobody can tell
    ],
)
def test_any_other_environment_is(
    submit_beside: Callable[..., tuple[int, str]], newer: str | None, options: tuple[str, ...]
) -> None:
    assert submit_beside(newer, *options) == (0, "started")


@pytest.mark.parametrize("minor", [sys.version_info.minor, 99])
def test_an_environment_of_another_python_is_not_shipped(tmp_path: Path, minor: int) -> None:
    with tarfile.open(tmp_path / "environment.tar.gz", "w:gz") as content:
        for name in ("bin/python", "bin/python3", f"bin/python3.{minor}", "lib/python"):
            content.addfile(tarfile.TarInfo(name), io.BytesIO())
    for name, text in {"jobs/cli.py": "print('started')", "jobs/__init__.py": ""}.items():
        (tmp_path / "jobs").mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1000, 1000))
    (tmp_path / "sentiment_core").mkdir()
    os.utime(tmp_path / "sentiment_core", (1000, 1000))
    done = subprocess.run(
        [ROOT / "spark-submit.sh", "--master", "spark://127.0.0.1:1", "score"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment_with(tmp_path / "environment.tar.gz"), "PYTHONPATH": str(tmp_path)},
    )
    sentence = (done.stdout + done.stderr).splitlines()[-1]
    if minor == sys.version_info.minor:
        assert (done.returncode, sentence) == (0, "started")
    else:
        assert done.returncode == 6
        own = "python{}.{}".format(*sys.version_info[:2])
        assert f"environment.tar.gz holds python3.99, and the driver would run {own}, which Spark refuses" in sentence


@pytest.mark.parametrize("sound", [True, False])
def test_make_package_leaves_only_a_verified_archive(tmp_path: Path, sound: bool) -> None:
    """A stand-in for Python writes the archive, and judges it."""
    for name in ("Makefile", "tools/bench.mk", "tools/bundled_model.mk", "tools/faults.mk"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        '[ "$2" != tools.packaging.pack_environment ] || echo new | tee "$last" >"$last.sha256"\n'
        f'[ "$2" != tools.packaging.verify_environment ] || [ "$(cat "$last") {sound}" = "new True" ]\n'
    )
    (tmp_path / "bin" / "pip").write_text("#!/bin/sh\n")
    for program in python.parent.iterdir():
        program.chmod(0o755)
    packed = [tmp_path / "dist" / name for name in ("environment.tar.gz", "environment.tar.gz.sha256")]
    packed[0].parent.mkdir()
    for path in packed:
        path.write_text("old\n")
    done = subprocess.run(
        ["make", "-o", ".venv/dev-is-ready", f"bin={python.parent}", "package"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == sound, done.stderr
    assert [path.read_text() for path in packed] == (["new\n"] * 2 if sound else ["old\n"] * 2)
    if sound:
        assert sorted(packed[0].parent.iterdir()) == packed


@pytest.mark.parametrize(
    ("name", "kind", "link", "mode", "says"),
    [
        ("/etc/cron.d/job", tarfile.REGTYPE, "", 0o644, "no plain file"),
        ("lib/../../x", tarfile.REGTYPE, "", 0o644, "no plain file"),
        ("lib/x", tarfile.CHRTYPE, "", 0o644, "no plain file"),
        ("lib/x", tarfile.LNKTYPE, "/etc/passwd", 0o644, "no plain file"),
        ("lib/x", tarfile.SYMTYPE, "/etc/passwd", 0o755, "leads to /etc/passwd"),
        ("lib/x", tarfile.SYMTYPE, "..", 0o755, "leads to .."),
        ("lib/x", tarfile.REGTYPE, "", 0o4755, "changes its user"),
        ("lib/x", tarfile.REGTYPE, "", 0o666, "changed by others"),
        ("lib/__pycache__/x.pyc", tarfile.REGTYPE, "", 0o644, "has no place"),
    ],
)
def test_make_package_refuses_an_archive_that_reaches_out_of_its_folder(
    tmp_path: Path, name: str, kind: bytes, link: str, mode: int, says: str
) -> None:
    entries = NEEDED
    with tarfile.open(tmp_path / "sound.tar.gz", "w:gz") as sound, tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as bad:
        for entry in entries:
            for archive in (sound, bad):
                archive.addfile(tarfile.TarInfo(entry), io.BytesIO())
        hostile = tarfile.TarInfo(name)
        hostile.type, hostile.linkname, hostile.mode = kind, link, mode
        bad.addfile(hostile)
    assert problems_in_list(tmp_path / "sound.tar.gz") == []
    (problem,) = problems_in_list(tmp_path / "bad.tar.gz")
    assert says in problem
