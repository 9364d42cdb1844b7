"""Which process holds something, told so that another can see whether it still lives."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Owner"]


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    run_id, host, user : str
    process_id : int
    process : str, optional
        Tells the process from every other that ran or runs on this machine; None where the system does not say.
    """

    run_id: str
    host: str
    user: str
    process_id: int
    process: str | None

    @classmethod
    def this_process(cls, run_id: str) -> Owner:
        """The process that asks."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            user = str(os.getuid())
        number = os.getpid()
        return cls(
            run_id=run_id, host=socket.gethostname(), user=user, process_id=number, process=_process_name(number)
        )

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; False if it runs elsewhere, or nobody can tell."""
        place = _place()
        if self.process is None or place is None or not self.process.startswith(f"{place}/"):
            return False
        try:
            os.kill(self.process_id, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        name = _process_name(self.process_id)
        return name is not None and name != self.process

    def __str__(self) -> str:
        return f"run {self.run_id} (process {self.process_id} of {self.user} on {self.host})"


def _place() -> str | None:
    """Names this machine since its last start, and the container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115, it is no path
    except OSError:
        return None


def _process_name(number: int) -> str | None:
    """Names a process of this machine for good: its number may be given again, but not at the same moment."""
    place = _place()
    try:
        # After the command in parentheses: state, and as 20th its start.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ended = fields[0] in "ZX"
    return None if place is None else f"{place}/{number}/{'ended' if ended else fields[19]}"
