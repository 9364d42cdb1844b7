"""Sums of single reviews, and the steps of an estimate applied to them, in DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs.statistics.estimates import LABEL_SUMS, Steps

Floats = npt.NDArray[np.float64]
ESTIMATE = ["estimated_share", "estimated_share_low", "estimated_share_high"]
SPREAD = 0.05


def sums_of(p: Floats, y: Floats, w: Floats, *, spread: float = SPREAD) -> dict[str, float]:
    """Sums of one group; a weight of 0 is no label."""
    terms = (w, w * y, w * p, w * p * p, w * y * p)
    squares = (w * term for term in terms)
    return {
        "scored": len(p),
        "p": p.sum(),
        "pp": (p * p).sum(),
        "q": p.sum(),
        "qq": (p * p).sum(),
        "spread": spread * len(p),
        "labelled_count": int((w > 0).sum()),
        **{name: values.sum() for name, values in zip(LABEL_SUMS, (*terms, *squares))},
    }


def ask(groups: Sequence[Mapping[Any, Any]], steps: Steps) -> pd.DataFrame:
    """Groups in their order, with the columns of all steps."""
    with duckdb.connect() as connection:
        connection.register("step_0", pd.DataFrame(groups).reset_index(names="row"))
        for number, step in enumerate(steps):
            columns = ", ".join(f"{sql} AS {name}" for name, sql in step.items())
            connection.execute(f"CREATE VIEW step_{number + 1} AS SELECT *, {columns} FROM step_{number}")
        return connection.sql(f"SELECT * FROM step_{len(steps)} ORDER BY row").df()
