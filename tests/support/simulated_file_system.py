"""A file system in memory on which processes die, fail or stop at any operation, and which a reader watches.

What a real one does in several steps (writing, making folders, deleting a folder) is several operations here.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


class Crash(BaseException):
    """The process was killed; nothing that it does afterwards has any effect."""


@dataclass
class Disk:
    """What all processes share: the tree, as contents by path (None for a folder), and a clock."""

    exchanges: bool = True
    clock: float = 1000.0
    tree: dict[str, bytes | None] = field(default_factory=lambda: {"": None})
    times: dict[str, float] = field(default_factory=dict)
    watch: Callable[[], None] = lambda: None  # called after each change that a reader could see

    def copy(self) -> Disk:
        return Disk(exchanges=self.exchanges, clock=self.clock, tree=dict(self.tree), times=dict(self.times))

    def below(self, path: str) -> list[str]:
        return [name for name in self.tree if name.startswith(f"{path}/")]

    def partitions(self) -> dict[str, dict[str, bytes | None]]:
        """What a reader sees: names that begin with an underscore are ours."""
        found: dict[str, dict[str, bytes | None]] = {}
        for path, content in self.tree.items():
            first, _, name = path.partition("/")
            if first and not first.startswith("_"):
                partition = found.setdefault(first, {})
                if name and not name.startswith(("_", ".")):
                    partition[name] = content
        return found


class SimulatedFileSystem:
    """A process's view of a disk.

    ``before`` is called before each operation, ``before_change`` before each that changes something; both may raise
    `Crash` or `OSError`. Deaths before an operation that only looks are those before the next change.
    """

    def __init__(
        self, disk: Disk, before: Callable[[], None] = lambda: None, *, before_change: Callable[[], None] = lambda: None
    ) -> None:
        self.disk = disk
        self.n_operations = 0
        self.n_changes = 0
        self._before = before
        self._before_change = before_change

    def list(self, folder: str) -> dict[str, int | None]:
        self._step()
        start = f"{folder}/" if folder else ""
        names = {path[len(start) :]: path for path in self.disk.tree if path.startswith(start) and path != folder}
        return {
            name: None if self.disk.tree[path] is None else len(self.disk.tree[path] or b"")
            for name, path in sorted(names.items())
            if "/" not in name
        }

    def exists(self, path: str) -> bool:
        self._step()
        return path in self.disk.tree

    def read(self, path: str) -> bytes | None:
        self._step()
        return self.disk.tree.get(path)

    def modified(self, path: str) -> float | None:
        self._step()
        return self.disk.times.get(path)

    def write(self, path: str, content: bytes) -> None:
        self.make_folder(path.rpartition("/")[0])
        for part in (b"", content[: len(content) // 2], content):
            self._change()
            self._require_parent(path)
            self.disk.tree[path] = part
            self.disk.times[path] = self.disk.clock
            self._show(path)

    def make_folder(self, path: str) -> None:
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in self.disk.tree:
                self._change()
                self._require_parent(folder)
                self.disk.tree[folder] = None
                self._show(folder)

    def rename(self, source: str, target: str) -> None:
        self._change()
        if source not in self.disk.tree:
            raise FileNotFoundError(errno.ENOENT, "nothing of that name", source)
        self._require_parent(target)
        if target in self.disk.tree:
            raise FileExistsError(errno.EEXIST, "something of that name", target)
        self._move({source: target})
        self._show(source, target)

    def exchange(self, one: str, other: str) -> bool:
        self._change()
        if not self.disk.exchanges:
            return False
        for path in (one, other):
            if path not in self.disk.tree:
                raise FileNotFoundError(errno.ENOENT, "nothing of that name", path)
        self._move({one: other, other: one})
        self._show(one, other)
        return True

    def delete(self, path: str) -> None:
        for name in [*sorted(self.disk.below(path), reverse=True), path]:
            self._change()
            if name in self.disk.tree and not self.disk.below(name):
                del self.disk.tree[name]
                self.disk.times.pop(name, None)
                self._show(name)

    def remove_empty(self, folder: str) -> None:
        self._change()
        if folder in self.disk.tree and not self.disk.below(folder):
            del self.disk.tree[folder]
            self._show(folder)

    def _step(self) -> None:
        self._before()
        self.n_operations += 1

    def _change(self) -> None:
        self._step()
        self._before_change()
        self.n_changes += 1

    def _require_parent(self, path: str) -> None:
        if path.rpartition("/")[0] not in self.disk.tree:
            raise FileNotFoundError(errno.ENOENT, "no folder for it", path)

    def _move(self, names: dict[str, str]) -> None:
        moved: dict[str, tuple[bytes | None, float | None]] = {}
        for source, target in names.items():
            for path in [source, *self.disk.below(source)]:
                moved[target + path[len(source) :]] = (self.disk.tree.pop(path), self.disk.times.pop(path, None))
        for path, (content, modified) in moved.items():
            self.disk.tree[path] = content
            if modified is not None:
                self.disk.times[path] = modified

    def _show(self, *paths: str) -> None:
        if not all(path.startswith("_") for path in paths):
            self.disk.watch()


def dies_at(operation: int) -> Callable[[], None]:
    """Let a process die before its operation (or change) of this number, and do nothing afterwards."""
    count = iter(range(10**9))

    def before() -> None:
        if next(count) >= operation:
            raise Crash

    return before


def fails_at(operation: int, error: BaseException | None = None) -> Callable[[], None]:
    """Let one operation fail, by default as on a full disk."""
    count = iter(range(10**9))

    def before() -> None:
        if next(count) == operation:
            raise OSError(errno.ENOSPC, "no space left") if error is None else error

    return before


class Alternation:
    """Two processes of which one moves at a time, switched at chosen operations.

    The first runs to its operation ``stop``, the second then to its operation ``resume``, the first to its end, and
    the second to its own. One that waits lets the other move.
    """

    def __init__(self, *, stop: int, resume: int, at_stop: Callable[[], None] = lambda: None) -> None:
        self._switches = {0: stop, 1: resume}
        self._counts = [0, 0]
        self._ended = [False, False]
        self._turn = 0
        self._at_stop = at_stop
        self._changed = threading.Condition()
        self._errors: list[BaseException] = []

    def run(self, *processes: Callable[[], None]) -> None:
        """Run both to their ends; raises what a process raised."""
        threads = [threading.Thread(target=self._live, args=(*pair,)) for pair in enumerate(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def before(self, process: int) -> None:
        """Called before an operation of a process."""
        with self._changed:
            self._await(process)
            if self._switches.get(process) == self._counts[process]:
                del self._switches[process]
                if process == 0:
                    self._at_stop()
                self._give(1 - process)
                self._await(process)
            self._counts[process] += 1

    def wait(self, process: int) -> None:
        """Called when a process waits."""
        with self._changed:
            self._give(1 - process)
            self._await(process)

    def _give(self, process: int) -> None:
        self._turn = process
        self._changed.notify_all()

    def _await(self, process: int) -> None:
        self._changed.wait_for(lambda: self._turn == process or self._ended[1 - process])

    def _live(self, process: int, body: Callable[[], None]) -> None:
        try:
            with self._changed:
                self._await(process)
            body()
        except BaseException as error:  # noqa: BLE001, handed on to whoever started the threads
            self._errors.append(error)
        with self._changed:
            self._ended[process] = True
            self._give(1 - process)
