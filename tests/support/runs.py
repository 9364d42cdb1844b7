"""Training runs: their reviews, ways in which they die, and how two of them are compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import Model
from sentiment_core.dataset.labelled import Labelled


def labelled_reviews(n_reviews: int, *, seed: int) -> Labelled:
    """Generated reviews; more than three stars are positive."""
    reviews = generate_reviews(n_reviews, seed=seed, odd_texts=False)
    return Labelled(texts=reviews["text"].combine_chunks(), positive=reviews["stars"].to_numpy() > 3)


def rows_of(data: Labelled, rows: slice) -> Labelled:
    return Labelled(texts=data.texts[rows], positive=data.positive[rows])


class Killed(Exception):  # noqa: N818, it is no error
    """Stands for a kill: nothing of the run survives but its checkpoint."""


def kill_at(monkeypatch: pytest.MonkeyPatch, kind: type[Any], step: int) -> None:
    """Let runs of a kind (`training_loop.Run`) die in a step."""
    original = kind.step

    def dying(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        if options["step"] == step:
            raise Killed
        result: tuple[float, int] = original(run, batch, **options)
        return result

    monkeypatch.setattr(kind, "step", dying)


def note_steps(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> list[int]:
    """The steps that runs of a kind will take."""
    steps: list[int] = []
    original = kind.step

    def noting(run: Any, batch: Any, **options: Any) -> tuple[float, int]:
        steps.append(options["step"])
        result: tuple[float, int] = original(run, batch, **options)
        return result

    monkeypatch.setattr(kind, "step", noting)
    return steps


def assert_same_run(left: Model, right: Model) -> None:
    """The same curve and weights, but for what MXNet's kernels round by the alignment of their memory."""
    assert len(left.metrics["history"]) == len(right.metrics["history"])
    for ours, theirs in zip(left.metrics["history"], right.metrics["history"]):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for name, tensor in left.weights.items():
        np.testing.assert_allclose(tensor, right.weights[name], atol=1e-3)


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, failing: str) -> None:
    """Let each write fail: in ``write`` or ``flush``, after a half of it, or in ``fsync`` or ``replace``."""
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", _fail)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", _fail)
    else:
        whole_file = Path.open

        def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            file = whole_file(path, mode, *rest, **options)
            return _HalfFile(file, failing=failing) if "w" in mode else file

        monkeypatch.setattr(Path, "open", opened)


def _fail(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


class _HalfFile:
    """A file of which the disk takes only a half."""

    def __init__(self, file: IO[bytes], *, failing: str) -> None:
        self.file = file
        self.failing = failing

    def __enter__(self) -> _HalfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        if self.failing == "write":
            _fail()

    def flush(self) -> None:
        _fail()
