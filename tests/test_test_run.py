"""The test run itself: its order, its progress, and the command that repeats a failure."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import seconds
from tests.support.mutants import Mutant, read_mutants
from tests.support.order import long_files_first, number_of_workers
from tests.support.progress import command_again, progress_line
from tests.support.seconds import SHORT_SECONDS, seconds_of, store
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[1]
# One failure of which the random number decides, one in a fixture, one test that passes and one that is skipped.
SOME_TESTS = """
import random
import pytest

@pytest.fixture
def broken():
    raise OSError("no such disk")

def test_passes(): pass

@pytest.mark.slow
def test_fails(): assert random.random() < 0, f"drew {random.random()}"

def test_of_a_broken_fixture(broken): pass

@pytest.mark.skip(reason="not here")
def test_is_skipped(): pass
"""


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where seconds are stored; nothing is known yet."""
    monkeypatch.setattr(seconds, "FILE", tmp_path / "seconds.json")
    seconds.known_seconds.cache_clear()
    yield tmp_path / "seconds.json"
    seconds.known_seconds.cache_clear()


def test_seconds_are_kept_by_function_and_what_did_not_run_keeps_its_own(known: Path) -> None:
    store({"a.py::test_x[1]": 1.0, "a.py::test_x[2]": 3.0, "a.py::test_y": 0.01})
    seconds.known_seconds.cache_clear()
    store({"b.py::test_z": 5.0})
    seconds.known_seconds.cache_clear()
    assert seconds_of("a.py::test_x[anything]") == 2.0
    assert seconds_of("b.py::test_z") == 5.0
    assert seconds_of("a.py::test_y") == seconds_of("c.py::test_new") == SHORT_SECONDS


def test_long_files_come_first_and_the_order_is_kept_otherwise(known: Path) -> None:
    store({"long.py::test_a": 9.0, "long.py::test_b": 9.0, "short.py::test_a": 9.0})
    seconds.known_seconds.cache_clear()
    names = ["new.py::test_a", "long.py::test_b", "short.py::test_a", "new.py::test_b", "long.py::test_a"]
    items = [SimpleNamespace(nodeid=name) for name in names]
    long_files_first(items)
    assert [item.nodeid for item in items] == [names[1], names[4], names[0], names[2], names[3]]


def test_the_stored_seconds_are_of_tests_that_there_are() -> None:
    known = seconds.known_seconds()
    assert {name.partition("::")[0] for name in known} <= {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")
    }


def test_there_is_a_worker_for_each_core_within_reason() -> None:
    assert 1 <= number_of_workers() <= 4


def test_a_line_of_progress_says_the_share_and_the_time_left() -> None:
    begun = {"n_done": 0, "n_all": 2000, "n_failed": 0}
    for share in (0.0, 0.004):  # of less than two hundredths, nobody can tell how long the rest takes
        assert progress_line(**begun, share=share, seconds=3) == "  0%, 0 of 2,000 tests"
    later = {"n_done": 1500, "n_all": 2000, "n_failed": 2}
    assert progress_line(**later, share=0.25, seconds=65) == (
        " 25%, 1,500 of 2,000 tests, 2 failed, about 3:15 min left"
    )


def test_the_command_again_is_one_that_a_shell_understands() -> None:
    nodeid = "tests/test_a.py::test_b[it's $HOME `x` \\n]"
    words = shlex.split(command_again([nodeid], seed=7))
    assert words == [".venv/bin/pytest", "--randomly-seed=7", nodeid]
    assert shlex.split(command_again([nodeid], seed=None)) == [".venv/bin/pytest", nodeid]


@pytest.mark.slow
@pytest.mark.parametrize(
    "workers",
    [
        pytest.param(("-n", "0"), id="one process"),
        pytest.param(("-n", "2", "--dist", "loadfile"), id="workers"),
    ],
)
def test_a_run_shows_what_failed_and_the_command_repeats_it(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "test_some.py").write_text(SOME_TESTS)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())

    def pytest_of(*options: str) -> str:
        given = ["-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider", "-o", "testpaths=."]
        paths = f"pythonpath={ROOT}"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *given, "-o", paths, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    said = pytest_of(*workers)
    assert "1 failed, 1 passed, 1 skipped, 1 error" in said.splitlines()[-1], said
    for name in ("test_fails", "test_of_a_broken_fixture"):
        assert f"FAILED test_some.py::{name}\n" in said
    (drawn,) = set(re.findall(r"AssertionError: drew (0\.\d+)", said))
    (command,) = re.findall(r"^\.venv/bin/pytest (.*test_fails)$", said, re.MULTILINE)
    assert f"drew {drawn}" in pytest_of(*shlex.split(command)), "the same random number"
    assert "1 failed" not in pytest_of(*workers, "-m", "not slow")


def test_every_deliberate_fault_changes_a_file_that_the_tests_import() -> None:
    mutants = read_mutants()
    assert len({mutant.name for mutant in mutants}) == len(mutants) >= 30
    for mutant in mutants:
        text = (ROOT / mutant.file).read_text()
        compile(mutant.applied(text), mutant.file, "exec")
        assert mutant.applied(text) != text
        assert all((ROOT / name.partition("::")[0]).exists() for name in mutant.tests), mutant.tests
    with pytest.raises(ValueError, match="'gone' is there 0 times"):
        Mutant(name="gone", file="jobs/cli.py", old="no such text", new="", tests=[]).applied("some text")


def test_waiting_ends_when_it_is_so_and_does_not_go_on_for_ever() -> None:
    looks = iter([False, False, True])
    wait_until(lambda: next(looks), what="the third look")
    with pytest.raises(TimeoutError, match="waited for 0 seconds, and it did not happen: the moon"):
        wait_until(lambda: False, what="the moon", seconds=0)


def private_names(source: str) -> Iterator[str]:
    """Private names of the project that a test imports, reads or replaces: it would know more than a user does."""
    is_ours = re.compile(r"(jobs|sentiment_core|tools)\b").match
    is_private = re.compile(r"(.*\.)?_[a-zA-Z]").match
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and is_ours(node.module or "")]
    names = [alias for node in imports for alias in node.names]
    ours = {alias.asname or alias.name for alias in names}
    yield from (alias.name for alias in names if is_private(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ours and is_private(node.attr):
            yield node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            owner, *given = (ast.unparse(argument).strip("'") for argument in node.args[:2])
            name = given[0] if owner.partition(".")[0] in ours else owner if is_ours(owner) else ""
            yield from (name for name in [name] if is_private(name))


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_touches_a_private_name_of_the_project(path: Path) -> None:
    assert not list(private_names(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "from jobs.scoring.audit import _x", "from jobs import cli\npatch.setattr(cli, '_x', 1)",
        "monkeypatch.setattr('jobs.cli._X', 1)",
        "from jobs import cli\ncli._x()", "from jobs.scoring import audit\naudit._X = 1",
    ],
)  # fmt: skip
def test_a_private_name_is_found(source: str) -> None:
    assert list(private_names(source))


@pytest.mark.slow
def test_without_mxnet_every_module_is_collected_or_skipped() -> None:
    script = (
        "import sys, pytest; sys.modules['mxnet'] = sys.modules['gluonnlp'] = None;"
        "sys.exit(pytest.main(['--collect-only', '-q', '-n', '0', 'tests/core', 'tests/jobs/verbs']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
