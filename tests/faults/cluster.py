"""A standalone cluster from the pip package: a master and two workers with one core each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

__all__ = ["cluster"]

_HOME = Path(pyspark.__file__).parent


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start it; yields the master's URL. Shuffle files lie below ``folder/local``."""
    (folder / "local").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        master = stack.enter_context(
            _daemon("master.Master", "--port", "0", folder=folder, until=r"Starting Spark master at (spark://\S+)")
        )
        for _ in range(2):
            options = ["-c", "1", "-m", "1g", "-d", str(folder / "work"), master]
            stack.enter_context(
                _daemon("worker.Worker", *options, folder=folder, until=r"(Successfully registered with master)")
            )
        yield master


@contextmanager
def _daemon(name: str, *options: str, folder: Path, until: str) -> Iterator[str]:
    command = [_HOME / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--webui-port", "0", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "SPARK_HOME": str(_HOME),
            "SPARK_LOCAL_DIRS": str(folder / "local"),
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        },
    )
    assert process.stderr is not None
    log = process.stderr
    try:
        for line in log:
            found = re.search(until, line)
            if found:
                break
        else:
            raise RuntimeError(f"{name} ended with {process.wait()}")
        # Nobody reads on; a full pipe would stop it.
        subprocess.Popen(["cat"], stdin=log, stdout=subprocess.DEVNULL)
        yield found[1]
    finally:
        process.terminate()
        process.wait()
