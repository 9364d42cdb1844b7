"""What MXNet reads from the environment once, at its import."""

from __future__ import annotations

import os
import sys

__all__ = ["available_cores", "prepare_mxnet"]


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
