"""Check the tests: with each deliberate fault of ``mutants.toml`` alone, they must fail.

    make mutants [ARGS="--all --only text"]

Faults are put into a copy of the tree. The tests that a fault names run first; if they pass, all tests of the tier run.
Without ``--all`` the tier is that of ``make test``. Ends with 1 if a fault was not noticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "main", "read_mutants"]

ROOT = Path(__file__).parents[2]
_FILE = Path(__file__).with_name("mutants.toml")
# Not in the copy: what was built, and settings of tools.
_LEFT_OUT = (".*", "build", "dist", "__pycache__", "*.egg-info")
_FAILED, _PASSED = 1, 0


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One deliberate fault.

    Attributes
    ----------
    name : str
        What is wrong with it in place.
    file, old, new : str
        The text of a file that is there once, and what comes in its place.
    tests : list of str
        Files or node ids of the tests that should notice it.
    """

    name: str
    file: str
    old: str
    new: str
    tests: list[str]

    def applied(self, text: str) -> str:
        """The file's text with the fault.

        Raises
        ------
        ValueError
            If the old text is not there once.
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: the old text of {self.name!r} is there {text.count(self.old)} times")
        return text.replace(self.old, self.new)


def read_mutants(file: Path = _FILE) -> list[Mutant]:
    return [Mutant(**entry) for entry in tomllib.loads(file.read_text())["mutant"]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description="Check that the tests notice deliberate faults.")
    parser.add_argument("--all", action="store_true", help="the tests of `make test-all`, not of `make test`")
    parser.add_argument("--named", action="store_true", help="no other tests than those that a fault names")
    parser.add_argument("--only", default="", help="those with this text in their name or file")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and with this process, what it started
    chosen = [mutant for mutant in read_mutants() if options.only in f"{mutant.file}: {mutant.name}"]
    tier = [] if options.all else ["-m", "not slow"]
    unnoticed = []
    with _copied_tree() as tree:
        for number, mutant in enumerate(chosen, 1):
            began = time.monotonic()
            noticed = _notices(mutant, tree, tier, named=options.named)
            said = f"noticed by {noticed}" if noticed else "NOT NOTICED"
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{number} of {len(chosen)}: {mutant.file}: {mutant.name}: {said} ({took})", flush=True)
            if not noticed:
                unnoticed.append(mutant.name)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} faults were noticed")
    return 1 if unnoticed else 0


@contextmanager
def _copied_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (tree / ".venv").symlink_to(ROOT / ".venv")
        yield tree


def _notices(mutant: Mutant, tree: Path, tier: Sequence[str], *, named: bool) -> str | None:
    """The first test that fails with the fault in place, None if all pass."""
    file = tree / mutant.file
    sound = file.read_text()
    file.write_text(mutant.applied(sound))
    try:
        found = _failing(tree, [*tier, *mutant.tests])
        return found if found or named else _failing(tree, [*tier, "-n", "auto", "--dist", "loadfile"])
    finally:
        file.write_text(sound)


def _failing(tree: Path, options: Sequence[str]) -> str | None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--durations=0", *options],
        cwd=tree,
        capture_output=True,
        text=True,
        # The processes that tests start import the copy as well.
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    if done.returncode not in (_FAILED, _PASSED):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}")
    failed = [line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0] if failed else None


if __name__ == "__main__":
    sys.exit(main())
