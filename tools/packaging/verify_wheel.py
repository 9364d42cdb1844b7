"""Prove that the wheel installs by itself: into an empty environment of each Python found, without the lock.

    python -m tools.packaging.verify_wheel dist/NAME.whl

pip chooses the newest packages that the wheel's metadata allows. Then texts are scored, and each Python must give the
same bits. What is installed beside PySpark is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.packaging.pythons import find_pythons

__all__ = ["main", "verify"]

# Beside PySpark, without MXNet and what it needs.
LARGEST_BYTES = 450_000_000
TEXTS = ("It works well.", "It does not work at all.", "Nichts davon.", "")
SCORING = """
import json, sys, time
started = time.perf_counter()
from sentiment_core.scoring import Scorer
seconds = time.perf_counter() - started
with_import = sorted({"pandas", "pyspark", "mxnet", "torch"} & set(sys.modules))
from importlib.metadata import version
from sentiment_core.artifact import bundled_model_path, load_model
scorer = Scorer(load_model(bundled_model_path()))
scores = scorer.score_texts(json.loads(sys.argv[1]))
found = {"numpy": version("numpy"), "pandas": version("pandas"), "pyarrow": version("pyarrow")}
found |= {"import_seconds": round(seconds, 2), "imported": with_import, "spark": "pyspark" in sys.modules}
print(json.dumps(found | {"bits": [value.hex() for value in scores.positive_probability.tolist()]}))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a wheel; returns the exit code."""
    (wheel,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    problems: list[str] = []
    bits: dict[str, list[str]] = {}
    for version, python in find_pythons().items():
        name = "Python {}.{}".format(*version)
        with tempfile.TemporaryDirectory() as folder:
            found, problem = verify(wheel.resolve(), python=python, folder=Path(folder))
        if problem:
            problems.append(f"{name}: {problem}")
            continue
        bits[name] = found.pop("bits")
        print(f"{wheel}: {name}: {json.dumps(found)}", file=sys.stderr)
    if len(set(map(tuple, bits.values()))) > 1:
        problems.append(f"scores differ: {bits}")
    for problem in problems:
        print(f"{wheel}: {problem}", file=sys.stderr)
    print(f"{wheel}: {'failed' if problems else 'installs by itself'}", file=sys.stderr)
    return 1 if problems else 0


def verify(wheel: Path, *, python: str, folder: Path) -> tuple[dict[str, object], str]:
    """What the installed wheel said of itself, and what is wrong with it."""
    ours = folder / "bin" / "python"
    install = [ours, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    # MXNet's and PySpark's source packages are built with them.
    problem = run([python, "-m", "venv", folder]) or run([*install, "setuptools", "wheel"]) or run([*install, wheel])
    if problem:
        return {}, problem
    # Twice, because the first run compiles.
    for _ in range(2):
        done = subprocess.run([ours, "-c", SCORING, json.dumps(TEXTS)], capture_output=True, text=True, cwd="/", env={})
    if done.returncode:
        return {}, f"scoring ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
    found: dict[str, object] = json.loads(done.stdout)
    (packages,) = folder.glob("lib/python3*/site-packages")
    size = size_beside_pyspark(packages)
    if problem := run([*install, f"{wheel}[page]"]) or run([ours, "-c", "import jobs.dashboard.run"]):
        return found, problem
    page = size_beside_pyspark(packages) - size
    found |= {"megabytes_beside_pyspark": round(size / 1e6), "megabytes_of_the_page": round(page / 1e6)}
    if found.pop("spark") or found["imported"]:
        return found, f"scoring imports PySpark, or its import {found['imported']}"
    if size > LARGEST_BYTES and not (packages / "mxnet").exists():
        return found, f"{size / 1e6:.0f} MB are installed beside PySpark"
    return found, ""


def run(command: Sequence[str | Path]) -> str:
    """Run a command in the root folder; returns what is wrong, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    if not done.returncode:
        return ""
    return f"{' '.join(map(str, command[:4]))} ended with {done.returncode}: {done.stderr.strip()[-2000:]}"


def size_beside_pyspark(packages: Path) -> int:
    """Bytes of what is installed, without PySpark and the packages that install."""
    others = ("pyspark", "pip", "setuptools", "wheel", "__pycache__")
    return sum(size_of(part) for part in packages.iterdir() if part.name not in others)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
