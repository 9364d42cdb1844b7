"""Variables of the environment that keep Spark from starting, each by its name and before Java is asked.

Java and Spark say of them what they noticed last: a file that is missing, a process that ended.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyspark

from jobs.spark.submit import submit_settings
from sentiment_core.errors import EnvironmentFault

__all__ = ["faults_of", "refuse_faults"]

_SHELL = "pyspark-shell"
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def refuse_faults(environment: Mapping[str, str]) -> None:
    """Refuse an environment in which Spark would not start.

    Raises
    ------
    EnvironmentFault
        For the first fault.
    """
    for variable, fault in faults_of(environment):
        raise EnvironmentFault(f"{variable} is wrong: {fault}")


def faults_of(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are wrong, each with what is wrong and the cure."""
    home = environment.get("SPARK_HOME")
    if home and (fault := _of_home(Path(home))):
        yield "SPARK_HOME", fault
    folders = environment.get("SPARK_LOCAL_DIRS")
    if folders and not any(map(_can_be_written, map(Path, filter(None, folders.split(","))))):
        yield (
            "SPARK_LOCAL_DIRS",
            f"nothing can be written below {folders}; name a directory of this machine, or unset it",
        )
    java = environment.get("JAVA_HOME")
    if java and not os.access(Path(java, "bin", "java"), os.X_OK):
        yield "JAVA_HOME", f"{java} has no bin/java; name Java 17 or newer, or unset it"
    submit_fault = _of_submit_args(environment)
    if submit_fault:
        yield "PYSPARK_SUBMIT_ARGS", submit_fault
    # On a cluster the workers' Python is one of their machines, in the environment that they unpack for example.
    workers_are_here = submit_fault is not None or _master(environment).startswith("local")
    for variable in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON") if workers_are_here else ("PYSPARK_DRIVER_PYTHON",):
        command = environment.get(variable)
        if command and (fault := _of_python(command, runs_workers=variable == "PYSPARK_PYTHON")):
            yield variable, fault


def _of_home(home: Path) -> str | None:
    cure = f"unset it, or name Spark {pyspark.__version__}"
    if not (home / "bin" / "spark-submit").is_file():
        return f"{home} holds no Spark; {cure}"
    versions = {path.stem.rpartition("-")[2] for path in home.glob("jars/spark-core_*.jar")}
    if versions and pyspark.__version__ not in versions:
        return f"{home} holds Spark {', '.join(sorted(versions))}, and this program is made for another; {cure}"
    return None


def _can_be_written(folder: Path) -> bool:
    """Whether Spark can make a folder below it; it makes what is missing."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK) and not _is_of_the_system(existing)


def _is_of_the_system(folder: Path) -> bool:
    """Whether it is one of the folders in which nobody, root included, makes files."""
    return bool({Path("/proc"), Path("/sys")} & {folder, *folder.parents})


def _master(environment: Mapping[str, str]) -> str:
    return submit_settings(environment).get("spark.master", "local")


def _of_submit_args(environment: Mapping[str, str]) -> str | None:
    given = environment.get("PYSPARK_SUBMIT_ARGS")
    if given is None:
        return None
    # Its value may hold a password, so it is not repeated.
    cure = f"write Spark's options and {_SHELL} at the end, or unset it"
    try:
        words = shlex.split(given)
        submit_settings(environment)
    except (ValueError, OSError, argparse.ArgumentError):
        return f"its quotes do not match, or an option has no value; {cure}"
    if words and words[-1] != _SHELL:
        return f"it does not end with {_SHELL}; {cure}"
    return None


def _of_python(command: str, *, runs_workers: bool) -> str | None:
    cure = f"unset it, or name a Python {sys.version_info.major}.{sys.version_info.minor} with this project"
    program = shutil.which(command.split()[0]) if command.split() else None
    if program is None:
        return f"there is no program {command}; {cure}"
    if not runs_workers or Path(program) == Path(sys.executable):
        return None
    try:
        found = subprocess.run([program, "-c", _VERSION], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return f"{command} is no Python; {cure}"
    wanted = "{}.{}".format(*sys.version_info[:2])
    return None if found.strip() == wanted else f"{command} is Python {found.strip()}, not {wanted}; {cure}"
