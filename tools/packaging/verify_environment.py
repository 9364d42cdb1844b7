"""Prove that an environment archive stands on its own: by its list, and by running it where nothing else can help.

    python -m tools.packaging.verify_environment dist/environment.tar.gz

It is unpacked into a new folder and started there with an empty environment: every module of the project is imported,
and texts are scored. No file may be opened in the folders of the machine that built it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

__all__ = ["main", "problems_in_list", "verify"]

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
NEEDED = ("bin/python", f"bin/{VERSION}", "lib/python", f"lib/{VERSION}/site-packages/jobs/executor.py")
LARGEST_BYTES = 300_000_000
TEXTS = ("It works well.", "It does not work at all.", "")
# Prints what was imported and what was opened.
INSPECTION = """
import importlib, json, pkgutil, sys
import jobs, sentiment_core.errors
imported, missing = [], {}
for package in (sentiment_core, jobs):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            importlib.import_module(module.name)
            imported.append(module.name)
        except (ModuleNotFoundError, sentiment_core.errors.EnvironmentFault) as error:
            missing[module.name] = (error if isinstance(error, ModuleNotFoundError) else error.__cause__).name
with open("/proc/self/maps") as maps:
    opened = {line.split(maxsplit=5)[5].strip() for line in maps if "/" in line}
files = {module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)}
print(json.dumps({"imported": imported, "missing": missing, "opened": sorted(opened | files), "path": sys.path}))
"""
# Executors have no use for these: a model is trained, and the page made, where `make setup` was run.
OF_TRAINING = {"gluonnlp", "matplotlib", "mxnet", "scipy", "sklearn", "torch"}
OF_THE_PAGE = {"duckdb", "jinja2", "markdown_it", "vl_convert"}
# Scores, and the Spark job's entry points, need every one of these.
OF_SCORING = (
    "jobs.executor",
    "jobs.verbs.score",
    "jobs.verbs.backfill",
    "jobs.verbs.summarize",
    "jobs.verbs.compare",
    "jobs.verbs.predict",
    "jobs.verbs.explain",
)
# Of the system: the C and C++ libraries, and locales.
OF_THE_SYSTEM = re.compile(
    r"^(/usr)?/lib(64)?/([\w-]+/)?(lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|resolv|util)[.-]|ld-|locale/|gconv/)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify an archive; returns the exit code."""
    (archive,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    problems = problems_in_list(archive)
    if not problems:
        with tempfile.TemporaryDirectory() as folder:
            problems = verify(archive, Path(folder) / "elsewhere")
    for problem in problems:
        print(f"{archive}: {problem}", file=sys.stderr)
    print(f"{archive}: {'failed' if problems else 'stands on its own'}", file=sys.stderr)
    return 1 if problems else 0


def problems_in_list(archive: Path) -> list[str]:
    """What is wrong with the archive by its list."""
    problems = []
    with tarfile.open(archive) as content:
        names = set()
        for entry in content:
            names.add(entry.name)
            path = PurePosixPath(entry.name)
            if path.is_absolute() or ".." in path.parts or not (entry.isfile() or entry.isdir() or entry.issym()):
                problems.append(f"{entry.name} is no plain file or folder inside it")
            if entry.issym() and ("/" in entry.linkname or entry.linkname == ".."):
                problems.append(f"{entry.name} leads to {entry.linkname}")
            if "__pycache__" in path.parts or path.suffix == ".jar":
                problems.append(f"{entry.name} has no place in it")
            if entry.mode & 0o7000 or entry.mode & 0o022:
                problems.append(f"{entry.name} may be changed by others or changes its user: {entry.mode:o}")
    problems += [f"{name} is missing" for name in NEEDED if name not in names]
    if archive.stat().st_size > LARGEST_BYTES:
        problems.append(f"{archive.stat().st_size:,} bytes are more than the {LARGEST_BYTES:,} that it may have")
    return problems


def verify(archive: Path, folder: Path) -> list[str]:
    """What is wrong with the archive when it runs in a folder that is made for it."""
    folder.mkdir()
    with tarfile.open(archive) as content:
        content.extractall(folder)  # its list was checked
    problems = []
    found = json.loads(_run(folder, "-c", INSPECTION))
    for module, missing in found["missing"].items():
        if missing.partition(".")[0] not in OF_TRAINING | OF_THE_PAGE:
            problems.append(f"{module} needs {missing}, which is not in it")
    problems += [f"{module} cannot be imported" for module in OF_SCORING if module not in found["imported"]]
    ours = str(folder.resolve())
    for path in found["opened"]:
        if not path.startswith(ours) and not OF_THE_SYSTEM.match(path):
            problems.append(f"{path} was opened outside of it")
    problems += [f"{path} is on its path" for path in found["path"] if path and not path.startswith(ours)]
    rows = [json.loads(line) for line in _run(folder, "-m", "jobs.cli", "predict", *TEXTS).splitlines()]
    if [row["score_status"] for row in rows] != ["ok", "ok", "empty"]:
        problems.append(f"scored {rows}")
    elif not rows[0]["positive_probability"] > rows[1]["positive_probability"]:
        problems.append(f"takes {TEXTS[1]!r} for better than {TEXTS[0]!r}")
    if _mentions(folder, sys.base_prefix):
        problems.append("names a folder of this machine in its settings")
    return problems


def _run(folder: Path, *arguments: str) -> str:
    """Standard output of its Python, with nothing in its environment, in the root folder."""
    done = subprocess.run([folder / "bin" / "python", *arguments], capture_output=True, text=True, cwd="/", env={})
    if done.returncode:
        raise SystemExit(f"{arguments[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _mentions(folder: Path, path: str) -> bool:
    settings = (folder / "lib" / VERSION).glob("_sysconfigdata*.py")
    return any(path in file.read_text() for file in settings)


if __name__ == "__main__":
    sys.exit(main())
