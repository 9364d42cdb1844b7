"""The Pythons of this machine that the project supports, the oldest first.

    python -m tools.packaging.pythons

prints the program of each. Of one minor version it takes the first on PATH, else the newest of pyenv.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["OLDEST", "find_pythons"]

OLDEST = (3, 11)
_VERSION = "import sys; print(sys._base_executable, *sys.version_info[:2])"


def find_pythons() -> dict[tuple[int, int], str]:
    """The base interpreter of each minor version, by version."""
    found: dict[tuple[int, int], str] = {}
    for candidate in _candidates():
        try:
            told = subprocess.run([candidate, "-c", _VERSION], capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):  # a shim of pyenv for a version that is not chosen, say
            continue
        program, major, minor = told.stdout.rsplit(maxsplit=2)
        version = (int(major), int(minor))
        if version >= OLDEST:
            found.setdefault(version, program)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[str]:
    """The Python that runs this, those on PATH, and those of pyenv, the newest first."""
    yield sys.executable
    names = {
        name.name
        for folder in os.get_exec_path()
        if Path(folder).is_dir()
        for name in os.scandir(folder)
        if re.fullmatch(r"python3(\.\d+)?", name.name)
    }
    yield from filter(None, map(shutil.which, sorted(names)))
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    of_pyenv = [path for path in versions.glob("3.*") if re.fullmatch(r"3\.\d+\.\d+", path.name)]
    for path in sorted(of_pyenv, key=lambda path: tuple(map(int, path.name.split("."))), reverse=True):
        yield str(path / "bin" / "python3")


def main() -> int:
    """Print them; returns the exit code."""
    print("\n".join(find_pythons().values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
