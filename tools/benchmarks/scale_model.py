"""How long a score job takes, what it holds and what it costs, from constants that were measured once.

The job's stages run one after the other; all rows cost the same; each core is busy to the end. What the cluster itself
needs, such as the time until machines are there, is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.scoring.grouping import group_count

__all__ = ["Prediction", "ScaleModel"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A score job that was not run.

    Attributes
    ----------
    seconds : float
        From the command to its end.
    price : float
        Of all executors for that time, in the currency of their hourly price.
    groups : int
        Tasks and output files.
    shuffle_bytes, output_bytes : float
        On the disks of all executors together; in the output.
    driver_bytes : float
        Heap of the driver.
    worker_bytes : float
        Memory of the Python workers of one executor.
    """

    seconds: float
    price: float
    groups: int
    shuffle_bytes: float
    output_bytes: float
    driver_bytes: float
    worker_bytes: float


@dataclass(frozen=True, kw_only=True)
class ScaleModel:
    """The constants.

    Attributes
    ----------
    start_seconds : float
        Spark's session and the model.
    job_seconds : float
        A job of no rows: plans, the first worker of each core, publishing.
    core_seconds_a_row : float
        All but the scoring: reading twice, shuffle, transfer, writing, audit.
    reviews_per_second_a_core : float
        Of the `Scorer`, text to probability.
    core_seconds_a_group : float
        A task's own cost on its core.
    driver_seconds_a_group : float
        Scheduling and committing, one after the other.
    shuffle_bytes_a_row, output_bytes_a_row : float
    driver_bytes, driver_bytes_a_group : float
        Heap without groups, and for each group and its file.
    worker_bytes : float
        Peak memory of a Python worker.
    """

    start_seconds: float
    job_seconds: float
    core_seconds_a_row: float
    reviews_per_second_a_core: float
    core_seconds_a_group: float
    driver_seconds_a_group: float
    shuffle_bytes_a_row: float
    output_bytes_a_row: float
    driver_bytes: float
    driver_bytes_a_group: float
    worker_bytes: float

    def predict(
        self,
        rows: int,
        *,
        executors: int,
        executor_cores: int,
        hourly_price: float = 0.0,
        groups: int | None = None,
    ) -> Prediction:
        """Predict a run.

        Parameters
        ----------
        rows : int
        executors, executor_cores : int
        hourly_price : float
            Of one executor.
        groups : int, optional
            As the job chooses by default.
        """
        cores = executors * executor_cores
        groups = groups or group_count(rows, cores=cores)
        on_cores = rows * (self.core_seconds_a_row + 1 / self.reviews_per_second_a_core)
        on_cores += groups * self.core_seconds_a_group
        seconds = self.start_seconds + self.job_seconds + groups * self.driver_seconds_a_group + on_cores / cores
        return Prediction(
            seconds=seconds,
            price=executors * hourly_price * seconds / 3600,
            groups=groups,
            shuffle_bytes=rows * self.shuffle_bytes_a_row,
            output_bytes=rows * self.output_bytes_a_row,
            driver_bytes=self.driver_bytes + groups * self.driver_bytes_a_group,
            worker_bytes=executor_cores * self.worker_bytes,
        )
