"""Which device computes: the GPUs that the engines find, and the one that an option or a Spark task names."""

from __future__ import annotations

from contextlib import suppress

from pyspark import TaskContext

from sentiment_core.engines.selection import choose_engine
from sentiment_core.errors import EnvironmentFault, SentimentError
from sentiment_core.mxnet_setup import prepare_mxnet

__all__ = ["check_engine", "gpu_count", "task_device"]

_ANY_GPU = "gpu:0"


def gpu_count(engine: str) -> int:
    """GPUs that ``torch`` or ``mxnet`` finds in this process; 0 where it is not installed or finds no driver."""
    try:
        if engine == "torch":
            import torch

            return int(torch.cuda.device_count())
        import mxnet

        return int(mxnet.context.num_gpus())
    except (ImportError, OSError, RuntimeError):  # MXNetError is a RuntimeError
        return 0


def task_device(requested: str, *, engine: str, precision: str) -> tuple[str, tuple[str, ...]]:
    """The device of this task, from the GPU address that Spark assigned to it.

    Parameters
    ----------
    requested : str
        ``cpu``, ``gpu`` or ``auto``: a GPU if one was assigned and the engine can use it.
    engine, precision : str
        Of `sentiment_core.engines.selection`.

    Returns
    -------
    device : str
        ``cpu`` or ``gpu:N``.
    addresses : tuple of str
        The GPU addresses that Spark assigned.

    Raises
    ------
    EnvironmentFault
        If ``gpu`` was requested and the task has no GPU.
    """
    context = TaskContext.get()
    assigned = context.resources().get("gpu") if context is not None else None
    addresses = tuple(assigned.addresses) if assigned is not None else ()
    if context is not None and addresses:  # MXNet may be asked for its GPUs
        prepare_mxnet(threads=context.cpus())
    if requested == "cpu" or (requested == "auto" and not (addresses and _finds_gpu(engine, precision=precision))):
        return "cpu", addresses
    if not addresses:
        raise EnvironmentFault(
            "--device gpu was asked for, but Spark assigned no GPU to the task; set "
            "spark.executor.resource.gpu.amount and spark.task.resource.gpu.amount, or use --device cpu"
        )
    if not addresses[0].isdigit():
        raise EnvironmentFault(
            f"the GPU address {addresses[0]!r} is no ordinal, which the engines need; let the discovery script print "
            "0, 1, ..."
        )
    return f"gpu:{int(addresses[0])}", addresses


def check_engine(engine: str, *, precision: str, device: str) -> None:
    """Refuse what no task could do, before any of them starts.

    Parameters
    ----------
    engine, precision : str
        Of `sentiment_core.engines.selection`.
    device : str
        ``cpu``, ``gpu`` or ``auto``, which either serves.

    Raises
    ------
    UsageError, EnvironmentFault
        As `sentiment_core.engines.selection.choose_engine` says.
    """
    if device == "auto":
        with suppress(SentimentError):
            choose_engine(engine, precision=precision, device=_ANY_GPU)
            return
    choose_engine(engine, precision=precision, device=_ANY_GPU if device == "gpu" else "cpu")


def _finds_gpu(engine: str, *, precision: str) -> bool:
    """Whether the engine that would compute on a GPU finds any."""
    try:
        name, _ = choose_engine(engine, precision=precision, device=_ANY_GPU)
    except SentimentError:
        return False
    return gpu_count(name) > 0
