"""Look for known faults: in our code with bandit, in the locked packages with pip-audit.

    python -m tools.audit [--require-advisories]

Each finding fails the check unless ``[[tool.security.allowed]]`` in pyproject.toml allows it and says why; an entry
that allows nothing fails it as well. Advisories come from PyPI's service. Where it does not answer, or does not know a
package (a mirror of the index has none), the check says of how many packages it knows nothing, and fails only if
``--require-advisories`` was given: a machine without a network could not mend it, and must not hide it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Allowed", "Finding", "main", "read_allowed", "unexpected"]

ROOT = Path(__file__).parents[1]
FOLDERS = ("jobs", "sentiment_core", "tools/packaging", "tools/audit.py")
LOCK = "requirements.lock"
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a tool found.

    Attributes
    ----------
    tool, id : str
    place : str
        A file, or a package.
    text : str
    """

    tool: str
    id: str
    place: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What may be found at some places, and why that is no fault."""

    tool: str
    id: str
    places: Sequence[str]
    reason: str
    met: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if len(self.reason.split()) < 3 or not self.places:
            raise ValueError(f"pyproject.toml: the allowed {self.tool} {self.id} needs places and a reason in words")


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tools.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--require-advisories", action="store_true", help="fail if a package cannot be looked up")
    options = parser.parse_args(arguments)
    allowed = read_allowed(ROOT / "pyproject.toml")
    vulnerabilities, unknown, audited = _advisories()
    problems = unexpected([*_code(), *vulnerabilities], allowed, known_packages=audited)
    for problem in problems:
        print(f"security: {problem}", file=sys.stderr)
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        print(
            f"security: NOT AUDITED: {len(unknown)} of {len(unknown) + len(audited)} packages are unknown to the "
            f"advisory service here ({shown}); run `make audit` where PyPI's own service answers",
            file=sys.stderr,
        )
    state = "failed" if problems or (unknown and options.require_advisories) else "done"
    print(
        f"security: {state}: {len(problems)} problems in our code and {len(audited)} packages; {len(unknown)} packages "
        "not audited",
        file=sys.stderr,
    )
    return int(state == "failed")


def read_allowed(path: Path) -> list[Allowed]:
    """The allow-list.

    Raises
    ------
    ValueError
        If an entry gives no reason.
    """
    entries = tomllib.loads(path.read_text())["tool"]["security"]["allowed"]
    return [Allowed(**entry) for entry in entries]


def unexpected(findings: Sequence[Finding], allowed: Sequence[Allowed], *, known_packages: Sequence[str]) -> list[str]:
    """Findings that nothing allows, and allowances that nothing needs.

    Parameters
    ----------
    findings : sequence of Finding
    allowed : sequence of Allowed
    known_packages : sequence of str
        Packages that were looked up; of others, an allowance may be needed or not.
    """
    problems = []
    for finding in findings:
        fitting = [entry for entry in allowed if (entry.tool, entry.id) == (finding.tool, finding.id)]
        fitting = [entry for entry in fitting if finding.place in entry.places]
        for entry in fitting:
            entry.met.add(finding.place)
        if not fitting:
            problems.append(f"{finding.place}: {finding.tool} {finding.id}: {finding.text}")
    idle = [
        f"{place}: {entry.tool} {entry.id} is allowed, but not found; remove it"
        for entry in allowed
        for place in entry.places
        if place not in entry.met and (entry.tool != "pip-audit" or place in known_packages)
    ]
    return problems + idle


def _code() -> list[Finding]:
    found = _run("bandit", "--quiet", "--format", "json", "--recursive", *FOLDERS)
    if found["errors"]:
        raise SystemExit(f"security: failed: bandit could not read {found['errors']}")
    return [
        Finding(
            tool="bandit",
            id=result["test_id"],
            place=os.path.normpath(result["filename"]),
            text=f"line {result['line_number']}: {result['issue_text']}",
        )
        for result in found["results"]
    ]


def _advisories() -> tuple[list[Finding], list[str], list[str]]:
    """What is known of the locked packages: findings, packages that could not be looked up, and those that could."""
    locked = [
        line.split("==")[0] for line in (ROOT / LOCK).read_text().splitlines() if "==" in line and line[0].isalnum()
    ]
    try:
        report = _run("pip-audit", "--require-hashes", "--disable-pip", "--format", "json", "--requirement", LOCK)
    except ValueError:
        return [], sorted(locked), []  # the service did not answer
    findings, unknown, audited = [], [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
            continue
        audited.append(package["name"])
        for fault in package["vulns"]:
            cure = f"; use {', '.join(fault['fix_versions'])}" if fault["fix_versions"] else ""
            findings.append(
                Finding(tool="pip-audit", id=fault["id"], place=package["name"], text=f"{package['version']}{cure}")
            )
    return findings, unknown, audited


def _run(tool: str, *arguments: str) -> Any:
    """A tool's report.

    Raises
    ------
    ValueError
        If it wrote none.
    """
    program = Path(sys.executable).with_name(tool)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
