"""Which device computes: the GPUs that MXNet finds, and the one that an option or a Spark task names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark import TaskContext

from sentiment_core.errors import EnvironmentFault
from sentiment_core.mxnet_setup import prepare_mxnet

if TYPE_CHECKING:
    import mxnet as mx

__all__ = ["gpu_count", "task_device", "training_device"]


def gpu_count() -> int:
    """GPUs that MXNet can use in this process; 0 where it is not installed or finds no driver."""
    try:
        import mxnet

        return int(mxnet.context.num_gpus())
    except (ImportError, OSError, RuntimeError):  # MXNetError is a RuntimeError
        return 0


def training_device(name: str) -> mx.Context:
    """The MXNet context of ``cpu`` or ``gpu:N``.

    Raises
    ------
    EnvironmentFault
        If the GPU is not there.
    """
    import mxnet

    if name == "cpu":
        return mxnet.cpu()
    ordinal = int(name[4:]) if name.startswith("gpu:") and name[4:].isdigit() else -1
    if not 0 <= ordinal < gpu_count():
        raise EnvironmentFault(
            f"--device {name}: MXNet finds {gpu_count()} GPUs; use cpu, or install a CUDA build of MXNet and name gpu:N"
        )
    return mxnet.gpu(ordinal)


def task_device(requested: str) -> tuple[str, tuple[str, ...]]:
    """The device of this task, from the GPU address that Spark assigned to it.

    Parameters
    ----------
    requested : str
        ``cpu``, ``gpu`` or ``auto``: a GPU if one was assigned and MXNet can use it.

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
    prepare_mxnet(threads=context.cpus() if context is not None else None)
    if requested == "cpu" or (requested == "auto" and not (addresses and gpu_count())):
        return "cpu", addresses
    if not addresses:
        raise EnvironmentFault(
            "--device gpu was asked for, but Spark assigned no GPU to the task; set "
            "spark.executor.resource.gpu.amount and spark.task.resource.gpu.amount, or use --device cpu"
        )
    if not addresses[0].isdigit():
        raise EnvironmentFault(
            f"the GPU address {addresses[0]!r} is no ordinal, which MXNet needs; let the discovery script print 0, 1, "
            "..."
        )
    return f"gpu:{int(addresses[0])}", addresses
