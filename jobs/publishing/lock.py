"""One run at a time writes to an output: a lock with an owner and an expiry, on any file system.

Each run that wants the lock writes a claim, a file of a name that no other run uses, and then lists the claims.
Of two runs the one that wrote later sees the other's, so no two can find themselves alone: being alone is the lock.
A claim that was not renewed for its lease is dead, and so is one whose process has ended on this machine; whoever
takes the lock removes it. All ages are differences between times of the file system's own clock.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from jobs.publishing.owner import Owner
from jobs.storage.files import FileSystem
from sentiment_core.errors import LockLostError, OutputLockedError

__all__ = ["OutputLock"]

_LOGGER = logging.getLogger(__name__)
_PREFIX = "_lock-"
# While claims of runs that started later are withdrawn.
_PATIENCE, _PAUSE_SECONDS = 10, 0.2


class OutputLock:
    """The right to write to an output.

    Parameters
    ----------
    fs : FileSystem
        Of the output.
    owner : Owner
    lease_seconds : float, default 300
        How long a claim counts that is not renewed.
    wait : callable
        Waits for so many seconds.
    """

    def __init__(
        self,
        fs: FileSystem,
        owner: Owner,
        *,
        lease_seconds: float = 300,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.token = uuid.uuid4().hex[:12]
        self._fs = fs
        self._path = f"{_PREFIX}{self.token}.json"
        self._content = json.dumps(asdict(owner) | {"lease_seconds": lease_seconds}).encode()
        self._lease_seconds = lease_seconds
        self._wait = wait
        self._renewed: float | None = None
        self._mutex = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[OutputLock]:
        """Take the lock, renew it while the block runs, and give it back.

        Raises
        ------
        OutputLockedError
        """
        self.acquire()
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(ended,), name="lock keeper", daemon=True)
        keeper.start()
        try:
            yield self
        finally:
            ended.set()
            keeper.join()
            self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        OutputLockedError
            If another run has it.
        """
        try:
            self._fs.write(self._path, self._content)
            rival = self.take()
        except BaseException:
            self.release()
            raise
        if rival is not None:
            self.release()
            raise OutputLockedError(
                f"the output is being written by {rival.describe()}; run again when it has ended. The lock of a run "
                f"that died is free {rival.lease_seconds:.0f} s after its last sign of life"
            )

    def renew(self) -> None:
        """Show that the run lives, and make sure that it still has the lock.

        Raises
        ------
        LockLostError
            If the run was silent for so long that another may have taken over.
        """
        with self._mutex:
            if self._renewed is not None and self._fs.modified(self._path) is not None:
                self._fs.write(self._path, self._content)
                now = self._fs.modified(self._path)
                # Whoever took over saw a claim older than the lease, so the gap to this renewal is at least as long.
                if now is not None and now - self._renewed <= self._lease_seconds:
                    self._renewed = now
                    return
        self.release()
        raise LockLostError(
            f"the run was silent for more than {self._lease_seconds:.0f} s, and another may have taken over its lock; "
            "nothing was published, run again"
        )

    def release(self) -> None:
        """Give the lock back."""
        with self._mutex:
            self._renewed = None
            try:
                self._fs.delete(self._path)
            except OSError as error:
                _LOGGER.warning("the lock could not be removed and expires by itself: %s", error)

    def take(self) -> _Claim | None:
        """Become the holder, or return who is."""
        oldest = None
        for attempt in range(_PATIENCE):
            if attempt:
                self._wait(_PAUSE_SECONDS)
            now = self._fs.modified(self._path)
            if now is None:
                raise LockLostError("the claim to the lock was removed before it was granted; run again")
            rivals = self._rivals()
            live = [claim for claim in rivals if claim.is_live(now)]
            if not live:
                for claim in rivals:
                    _LOGGER.warning("the lock of %s has expired", claim.describe())
                    self._fs.delete(claim.path)
                self._renewed = now
                return None
            oldest = min(live, key=lambda claim: (claim.modified, claim.path))
            # The older claim stays; the younger is withdrawn, so that one of two that start together goes on.
            if (oldest.modified, oldest.path) < (now, self._path):
                break
        return oldest

    def _rivals(self) -> list[_Claim]:
        claims = []
        for name in self._fs.list(""):
            if name.startswith(_PREFIX) and name != self._path:
                modified = self._fs.modified(name)
                content = self._fs.read(name)
                if modified is not None and content is not None:
                    claims.append(_Claim.parse(name, content, modified=modified, lease_seconds=self._lease_seconds))
        return claims

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(self._lease_seconds / 5):
            try:
                self.renew()
            except LockLostError as error:
                _LOGGER.warning("%s", error)
                return
            except OSError as error:  # perhaps it works the next time; the last word has whoever publishes
                _LOGGER.warning("the lock could not be renewed: %s", error)


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """Another run's claim, as found."""

    path: str
    modified: float
    lease_seconds: float
    owner: Owner | None

    @classmethod
    def parse(cls, path: str, content: bytes, *, modified: float, lease_seconds: float) -> _Claim:
        """Read a claim; one that is being written at this moment has no owner yet."""
        try:
            found: dict[str, Any] = json.loads(content)
            lease_seconds = float(found.pop("lease_seconds"))
            return cls(path=path, modified=modified, lease_seconds=lease_seconds, owner=Owner(**found))
        except (ValueError, TypeError, LookupError):
            return cls(path=path, modified=modified, lease_seconds=lease_seconds, owner=None)

    def is_live(self, now: float) -> bool:
        """Whether its run may be running."""
        return now - self.modified <= self.lease_seconds and not (self.owner is not None and self.owner.is_gone())

    def describe(self) -> str:
        """Whose it is."""
        return "a run that is just starting" if self.owner is None else str(self.owner)
