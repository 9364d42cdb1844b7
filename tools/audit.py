"""Look for known faults of the locked packages with pip-audit. Those of our own code are found by ruff's rules S.

    python -m tools.audit [--require-advisories]

Advisories come from PyPI's service. Where it does not answer, or does not know a package (a mirror of the index has
none), the check prints how many packages were not audited. It fails because of them only with
``--require-advisories``: a machine without a network cannot mend that, and must not hide it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["findings", "main"]

ROOT = Path(__file__).parents[1]
LOCK = "requirements.lock"
_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tools.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--require-advisories", action="store_true", help="fail if a package cannot be looked up")
    options = parser.parse_args(arguments)
    problems, unknown, audited = findings(_report())
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        print(
            f"audit: NOT AUDITED: {len(unknown)} of {len(unknown) + audited} packages are unknown to the advisory "
            f"service here ({shown}); run `make audit` where PyPI's own service answers",
            file=sys.stderr,
        )
    failed = bool(problems or (unknown and options.require_advisories))
    print(
        f"audit: {'failed' if failed else 'done'}: {len(problems)} known faults in {audited} packages; {len(unknown)} "
        "packages not audited",
        file=sys.stderr,
    )
    return int(failed)


def findings(report: Mapping[str, Any]) -> tuple[list[str], list[str], int]:
    """What is known of the locked packages.

    Parameters
    ----------
    report : mapping
        What ``pip-audit --format json`` writes.

    Returns
    -------
    problems : list of str
        A sentence for each known fault.
    unknown : list of str
        The packages that could not be looked up.
    audited : int
        The number of the others.
    """
    problems, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
        for fault in package.get("vulns", ()):
            cure = f"; use {', '.join(fault['fix_versions'])}" if fault["fix_versions"] else ""
            problems.append(f"{package['name']} {package['version']} has the known fault {fault['id']}{cure}")
    return problems, unknown, len(report["dependencies"]) - len(unknown)


def _report() -> Any:
    """pip-audit's report, or one of unknown packages if its service does not answer."""
    program = Path(sys.executable).with_name("pip-audit")
    arguments = ("--require-hashes", "--disable-pip", "--format", "json", "--requirement", LOCK)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.stdout:
        return json.loads(done.stdout)
    locked = sorted(
        line.split("==")[0] for line in (ROOT / LOCK).read_text().splitlines() if "==" in line and line[0].isalnum()
    )
    return {"dependencies": [{"name": name, "skip_reason": "the service did not answer"} for name in locked]}


if __name__ == "__main__":
    sys.exit(main())
