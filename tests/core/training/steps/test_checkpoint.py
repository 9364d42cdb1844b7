from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from sentiment_core.errors import EnvironmentFault, InputError
from sentiment_core.training.steps.checkpoint import Checkpoint, data_digest, load_checkpoint, save_checkpoint
from tests.support.runs import fill_disk

CHECKPOINT = Checkpoint(
    arrays={
        "weights/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "weights/b": np.float32([[1, 2], [3, 4]]).T,
        "best/a": np.zeros((0, 3), np.float16),
        "count": np.array(7),
    },
    progress={"step": 12, "history": [{"loss": 0.1}], "note": "ü", "nothing": None},
)


def assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert left.progress == right.progress
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        np.testing.assert_array_equal(array, right.arrays[name])
        assert array.dtype == right.arrays[name].dtype


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "run.checkpoint"
    save_checkpoint(CHECKPOINT, path)
    loaded = load_checkpoint(path)
    assert_same(loaded, CHECKPOINT)
    assert loaded.part("weights").keys() == {"a", "b"}
    np.testing.assert_array_equal(loaded.part("weights")["b"], CHECKPOINT.arrays["weights/b"])
    assert loaded.part("weight") == {}
    assert [file.name for file in path.parent.iterdir()] == ["run.checkpoint"]


def test_a_loss_that_is_no_number_yet_comes_back(tmp_path: Path) -> None:
    save_checkpoint(Checkpoint(arrays={}, progress={"train_loss": np.nan}), tmp_path / "checkpoint")
    assert np.isnan(load_checkpoint(tmp_path / "checkpoint").progress["train_loss"])


@pytest.mark.parametrize("failing", ["write", "flush", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(CHECKPOINT, path)
    with monkeypatch.context() as patch:
        fill_disk(patch, failing=failing)
        with pytest.raises(
            EnvironmentFault, match=r"cannot be written \(No space left on device\), the one before it is kept"
        ):
            save_checkpoint(Checkpoint(arrays={"x": np.ones(1000)}, progress={"step": 13}), path)
    assert_same(load_checkpoint(path), CHECKPOINT)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
    save_checkpoint(Checkpoint(arrays={}, progress={"step": 14}), path)
    assert load_checkpoint(path).progress == {"step": 14}


def test_nothing_is_renamed_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("replace"), replace(path, to))[1])
    save_checkpoint(CHECKPOINT, tmp_path / "checkpoint")
    assert calls == ["fsync", "replace"]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(CHECKPOINT, path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 19), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"checkpoint: no checkpoint to resume from .* start without --resume"):
            load_checkpoint(path)
    for position in range(8):  # the length of the header
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x80]) + content[position + 1 :])
        with pytest.raises(InputError, match="no checkpoint to resume from"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04N.",
        safetensors.numpy.save({"a": np.zeros(1)}),
        safetensors.numpy.save({"a": np.zeros(1)}, metadata={"other": "{}"}),
        safetensors.numpy.save({"a": np.zeros(1)}, metadata={"progress": "{"}),
    ],
    ids=["pickle", "no metadata", "no progress", "half a progress"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        load_checkpoint(tmp_path / "checkpoint")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no checkpoint to resume from"):
            load_checkpoint(path)


def test_the_digest_tells_data_apart() -> None:
    array = np.arange(6, dtype=np.int32)
    variants = [
        *((), (array,), (array, array), (array[:5], array[5:]), (array[:0],), (array[::-1],)),
        *((array.astype(np.int64),), (array.reshape(2, 3),)),
    ]
    digests = {data_digest(*arrays, also=also) for arrays in variants for also in ("", "a model", "another")}
    assert len(digests) == 3 * len(variants)
    assert data_digest(array.reshape(2, 3).T.copy()) == data_digest(array.reshape(2, 3).T)
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in digests)
