"""Faults, injected from outside: Python imports this module first in a process that has its folder on the path.

``FAULT_PLAN`` names a folder with ``plan.json``, a list of rules. A rule says ``at`` which function, ``module:name``,
in which of its ``call`` (counted over all processes, from 1), and what to ``do``; or on which ``word`` of a text the
engine or, with ``in`` = ``encode``, the text pipeline does it; or which part of the product to ``break``. The product
knows nothing of it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FOLDER = Path(os.environ.get("FAULT_PLAN", "/nowhere"))


# What can be done, by name.


def _parent(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _is_of(plan: Path, number: str) -> bool:
    try:
        return f"FAULT_PLAN={plan}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def processes(kind: str, plan: Path = _FOLDER) -> list[int]:
    """Processes that follow a plan: any, or ``driver``, ``jvm`` (the driver's), ``executor`` or ``worker``."""
    found = sorted(
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_of(plan, path.name)
    )
    commands = {number: _command(number) for number in found}
    if kind == "any":
        return [number for number in found if commands[number]]  # one that has ended has none
    if kind == "driver":
        return [int((plan / "driver.pid").read_text())]
    signs = {"jvm": "org.apache.spark.deploy.SparkSubmit", "executor": "CoarseGrainedExecutorBackend"}
    if kind in signs:
        return [number for number in found if signs[kind] in commands[number] and "java" in commands[number]]
    daemons = [number for number in found if "pyspark.daemon" in commands[number]]
    return [number for number in daemons if _parent(number) in daemons]


def _kill(kind: str) -> None:
    above = [os.getpid()]
    while above[-1] > 1:
        above.append(_parent(above[-1]))
    victims = processes(kind)
    own = [number for number in victims if number in above]
    os.kill((own or victims)[0], signal.SIGKILL)
    if own:
        time.sleep(600)  # what this process would do now does not count any more


def _fill_disk(folder: str) -> None:
    """Leave no space on the file system of a folder."""
    with (Path(folder) / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 9):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def _delete_shuffle(folder: str) -> None:
    for path in Path(folder).rglob("shuffle_*"):
        path.unlink(missing_ok=True)


def _raise(name: str) -> None:
    raise {"memory": MemoryError, "error": RuntimeError, "cuda": RuntimeError, "file": OSError}[name](
        "CUDA out of memory" if name == "cuda" else "injected"
    )


ACTIONS: dict[str, Callable[[str], object]] = {
    "nothing": lambda _: None,
    "kill-self": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "kill": _kill,
    "terminate": lambda kind: os.kill(processes(kind)[0], signal.SIGTERM),
    "hang-in-c": lambda _: ctypes.PyDLL(None).sleep(600),  # nothing else runs in this process
    "hang": lambda _: time.sleep(600),
    "segfault": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "fill-disk": _fill_disk,
    "delete-shuffle": _delete_shuffle,
    "raise": _raise,
}


def _count(name: str) -> int:
    """How often this was called, over all processes."""
    descriptor = os.open(_FOLDER / f"{name}.calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b".")
    number = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.close(descriptor)
    return number


# Where.


def _wrap(number: int, rule: dict[str, Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def strike() -> None:
        (_FOLDER / f"{number}.struck").touch()
        ACTIONS[rule["do"][0]](rule["do"][1] if len(rule["do"]) > 1 else "")

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        armed = "after" not in rule or (_FOLDER / f"{rule['after']}.struck").exists()
        hit = armed and _count(str(number)) == rule.get("call", 1)
        if hit and not rule.get("late"):
            strike()
        result = function(*arguments, **options)
        if hit and rule.get("late"):
            strike()
        return result

    return wrapped


def _patch_function(number: int, rule: dict[str, Any], module: Any) -> None:
    *outer, names = rule["at"].partition(":")[2].split(".")
    owner = functools.reduce(getattr, outer, module)
    for name in names.split("|"):
        setattr(owner, name, _wrap(number, rule, getattr(owner, name)))


def _strike_text(number: int, rule: dict[str, Any]) -> None:
    (_FOLDER / f"{number}.struck").touch()
    ACTIONS[rule["do"][0]](rule["do"][1] if len(rule["do"]) > 1 else "")


def _patch_engine(number: int, rule: dict[str, Any], module: Any) -> None:
    make = module.make_engine

    def make_engine(model: Any, **options: Any) -> Any:
        engine = make(model, **options)
        poison = model.text.vocabulary.words.index(rule["word"])
        logits, kind = engine.logits, rule["do"][0]

        def poisoned(token_ids: Any, valid_length: Any) -> Any:
            hit = (token_ids == poison).any(axis=0)
            if not hit.any():
                return logits(token_ids, valid_length)
            if kind == "nan":
                (_FOLDER / f"{number}.struck").touch()
                found = logits(token_ids, valid_length).copy()
                found[: len(hit)][hit] = float("nan")
                return found
            if len(hit) > rule.get("most", 0):
                _strike_text(number, rule)
            return logits(token_ids, valid_length)

        engine.logits = poisoned
        return engine

    module.make_engine = make_engine


def _patch_encoder(number: int, rule: dict[str, Any], module: Any) -> None:
    encode = module.TextPipeline.encode

    def poisoned(self: Any, texts: Any) -> Any:
        if any(rule["word"] in text.split() for text in texts.to_pylist() if text):
            _strike_text(number, rule)
        return encode(self, texts)

    module.TextPipeline.encode = poisoned


class _Finder(importlib.abc.MetaPathFinder):
    """Patches modules right after their import."""

    def __init__(self, patches: dict[str, list[Callable[[Any], None]]]) -> None:
        self._patches = patches

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        patches = self._patches.get(name, [])
        spec = importlib.machinery.PathFinder.find_spec(name, path) if patches else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                for patch in patches:
                    patch(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install(rules: list[dict[str, Any]]) -> None:
    """Let the rules hold in this process, for what is not imported yet."""
    patches: dict[str, list[Callable[[Any], None]]] = {}
    for number, rule in enumerate(rules):
        if "break" in rule:
            from sabotage import SABOTAGE

            for module, patch in SABOTAGE[rule["break"]]:
                patches.setdefault(module, []).append(patch)
            (_FOLDER / f"{number}.struck").touch()
            continue
        if "at" in rule:
            module, patch = rule["at"].partition(":")[0], functools.partial(_patch_function, number, rule)
        elif rule.get("in") == "encode":
            module, patch = "sentiment_core.text.pipeline", functools.partial(_patch_encoder, number, rule)
        else:
            module, patch = "sentiment_core.engines.selection", functools.partial(_patch_engine, number, rule)
        patches.setdefault(module, []).append(patch)
    sys.meta_path.insert(0, _Finder(patches))


if (_FOLDER / "plan.json").exists():
    install(json.loads((_FOLDER / "plan.json").read_text()))
