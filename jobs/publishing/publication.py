"""The swap: a reader finds a partition as it was or as it is now, whole, wherever a run stops.

A run writes below ``_staging/<run_id>/<token>``, which readers ignore, and `Publication.publish` puts what it wrote
into place: first the journal, which says what is to be put where, then partition by partition, then the run report. A
step that fails is undone with those before it. A run that dies leaves its journal, from which the next run finishes or
undoes; what has no journal is removed. Before it touches a folder of staging, a run gives it a name of its own, so
that whoever used the old name, were it not dead after all, can no longer move anything
(``docs/decisions/0008-publish.md``).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from types import TracebackType
from typing import Any

from jobs.publishing.lock import OutputLock
from jobs.storage.files import FileSystem
from sentiment_core.errors import LockLostError, SentimentError

__all__ = ["Publication", "read_report", "reported_runs", "signature"]

_LOGGER = logging.getLogger(__name__)
_STAGING, _RUNS = "_staging", "_runs"
# The journal's name is its direction.
_FORWARD, _BACK = "publish.json", "undo.json"
# Is there as long as nobody else has taken the folder: whoever writes into it might make another of its name.
_OPEN = "open"
_TAKEN_OVER = "another run took over, and has finished or removed what this one wrote; run again"


def signature(fs: FileSystem, path: str) -> str | None:
    """Tell a partition or a report from every other: by names and sizes of its data files, or by its content.

    The names of data files hold random parts, so no two runs write the same. None if there is nothing.
    """
    if path.split("/")[-2:-1] == [_RUNS]:
        content = fs.read(path)
    elif fs.exists(path):
        files = {name: size for name, size in fs.list(path).items() if not name.startswith(("_", "."))}
        content = json.dumps(files, sort_keys=True).encode()
    else:
        content = None
    return None if content is None else hashlib.sha256(content).hexdigest()


def read_report(fs: FileSystem, run_id: str) -> dict[str, Any] | None:
    """The report of a run that was published, None if there is none."""
    content = fs.read(f"{_RUNS}/{run_id}.json")
    try:
        report = json.loads(content or b"null")
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def reported_runs(fs: FileSystem) -> list[str]:
    """Names of the runs that were published."""
    return sorted(name.removesuffix(".json") for name in fs.list(_RUNS) if name.endswith(".json"))


class Publication:
    """The output of one run; entering finishes or removes what dead runs left, leaving removes what this one did.

    Parameters
    ----------
    fs : FileSystem
        Its root is the directory of the published table.
    run_id : str
    lock : OutputLock
        Held by this run.

    Attributes
    ----------
    data : str
        Where the run writes, laid out as the table: a folder for each partition.
    """

    def __init__(self, fs: FileSystem, *, run_id: str, lock: OutputLock) -> None:
        self._fs = fs
        self._lock = lock
        self._staging = f"{_STAGING}/{run_id}/{lock.token}"
        self._report = f"{_RUNS}/{run_id}.json"
        self._numbers = itertools.count()
        self.data = f"{self._staging}/data"

    def __enter__(self) -> Publication:
        self._lock.renew()
        self.recover()
        self._fs.write(f"{self._staging}/{_OPEN}", b"")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        forward, back = f"{self._staging}/{_FORWARD}", f"{self._staging}/{_BACK}"
        try:
            if self._fs.exists(forward):
                self._fs.rename(forward, back)  # it failed on the way
            if self._fs.exists(back):
                self._take_back(self._staging)
            self._fs.delete(self._staging)
            for folder in (self._staging.rpartition("/")[0], _STAGING):
                self._fs.remove_empty(folder)
            self._lock.renew()
            self.recover()  # what the workers of a dead run wrote meanwhile
        except (OSError, SentimentError) as left:
            _LOGGER.warning("staging is left for the next run to clear: %s", left)

    def partitions(self) -> list[str]:
        """Names of the partitions that publishing replaces."""
        return [name for name in self._fs.list(self.data) if "=" in name]

    def beside(self, name: str) -> str:
        """A folder beside the data, for what is to be moved into it."""
        return f"{self._staging}/{name}"

    def publish(self, report: dict[str, Any], *, metrics: str | None = None, malformed: str = "") -> None:
        """Replace the staged partitions and write the run report.

        Whatever fails, an interrupt included, the output is put back as it was.

        Parameters
        ----------
        report : dict
        metrics : str, optional
            The report as metrics, to lie beside it.
        malformed : str
            Malformed records that were set aside, one a line, to lie beside it.

        Raises
        ------
        LockLostError
            If the run was silent for so long that another run took over; it has finished or removed this one's work.
        """
        names = self.partitions()
        for folder in (self.data, f"{self._staging}/replaced"):
            self._fs.make_folder(f"{folder}/{_RUNS}")
        self._fs.make_folder(_RUNS)
        text = json.dumps(report, indent=2, sort_keys=True, default=str) + "\n"
        for suffix, beside in (("prom", metrics), ("malformed.jsonl", malformed)):
            if beside:
                names.append(f"{self._report.removesuffix('.json')}.{suffix}")
                self._fs.write(f"{self.data}/{names[-1]}", beside.encode())
        self._fs.write(f"{self.data}/{self._report}", text.encode())
        places = {name: signature(self._fs, f"{self.data}/{name}") for name in [*names, self._report]}
        if not self._fs.exists(f"{self._staging}/{_OPEN}"):
            raise LockLostError(_TAKEN_OVER)
        self._fs.write(f"{self._staging}/journal", json.dumps(places).encode())
        self._lock.renew()
        try:
            # While there is the journal, another run finishes this one if it dies, and leaving undoes it if it fails.
            self._fs.rename(f"{self._staging}/journal", f"{self._staging}/{_FORWARD}")
            self.put(self._staging)
            self._fs.delete(f"{self._staging}/{_FORWARD}")
        except FileNotFoundError as error:
            if self._fs.exists(self._staging):
                raise
            raise LockLostError(_TAKEN_OVER) from error

    def recover(self) -> None:
        """Finish, undo or remove what is staged."""
        for run_id, size in self._fs.list(_STAGING).items():
            folder = f"{_STAGING}/{run_id}"
            if size is not None:
                self._fs.delete(folder)  # no run writes a file there
                continue
            for name in self._fs.list(folder):
                mine = f"{folder}/{self._lock.token}-{next(self._numbers)}"
                try:
                    self._fs.rename(f"{folder}/{name}", mine)
                except FileNotFoundError:
                    continue  # its run lived a little longer
                _LOGGER.warning("%s was left by a run that died: %s", folder, self._settle(mine))
                self._fs.delete(mine)
            self._fs.remove_empty(folder)
        self._fs.remove_empty(_STAGING)

    def _settle(self, staging: str) -> str:
        if self._fs.exists(f"{staging}/{_FORWARD}"):
            try:
                self.put(staging)
            except OSError as error:
                _LOGGER.warning("it cannot be finished: %s", error)
                self._fs.rename(f"{staging}/{_FORWARD}", f"{staging}/{_BACK}")
            else:
                self._fs.delete(f"{staging}/{_FORWARD}")
                return "finished"
        if self._fs.exists(f"{staging}/{_BACK}"):
            self._take_back(staging)
            return "undone"
        return "removed"

    def put(self, staging: str) -> None:
        """Put everything into place that is not yet."""
        for name, new in self._journal(staging, _FORWARD).items():
            if signature(self._fs, name) == new:
                continue
            staged = f"{staging}/data/{name}"
            if signature(self._fs, staged) != new:
                raise OSError(f"{staged} is damaged")
            if self._fs.exists(name):
                if self._fs.exchange(staged, name):
                    continue
                self._fs.rename(name, f"{staging}/replaced/{name}")
            self._fs.rename(staged, name)

    def _take_back(self, staging: str) -> None:
        """Put everything back as it was."""
        for name, new in self._journal(staging, _BACK).items():
            staged, replaced = f"{staging}/data/{name}", f"{staging}/replaced/{name}"
            if signature(self._fs, name) == new:
                if self._fs.exists(staged):
                    self._fs.exchange(staged, name)
                else:
                    self._fs.rename(name, staged)
            if self._fs.exists(replaced) and not self._fs.exists(name):
                self._fs.rename(replaced, name)
        self._fs.delete(f"{staging}/{_BACK}")

    def _journal(self, staging: str, name: str) -> dict[str, str]:
        places: dict[str, str] = json.loads(self._fs.read(f"{staging}/{name}") or b"{}")
        return places
