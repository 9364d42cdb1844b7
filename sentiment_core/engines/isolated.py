"""An engine in a process of its own, which may die: a crash costs a batch and not the process that asks.

The text pipeline runs there too. Axes: T tokens (time), N texts (batch).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core import errors
from sentiment_core.artifact import Model
from sentiment_core.engines.halving import RowFailure
from sentiment_core.engines.messages import read_message, write_message
from sentiment_core.errors import EnvironmentFault
from sentiment_core.text.pipeline import EncodedTexts

__all__ = ["IsolatedEngine"]

_START_SECONDS = 300
# A batch takes a second at most. Found by halving, a text that hangs costs about ten times this, so that two of an
# Arrow batch are found before Spark ends a silent worker (`jobs.spark.session`).
_CALL_SECONDS = 30


class IsolatedEngine:
    """Logits of padded token batches and ids of texts, computed by a child process, which is started again if it ends.

    Parameters
    ----------
    model : Model
    engine, precision, device : str
        See `sentiment_core.engines.selection.choose_engine`.
    threads : int, optional
        CPU threads; all cores by default.
    call_seconds : float
        How long an answer may take.

    Raises
    ------
    EnvironmentFault
        If the child does not come up.
    """

    concurrency = 1

    def __init__(
        self,
        model: Model,
        *,
        engine: str,
        precision: str,
        device: str,
        threads: int | None = None,
        call_seconds: float = _CALL_SECONDS,
    ) -> None:
        self._model = pa.array([model.to_bytes()], pa.large_binary())
        self._choice = [engine, precision, device, str(threads or "")]
        self.call_seconds = call_seconds
        self.process: subprocess.Popen[bytes] | None = None
        facts = self.start()
        self.name, self.device = facts["text"].to_pylist()
        self.length_step, self.batch_tokens = facts["number"].to_pylist()

    def logits(self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """(T, N) ids padded at the end, (N,) lengths -> (N,) logits.

        Raises
        ------
        RowFailure
            If the child died, gave no answer, or says that it failed.
        """
        return self._compute("logits", token_ids, valid_length)

    def contributions(
        self, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """(T, N) ids, (N,) lengths -> (N, 1 + T) logit, and what each token's state adds to it; raises as `logits`."""
        return self._compute("contributions", token_ids, valid_length).reshape(len(valid_length), -1)

    def encode(self, texts: pa.Array) -> EncodedTexts:
        """See `sentiment_core.text.pipeline.encode`; raises as `logits`."""
        found = self._call("encode", {"texts": texts})
        return EncodedTexts(**{name: array.to_numpy(zero_copy_only=False) for name, array in found.items()})

    def _compute(
        self, kind: str, token_ids: npt.NDArray[np.int32], valid_length: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        ids = pa.array(np.ascontiguousarray(token_ids).ravel())
        found: npt.NDArray[np.float32]
        found = self._call(kind, {"token_ids": ids, "valid_length": pa.array(valid_length)})["found"].to_numpy()
        return found

    def _call(self, kind: str, arrays: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        if self.process is None:
            self.start()
        answer, found = self._exchange(kind, arrays, seconds=self.call_seconds)
        if answer == "failed":
            raise RowFailure(found["text"][0].as_py())
        return found

    def start(self) -> dict[str, pa.Array]:
        """Start the child with the model; returns its answer."""
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "sentiment_core.engines.isolated_worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What Spark adds to the path of a running worker is not in its environment.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        weakref.finalize(self, _end, self.process)
        try:
            answer, found = self._exchange(
                "load", {"model": self._model, "choice": pa.array(self._choice)}, seconds=_START_SECONDS
            )
        except RowFailure as failure:
            raise EnvironmentFault(
                f"the engine's own process did not start ({failure.reason}); its log is that of the worker"
            ) from failure
        if answer == "refused":
            kind, sentence = found["text"].to_pylist()
            self._stop(patience=0)
            raise getattr(errors, kind, EnvironmentFault)(sentence)
        return found

    def _exchange(
        self, kind: str, arrays: Mapping[str, pa.Array], *, seconds: float
    ) -> tuple[str, dict[str, pa.Array]]:
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: S101, for the types
        try:
            write_message(process.stdin, kind, arrays)
            if not select.select([process.stdout], [], [], seconds)[0]:
                self._stop(patience=0)
                raise RowFailure("hang")
            return read_message(process.stdout)
        except (EOFError, OSError):
            # Nobody else kills it but the kernel, which needs memory.
            raise RowFailure("memory" if self._stop(patience=10) == -signal.SIGKILL else "crash") from None

    def _stop(self, *, patience: float) -> int:
        """Wait for the child's end for so many seconds, then end it; returns its code."""
        process, self.process = self.process, None
        assert process is not None  # noqa: S101, for the types
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        _end(process)
        return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    if process.poll() is None:
        process.kill()
        process.wait()
