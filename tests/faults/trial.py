"""One cell: a run with a fault, the run after it, and what must hold then."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.cells import Cell
from tests.faults.injection.sitecustomize import processes
from tests.faults.reader import Reader
from tests.faults.world import World, partition_rows, same_rows, scoring_options

__all__ = ["run_cell"]

_ROOT = Path(__file__).parents[2]
_INJECTION = Path(__file__).parent / "injection"
_MOST_SECONDS = 420
_DISK_BYTES = 6 << 20
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def run_cell(
    cell: Cell, world: World, folder: Path, *, master: str | None, shuffle: Path | None, seconds: float, java: str = ""
) -> dict[str, Any]:
    """Run a cell.

    Parameters
    ----------
    cell : Cell
    world : World
    folder : Path
        Emptied first; holds the table and the logs.
    master : str, optional
        Of the cluster.
    shuffle : Path, optional
        Where the cluster's shuffle files are.
    seconds : float
        What a run without a fault takes, for kills at random times.
    java : str
        Options of Java that make it start sooner.

    Returns
    -------
    dict
        ``violations`` is empty if all held.
    """
    shutil.rmtree(folder, ignore_errors=True)
    plan = folder / "plan"
    plan.mkdir(parents=True)
    with _disk(folder / "disk", small=cell.disk) as disk:
        output = disk / "scores"
        shutil.copytree(world.folder / "scores", output)
        places = {"@disk": str(disk), "@shuffle": str(shuffle if cell.where == "cluster" else folder / "local")}
        rules = [{**rule, "do": [places.get(part, part) for part in rule.get("do", ())]} for rule in cell.rules]
        (plan / "plan.json").write_text(json.dumps(rules))
        started = time.monotonic()
        violations: list[str] = []
        with Reader(output, [world.old, world.new]) as reader:
            runs = [
                _start(cell, world, output, folder, master=master, java=java, number=number)
                for number in range(1 + cell.twice)
            ]
            (plan / "driver.pid").write_text(str(runs[0].pid))
            killer = threading.Thread(target=_kill, args=(cell, plan, runs[0], seconds))
            killer.start()
            codes = [_wait(run) for run in runs]
            took = time.monotonic() - started
            killer.join()
            (disk / "filler").unlink(missing_ok=True)
            violations += _check_run(cell, rules, plan, codes, folder)
            again, sentence = world.run_again(output)
            if again:
                violations.append(f"the next run ended with {again}: {sentence}")
        violations += reader.violations
        violations += _check_processes(plan)
        violations += _check_table(cell, world, output)
    if not violations:
        shutil.rmtree(folder / "local", ignore_errors=True)
    return {
        "cell": cell.name,
        "where": cell.where,
        "kills": len(list(plan.glob("killed-*"))),
        "exits": codes,
        "seconds": round(took, 1),
        "next": sentence,
        "looks": reader.looks,
        "vanished": reader.vanished,
        "violations": violations,
    }


@contextmanager
def _disk(folder: Path, *, small: bool) -> Iterator[Path]:
    """A folder; a small disk of its own if asked for, which takes root."""
    folder.mkdir()
    if small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        if small:
            subprocess.run(["umount", folder], check=True)


def _start(
    cell: Cell, world: World, output: Path, folder: Path, *, master: str | None, java: str, number: int
) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(_INJECTION), str(_ROOT)])
    environment = {**os.environ, "FAULT_PLAN": str(folder / "plan"), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    java = f"{_JAVA} {java}".strip()
    settings = ["--driver-memory", "600m", "--driver-java-options", java]
    conf = ["spark.sql.shuffle.partitions=2", "spark.ui.enabled=false", *cell.conf]
    verb = ["score", *world.arguments, *scoring_options(output), *cell.options]
    if cell.where == "cluster":
        assert master is not None
        settings += ["--master", master, "--executor-memory", "512m", "--executor-cores", "1"]
        conf += [
            f"spark.executorEnv.FAULT_PLAN={folder / 'plan'}",
            f"spark.executorEnv.PYTHONPATH={path}",
            f"spark.executor.extraJavaOptions={_JAVA}",
        ]
    else:
        settings += ["--master", cell.where]
        conf.append(f"spark.local.dir={folder / 'local'}")
    settings += [part for value in conf for part in ("--conf", value)]
    if cell.where == "cluster":
        environment["PYSPARK_DRIVER_PYTHON"] = sys.executable
        command = [str(_ROOT / "spark-submit.sh"), *settings, *verb]
    else:
        environment["PYSPARK_SUBMIT_ARGS"] = f"{shlex.join(settings)} pyspark-shell"
        command = [sys.executable, "-m", "jobs.cli", *verb]
    with (folder / f"log-{number}.txt").open("wb") as log, (folder / f"out-{number}.json").open("wb") as result:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=result, stderr=log)


def _wait(run: subprocess.Popen[bytes]) -> int:
    try:
        return run.wait(_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        return 124


def _kill(cell: Cell, plan: Path, run: subprocess.Popen[bytes], seconds: float) -> None:
    """The kills at random times; a victim that is not there yet is waited for."""
    started = time.monotonic()
    for number, (kind, part) in enumerate(sorted(cell.kills, key=lambda kill: kill[1])):
        while run.poll() is None and (time.monotonic() - started < part * seconds or not processes(kind, plan)):
            time.sleep(0.02)
        victims = processes(kind, plan)
        if run.poll() is None and victims:
            os.kill(victims[number % len(victims)], signal.SIGKILL)
            (plan / f"killed-{number}").touch()


def _check_run(cell: Cell, rules: list[dict[str, Any]], plan: Path, codes: list[int], folder: Path) -> Iterator[str]:
    """The run ended as it may, and the fault happened."""
    for number, code in enumerate(codes):
        if code not in cell.exits:
            said = (folder / f"log-{number}.txt").read_text(errors="replace").strip().splitlines()[-1:]
            yield f"the run ended with {code}: {''.join(said)}"
    if cell.says not in (folder / "log-0.txt").read_text(errors="replace"):
        yield f"the log does not hold {cell.says!r}"
    if cell.twice and 0 not in codes:
        yield f"of two runs none was done: {codes}"
    for number in range(len(rules)):
        if not (plan / f"{number}.struck").exists():
            yield f"fault {number} did not happen"


def _check_processes(plan: Path) -> Iterator[str]:
    """Nothing of the run lives on."""
    deadline = time.monotonic() + 60
    while (left := processes("any", plan)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for number in left:
        yield f"process {number} lives on"
        os.kill(number, signal.SIGKILL)


def _check_table(cell: Cell, world: World, output: Path) -> Iterator[str]:
    """Tonight's rows, once each, with the oracle's scores, and nothing else."""
    there = {path.name for path in output.iterdir()}
    for name in sorted(there ^ {*world.new, "_runs"}):
        yield f"{name} {'was left' if name in there else 'is missing'}"
    n_failed = 0
    for name, expected in world.new.items():
        try:
            rows = partition_rows(output / name)
        except ValueError as error:
            yield f"{name}: {error}"
            continue
        if not same_rows(rows, expected):
            yield f"{name}: {len(rows)} rows are not those of the oracle"
        n_failed += sum(status == "failed" for _, status in rows.values())
        strange = [path.name for path in (output / name).iterdir() if path.suffix not in (".parquet", ".crc")]
        if strange != ["_keys"]:
            yield f"{name}: holds {strange}"
    if n_failed != cell.failed:
        yield f"{n_failed} rows failed, not {cell.failed}"
    for path in (output / "_runs").iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
