"""What must be set before MXNet is imported."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["available_cores", "prepare_mxnet"]

# malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX.
_MALLOC_OPTIONS = {-1: 2**31 - 1, -4: 0, -8: 1}


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_mxnet(*, threads: int | None = None) -> None:
    """Set threads and bounds before MXNet is imported; without effect afterwards.

    Parameters
    ----------
    threads : int, optional
        Threads of the CPU kernels; `available_cores` by default. Left alone, MXNet takes half of the cores.
    """
    if "mxnet" in sys.modules:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads or available_cores())
    # The cache of compiled primitives has no bound by default.
    os.environ.setdefault("MXNET_MKLDNN_CACHE_NUM", "64")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed: each step wants the same large blocks, and new pages take a fifth of its time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)
