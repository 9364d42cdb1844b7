"""The page of guarantees names a test and its tier for each promise, and the figures of each campaign."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Collects in a process of its own, as pytest itself finds the tests, and prints the markers of each.
_COLLECT = """
import json, sys, pytest

class Found:
    def pytest_collection_finish(self, session):
        self.tests = {}
        for item in session.items:
            found = self.tests.setdefault(item.nodeid.partition("[")[0], set())
            marks = {mark.name for mark in item.iter_markers()}
            found.update(marks - {"slow"}, {"make test-all" if "slow" in marks else "make test"})

found = Found()
code = pytest.main(["--collect-only", "-qq", "--no-header", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[found])
print("\\n" + json.dumps({name: sorted(marks) for name, marks in found.tests.items()}))
sys.exit(code)
"""
_NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`( \((?:more in )?`make test-all`\))?")
# What stands after a proof, by the tiers in which its cases run.
_TIERS = {
    ("make test",): "",
    ("make test", "make test-all"): " (more in `make test-all`)",
    ("make test-all",): " (`make test-all`)",
}
_FIGURES = re.compile(r"`make ([\w-]+)`, 20\d\d-\d\d-\d\d: .*\d.*")


def rows(document: str) -> Iterator[tuple[str, str, str]]:
    """Promise, proof and figures of each row of the document's tables."""
    for line in document.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and set(line) - set("|- ") and cells != ["promise", "proof", "last figures"]:
            assert len(cells) == 3, f"no promise, proof and figures: {line}"
            yield cells[0], cells[1], cells[2]


def faults(document: str, *, tests: dict[str, list[str]], targets: set[str]) -> list[str]:
    """What is wrong with the document, given the tests that there are with their markers, and the targets of make."""
    found = []
    for promise, proof, figures in rows(document):
        said = {f"{file}::{name}": tier for file, name, tier in _NODE.findall(proof)}
        names = list(said)
        if not names:
            found.append(f"{promise}: no proof")
        found += [f"{promise}: there is no test {name}" for name in names if name not in tests]
        tiers = {name: _TIERS[tuple(sorted({"make test", "make test-all"} & {*tests[name]}))] for name in tests}
        found += [
            f"{promise}: write `{name}`{tiers[name]}" for name in names if name in tests and said[name] != tiers[name]
        ]
        if names and not any("make test" in tests.get(name, ("make test",)) for name in names):
            found.append(f"{promise}: `make test` runs no proof of it")
        promised = any("integrity" in tests.get(name, ()) for name in names)
        match = _FIGURES.fullmatch(figures)
        if promised and not match:
            found.append(f"{promise}: a campaign proves it, but there are no figures like `make target`, date: 1,200")
        if match and match[1] not in targets:
            found.append(f"{promise}: there is no make {match[1]}")
        if figures and not match:
            found.append(f"{promise}: {figures!r} does not say which command gave it, and when")
    return found


@pytest.fixture(scope="module")
def document() -> str:
    return (ROOT / "docs" / "evidence" / "guarantees.md").read_text()


@pytest.fixture(scope="module")
def tests(document: str) -> dict[str, list[str]]:
    files = sorted({file for file, *_ in _NODE.findall(document) if (ROOT / file).exists()})
    done = subprocess.run([sys.executable, "-c", _COLLECT, *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def targets() -> set[str]:
    texts = [(ROOT / name).read_text() for name in ("Makefile", *ROOT.glob("tools/*.mk"))]
    return {name for text in texts for name in re.findall(r"^([a-z-]+):", text, re.MULTILINE)}


@pytest.mark.slow
def test_every_promise_has_its_proof_and_every_campaign_its_figures(document: str, tests: dict[str, list[str]]) -> None:
    assert len(list(rows(document))) > 20
    assert faults(document, tests=tests, targets=targets()) == []


@pytest.mark.slow
def test_the_fixtures_find_what_there_is(tests: dict[str, list[str]]) -> None:
    assert "integrity" in tests["tests/core/test_mutated_models.py::test_every_mutated_model_is_refused_in_a_sentence"]
    assert tests["tests/jobs/test_faults.py::test_the_matrix_notices_a_naive_overwrite"] == ["make test-all"]
    assert {"test", "test-all", "test-integrity", "bench-growth"} <= targets()


HEADER = "| promise | proof | last figures |\n|---|---|---|\n"
KNOWN = {
    "tests/test_a.py::test_a": ["make test"],
    "tests/test_b.py::test_b": ["integrity", "make test"],
    "tests/test_s.py::test_s": ["make test-all"],
    "tests/test_m.py::test_m": ["make test", "make test-all"],
}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| All is well. | `tests/test_a.py::test_a` | |", None),
        ("| All is well. | `tests/test_b.py::test_b` | `make test`, 2026-11-25: 1,200 of 1,200 |", None),
        ("| All is well. | `tests/test_m.py::test_m` (more in `make test-all`) | |", None),
        ("| All is well. | `tests/test_a.py::test_a` `tests/test_s.py::test_s` (`make test-all`) | |", None),
        ("| All is well. | `tests/test_s.py::test_s` (`make test-all`) | |", "`make test` runs no proof of it"),
        ("| All is well. | `tests/test_m.py::test_m` | |", "write `tests/test_m.py::test_m` (more in `make test-all`)"),
        ("| All is well. | `tests/test_a.py::test_a` (`make test-all`) | |", "write `tests/test_a.py::test_a`"),
        ("| All is well. | | |", "no proof"),
        ("| All is well. | trust us | |", "no proof"),
        ("| All is well. | `tests/test_a.py::test_gone` | |", "there is no test tests/test_a.py::test_gone"),
        (
            "| All is well. | `tests/test_a.py::test_a` `tests/test_c.py::test_a` | |",
            "there is no test tests/test_c.py",
        ),
        ("| All is well. | `tests/test_b.py::test_b` | |", "there are no figures"),
        ("| All is well. | `tests/test_b.py::test_b` | `make test`, 2026-11-25: all |", "there are no figures"),
        ("| All is well. | `tests/test_a.py::test_a` | 1,200 of 1,200 |", "does not say which command"),
        ("| All is well. | `tests/test_a.py::test_a` | `make sure`, 2026-11-25: 1,200 |", "there is no make sure"),
    ],
)
def test_a_promise_without_its_proof_is_found(row: str, fault: str | None) -> None:
    found = faults(HEADER + row + "\n", tests=KNOWN, targets={"test"})
    assert found == [] if fault is None else fault in found[0]
