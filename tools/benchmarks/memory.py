"""The largest resident memory that processes have had."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

__all__ = ["peak_memory", "peak_worker_memory"]


def peak_memory(pid: int | None = None) -> int:
    """Bytes of one process, this one by default; 0 for another one where the system does not say."""
    status = Path(f"/proc/{pid or 'self'}/status")
    if status.exists():  # getrusage begins with what the parent had
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
        return int(peak.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if pid is None else 0


def peak_worker_memory() -> int:
    """Bytes of the largest Python worker of this process's Spark; workers live on for a while after a job."""
    workers = (pid for pid in _descendants(os.getpid()) if Path(f"/proc/{pid}/comm").read_text().startswith("python"))
    return max(map(peak_memory, workers), default=0)


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from _descendants(child)
