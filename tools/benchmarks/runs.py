"""Runs of cases, each in a fresh process; what has been measured is read from its file and not repeated."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.artifact import load_model
from sentiment_core.errors import SentimentError
from tools.benchmarks.cases import CASES

__all__ = ["Runs"]

_LOGGER = logging.getLogger(__name__)
_ROOT = Path(__file__).parents[2]
# Threads and Spark are a case's own affair.
_OWN_AFFAIRS = ("OMP_", "MKL_", "OPENBLAS_", "MXNET_", "SPARK_", "PYSPARK_")


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Measures cases.

    Attributes
    ----------
    directory : Path
        Holds one JSON file a run, and its probabilities.
    model : Path
    linear : Path or None
        See `tools.benchmarks.cases.Task`.
    """

    directory: Path
    model: Path
    linear: Path | None = None

    def measure(
        self, name: str, reviews: Path, *, cores: int, attempt: int = 0, groups: int | None = None
    ) -> dict[str, Any] | None:
        """Run a case, unless it has been run; None for one whose packages are missing.

        Parameters
        ----------
        name : str
            One of `tools.benchmarks.cases.CASES`.
        reviews : Path
        cores : int
        attempt : int
            Tells repeats apart.
        groups : int, optional
            Of the score job.
        """
        case = CASES[name]
        if case.missing:
            _LOGGER.info("%s: left out, it needs %s: pip install '.[bench]'", name, ", ".join(case.missing))
            return None
        file = self._file(name, reviews, cores, attempt, groups)
        if not file.exists():
            command = [
                sys.executable,
                "-m",
                "tools.benchmarks.cases",
                name,
                reviews,
                "--model",
                self.model,
                "--cores",
                cores,
            ]
            command += ["--probabilities", file.with_suffix(".npy")]
            command += ["--linear", self.linear] if self.linear else []
            command += ["--groups", groups] if groups else []
            environment = {key: value for key, value in os.environ.items() if not key.startswith(_OWN_AFFAIRS)}
            done = subprocess.run([str(part) for part in command], cwd=_ROOT, env=environment, capture_output=True)
            if done.returncode:
                last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise SentimentError(
                    f"{name} failed: {''.join(last)}; run it alone: python {shlex.join(map(str, command[1:9]))}"
                )
            staging = file.with_suffix(".new")
            staging.write_bytes(done.stdout.splitlines()[-1])
            staging.replace(file)
        result: dict[str, Any] = json.loads(file.read_text())
        _LOGGER.info("%s, %d cores, round %d: %.1f s", name, cores, attempt + 1, result["seconds"])
        return result

    def probabilities(self, name: str, reviews: Path, *, cores: int) -> npt.NDArray[np.float64] | None:
        """Those of a case's first round."""
        file = self._file(name, reviews, cores, 0, None).with_suffix(".npy")
        return np.load(file) if file.exists() else None

    def _file(self, name: str, reviews: Path, cores: int, attempt: int, groups: int | None) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        content = hashlib.file_digest(reviews.open("rb"), "sha256").hexdigest()
        decisive = [name, content, load_model(self.model).sha256, cores, attempt, groups]
        return self.directory / f"{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]}.json"
