"""The process of an `sentiment_core.engines.isolated.IsolatedEngine`: answers calls until its parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment_core.artifact import Model
from sentiment_core.engines.halving import reason_of
from sentiment_core.engines.messages import read_message, write_message
from sentiment_core.engines.selection import make_engine
from sentiment_core.errors import SentimentError

__all__ = ["main"]

# prctl(2): the signal that a process gets when its parent ends.
_SET_PARENT_DEATH_SIGNAL = 1

Answer = tuple[str, dict[str, pa.Array]]


def main() -> int:
    """Serve calls on standard input and output; returns the exit code."""
    _die_with_parent(int(sys.argv[1]))
    requests = sys.stdin.buffer
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls: dict[str, Callable[[Mapping[str, pa.Array]], Answer]] = {}
    with suppress(EOFError, BrokenPipeError):
        while True:
            kind, arrays = read_message(requests)
            if kind == "load":
                calls, answer = _load(arrays)
            else:
                answer = _answer(calls[kind], arrays)
            write_message(answers, *answer)
    return 0


def _load(arrays: Mapping[str, pa.Array]) -> tuple[dict[str, Callable[[Mapping[str, pa.Array]], Answer]], Answer]:
    name, precision, device, threads = arrays["choice"].to_pylist()
    try:
        model = Model.from_bytes(arrays["model"][0].as_py())
        engine = make_engine(
            model, engine=name, precision=precision, device=device, threads=int(threads) if threads else None
        )
    except SentimentError as error:
        return {}, ("refused", {"text": pa.array([type(error).__name__, str(error)])})
    calls = {
        "logits": lambda arrays: _computed(engine.logits, arrays),
        "contributions": lambda arrays: _computed(engine.contributions, arrays),
        "encode": lambda arrays: _encode(model, arrays),
    }
    facts: dict[str, list[Any]] = {
        "text": [engine.name, engine.device],
        "number": [engine.length_step, engine.batch_tokens],
    }
    return calls, ("loaded", {key: pa.array(values) for key, values in facts.items()})


def _computed(compute: Callable[..., npt.NDArray[np.float32]], arrays: Mapping[str, pa.Array]) -> Answer:
    valid_length = arrays["valid_length"].to_numpy()
    token_ids = arrays["token_ids"].to_numpy().reshape(-1, len(valid_length))
    return "computed", {"found": pa.array(np.asarray(compute(token_ids, valid_length)).ravel())}


def _encode(model: Model, arrays: Mapping[str, pa.Array]) -> Answer:
    encoded = model.text.encode(arrays["texts"])
    return "encoded", {name: pa.array(getattr(encoded, name)) for name in ("token_ids", "offsets", "n_tokens")}


def _answer(call: Callable[[Mapping[str, pa.Array]], Answer], arrays: Mapping[str, pa.Array]) -> Answer:
    try:
        return call(arrays)
    except Exception as error:  # noqa: BLE001, the message may hold a text, so only its kind goes back
        return "failed", {"text": pa.array([reason_of(error)])}


def _die_with_parent(parent: int) -> None:
    """On Linux, end when the parent does, even while a call hangs; and when memory is short, before it does."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    sys.exit(main())
