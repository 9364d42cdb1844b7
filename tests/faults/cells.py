"""The cells of the fault matrix: where a run is, what happens to it in which moment, and how it may end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.world import POISON

__all__ = ["Cell", "all_cells", "sabotaged_cells"]

_KILLED, _DONE = -9, 0
_BATCH = "sentiment_core.scoring.scorer:Scorer.score_distinct"
_BATCHES = {"first": 1, "middle": 3, "last": 6}
# Seconds after which a silent worker says where it is, and is ended; a busy machine needs some to start a healthy one.
_IDLE = (
    "spark.python.worker.tracebackDumpIntervalSeconds=20",
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds=30",
)

# Where the driver is, from the start of a run to its publication.
_PHASES: dict[str, dict[str, Any]] = {
    "reading": {"at": "jobs.scoring.source:ReviewSource.read"},
    "read": {"at": "jobs.scoring.source:ReviewSource.read", "late": True},
    "locked": {"at": "jobs.publishing.lock:OutputLock.acquire", "late": True},
    "staged": {"at": "jobs.publishing.staging:Staging.write", "late": True},
    "audit": {"at": "jobs.scoring.audit:audit_scores"},
    "keys": {"at": "jobs.publishing.staging:Staging.write_keys"},
    "keys staged": {"at": "jobs.publishing.staging:Staging.write_keys", "late": True},
    "completing": {"at": "jobs.publishing.staging:Staging.complete", "late": True},
}
# Changes of the file system from the beginning of the publication to the end of the run.
PUBLISH_CHANGES = 20
_CHANGES = "jobs.storage.files:LocalFileSystem.write|make_folder|rename|exchange|delete|remove_empty"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run with a fault, and what follows.

    Attributes
    ----------
    name : str
    where : str
        ``local[2]`` or ``cluster``.
    rules : tuple of dict
        See `tests.faults.injection.sitecustomize`.
    exits : set of int
        Codes that the run may end with.
    conf : tuple of str
        Settings of Spark.
    options : tuple of str
        Of the verb.
    kills : tuple of (str, float)
        Who is killed, at which part of the time that a run takes.
    real_model : bool
    disk : bool
        Whether the output lies on a small disk of its own.
    twice : bool
        Whether two runs start at once.
    failed : int
        Rows of the published table that may have no score because of the fault.
    says : str
        What the run's log must hold.
    """

    name: str
    where: str = "local[2]"
    rules: tuple[dict[str, Any], ...] = ()
    exits: frozenset[int] = frozenset({_DONE})
    conf: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    kills: tuple[tuple[str, float], ...] = field(default=())
    real_model: bool = False
    disk: bool = False
    twice: bool = False
    failed: int = 0
    says: str = ""


def all_cells() -> list[Cell]:
    """Deterministic ones first, each kind on both kinds of cluster in turn; then kills at random times."""
    return [
        Cell(name="local[2]: no fault"),
        *_workers(),
        *_drivers(),
        *_publish(),
        *_poison(),
        *_others(),
        *_random_kills(),
    ]


def _workers() -> Iterator[Cell]:
    for where in ("local[2]", "cluster"):
        for batch, call in _BATCHES.items():
            rule = {"at": _BATCH, "call": call, "do": ["kill-self"]}
            yield Cell(name=f"{where}: worker killed, {batch} batch", where=where, rules=(rule,))
        for action, says in {"hang": "worker hangs", "hang-in-c": "worker hangs in C"}.items():
            rule = {"at": _BATCH, "call": 3, "do": [action]}
            if (where, action) == ("cluster", "hang-in-c"):
                continue  # as on one machine
            # The workers of executors have logs of their own.
            dump = "Timeout (0:00:20)!" if where == "local[2]" else ""
            yield Cell(name=f"{where}: {says}, middle batch", where=where, rules=(rule,), conf=_IDLE, says=dump)
    for batch, call in _BATCHES.items():
        rule = {"at": _BATCH, "call": call, "do": ["kill", "executor"]}
        yield Cell(name=f"cluster: executor killed, {batch} batch", where="cluster", rules=(rule,))
    rule = {**_PHASES["audit"], "do": ["kill", "executor"]}
    yield Cell(name="cluster: executor killed, audit", where="cluster", rules=(rule,))
    rule = {"at": _BATCH, "call": 3, "do": ["kill-self"]}
    yield Cell(name="local[2]: worker killed, middle batch, real model", rules=(rule,), real_model=True)


def _drivers() -> Iterator[Cell]:
    killed = frozenset({_KILLED})
    for phase, where in _PHASES.items():
        yield Cell(name=f"local[2]: driver killed, {phase}", rules=({**where, "do": ["kill", "driver"]},), exits=killed)
    for batch, call in _BATCHES.items():
        rule = {"at": _BATCH, "call": call, "do": ["kill", "driver"]}
        yield Cell(name=f"local[2]: driver killed, {batch} batch", rules=(rule,), exits=killed)
    rule = {**_PHASES["audit"], "do": ["kill", "driver"]}
    yield Cell(name="cluster: driver killed, audit", where="cluster", rules=(rule,), exits=killed)
    rule = {"at": _BATCH, "call": 3, "do": ["kill", "driver"]}
    yield Cell(name="cluster: driver killed, middle batch", where="cluster", rules=(rule,), exits=killed)
    for phase in ("read", "audit", "completing"):
        rule = {**_PHASES[phase], "do": ["kill", "jvm"]}
        yield Cell(name=f"local[2]: JVM of the driver killed, {phase}", rules=(rule,), exits=frozenset({0, 1}))
    rule = {"at": _BATCH, "call": 3, "do": ["kill", "jvm"]}
    yield Cell(name="local[2]: JVM of the driver killed, middle batch", rules=(rule,), exits=frozenset({1}))
    rule = {"at": _BATCH, "call": 3, "do": ["terminate", "driver"]}
    yield Cell(name="local[2]: driver told to end, middle batch", rules=(rule,), exits=frozenset({1}))


