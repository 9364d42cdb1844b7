"""Models as their files, edited as somebody would by hand."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import safetensors.numpy

from sentiment_core.artifact import DIGESTS, MAX_BYTES

GOLDEN = Path(__file__).parents[1] / "golden" / "model"


def with_digests(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with digests that fit: what somebody who edits a model by hand would write."""
    names = [name for name in MAX_BYTES if name in files and name != DIGESTS]
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names]
    return files | {DIGESTS: "".join(lines).encode()}


def zipped(entries: list[tuple[str, bytes]], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def write(files: dict[str, bytes], directory: Path) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def edited(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """With changed values of ``config.json`` (``a__b`` is a nested name) and digests that fit."""
    config = json.loads(files["config.json"])
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = config
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[name]
        else:
            place[name] = value
    return with_digests(files | {"config.json": json.dumps(config).encode()})


def reweighted(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """With other tensors (dots of a name written as ``__``, None leaves it out) and digests that fit."""
    weights = safetensors.numpy.load(files["weights.safetensors"])
    for name, tensor in changes.items():
        weights[name.replace("__", ".")] = tensor
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    return with_digests(files | {"weights.safetensors": safetensors.numpy.save(weights)})