def _publish() -> Iterator[Cell]:
    """The driver dies before each change that it makes to the output."""
    for change in range(1, PUBLISH_CHANGES + 1):
        rules = (
            {"at": "jobs.publishing.publication:Publication.publish", "do": ["nothing"]},
            {"at": _CHANGES, "after": 0, "call": change, "do": ["kill", "driver"]},
        )
        yield Cell(
            name=f"local[2]: driver killed, publishing, before change {change}",
            rules=rules,
            exits=frozenset({_KILLED}),
            real_model=change == 9,
        )
        if change in (8, 10):
            yield Cell(
                name=f"cluster: driver killed, publishing, before change {change}",
                where="cluster",
                rules=rules,
                exits=frozenset({_KILLED}),
            )


def _poison() -> Iterator[Cell]:
    faults: dict[str, dict[str, Any]] = {
        "is not a number": {"do": ["nan"]},
        "raises": {"do": ["raise", "error"]},
        "needs too much memory": {"do": ["raise", "memory"]},
        "crashes the engine": {"do": ["segfault"]},
        "crashes the text pipeline": {"do": ["abort"], "in": "encode"},
        "is killed for its memory": {"do": ["kill-self"]},
    }
    for says, rule in faults.items():
        yield Cell(name=f"local[2]: a text {says}", rules=({"word": POISON, **rule},), failed=1)
    crash = {"word": POISON, "do": ["segfault"]}
    yield Cell(name="cluster: a text crashes the engine", where="cluster", rules=(crash,), failed=1)
    yield Cell(name="local[2]: a text crashes the engine, real model", rules=(crash,), failed=1, real_model=True)
    yield Cell(
        name="local[2]: a text crashes the engine, none may fail",
        rules=(crash,),
        exits=frozenset({4}),
        options=("--max-failed-ratio", "0"),
    )
    halved = {"word": POISON, "most": 8, "do": ["raise", "cuda"]}
    yield Cell(name="local[2]: a GPU has no memory for more than 8 texts", rules=(halved,))


def _others() -> Iterator[Cell]:
    for where in ("local[2]", "cluster"):
        rule = {"at": _BATCH, "call": 1, "do": ["delete-shuffle", "@shuffle"]}
        yield Cell(name=f"{where}: shuffle files deleted, first batch", where=where, rules=(rule,))
        yield Cell(name=f"{where}: two runs at once", where=where, twice=True, exits=frozenset({0, 3}))
    full = {"do": ["fill-disk", "@disk"]}
    refused = frozenset({1})
    for phase in ("locked", "audit", "keys"):
        yield Cell(name=f"local[2]: disk full, {phase}", rules=({**_PHASES[phase], **full},), exits=refused, disk=True)
    rules = ({"at": "jobs.publishing.publication:Publication.publish", **full},)
    yield Cell(name="local[2]: disk full, publishing", rules=rules, exits=refused, disk=True)


def _random_kills() -> Iterator[Cell]:
    """Sixty kills, of drivers for the most part."""
    draw = random.Random(20261124)
    for number in range(15):
        yield Cell(
            name=f"local[2]: driver killed at random, {number + 1}",
            kills=(("driver", draw.uniform(0.3, 1.0)),),
            exits=frozenset({_KILLED, _DONE}),
        )
    for number in range(6):
        yield Cell(
            name=f"local[2]: JVM of the driver killed at random, {number + 1}",
            kills=(("jvm", draw.uniform(0.3, 1.0)),),
            exits=frozenset({0, 1, 6}),
        )
    # A task may be hit each time, and is tried four times.
    for number in range(8):
        kills = tuple(("worker", draw.uniform(0.4, 0.9)) for _ in range(3))
        yield Cell(name=f"local[2]: three workers killed at random, {number + 1}", kills=kills)
    for number in range(5):
        kills = tuple(("executor", draw.uniform(0.3, 0.9)) for _ in range(3))
        yield Cell(name=f"cluster: three executors killed at random, {number + 1}", where="cluster", kills=kills)


def sabotaged_cells() -> list[Cell]:
    """Cells with a part of the product broken: the matrix must find each violated."""
    worker = {"at": _BATCH, "call": 3, "do": ["kill-self"]}
    crash = {"word": POISON, "do": ["segfault"]}
    broken: dict[str, dict[str, Any]] = {
        "naive overwrite": {},
        "no lock": {"twice": True, "exits": frozenset({0, 3})},
        "no retry": {"rules": (worker,)},
        "no isolation": {"rules": (crash,), "failed": 1},
        "blind audit, a row twice": {},
    }
    return [
        Cell(name=f"sabotage: {name}", **{**rest, "rules": (*rest.get("rules", ()), {"break": name})})
        for name, rest in broken.items()
    ]
