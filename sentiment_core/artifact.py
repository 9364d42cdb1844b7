"""The model as a directory and as bytes: weights, vocabulary, settings, metrics, card and digests.

A directory holds six plain files, and a seventh if its card shows a picture; ``sha256sum -c SHA256SUMS`` verifies
it, and the SHA-256 of the file ``SHA256SUMS`` itself is the model's name in every output row. The bytes that Spark
broadcasts are the same files in an uncompressed zip. Nothing is ever unpickled, and nothing is trusted before its
digest holds.

Two kinds share the format: ``sentiment`` (scores reviews) and ``language_model`` (what fine-tuning starts from).

Axes: V words, E embedding units, H hidden units; gates are in the order in, forget, cell, out.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from sentiment_core.durable import make_parent, write_durably
from sentiment_core.errors import EnvironmentFault, ModelError, UsageError, shown
from sentiment_core.logistic import sigmoid
from sentiment_core.text.familiarity import Familiarity
from sentiment_core.text.pipeline import TextPipeline, TextSettings, Vocabulary

__all__ = [
    "Architecture",
    "Decision",
    "Model",
    "Weights",
    "bundled_model_path",
    "check_target",
    "load_model",
    "save_model",
]

Kind = Literal["sentiment", "language_model"]
Weights = Mapping[str, npt.NDArray[Any]]
S = TypeVar("S")

FORMAT_VERSION = 1
# Models that were written before there were these settings do not have them.
_LATER_TEXT_SETTINGS = dict.fromkeys(("missing_words", "skip_addresses", "undo_slips", "rules"))
DIGESTS = "SHA256SUMS"
# Largest size accepted of each file, in bytes: a broken or hostile artifact must not fill the memory.
MAX_BYTES = {
    "README.md": 1 << 20,
    "config.json": 1 << 20,
    "metrics.json": 1 << 24,
    "reliability.svg": 300_000,
    "vocabulary.txt": 1 << 26,
    "weights.safetensors": 1 << 32,
    DIGESTS: 1 << 12,
}
_OPTIONAL = frozenset({"reliability.svg"})
_DTYPES = {"float16": np.dtype(np.float16), "float32": np.dtype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of the network.

    The last LSTM layer has ``embed_size`` units, as the tied output of a language model needs (Merity et al. 2018);
    the layers below it have ``hidden_size``.
    """

    vocab_size: int
    embed_size: int = 200
    hidden_size: int = 200
    num_layers: int = 2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            largest = 100 if name == "num_layers" else 10_000_000
            if type(value) is not int or not 1 <= value <= largest:
                raise ModelError(
                    f"config.json: {name} must be a whole number from 1 to {largest:,}, not {shown(value)}"
                )

    @property
    def layer_sizes(self) -> list[tuple[int, int]]:
        """Inputs and units of each LSTM layer, from the embedding up."""
        units = [self.hidden_size] * (self.num_layers - 1) + [self.embed_size]
        return list(zip([self.embed_size, *units], units))

    def shapes(self, kind: Kind) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor of such a model."""
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocab_size, self.embed_size)}
        for layer, (inputs, units) in enumerate(self.layer_sizes):
            shapes[f"lstm.{layer}.i2h_weight"] = (4 * units, inputs)
            shapes[f"lstm.{layer}.h2h_weight"] = (4 * units, units)
            shapes[f"lstm.{layer}.i2h_bias"] = (4 * units,)
            shapes[f"lstm.{layer}.h2h_bias"] = (4 * units,)
        if kind == "sentiment":
            shapes["output.weight"] = (1, self.embed_size)
            shapes["output.bias"] = (1,)
        else:
            shapes["decoder.bias"] = (self.vocab_size,)
        return shapes


@dataclass(frozen=True, kw_only=True)
class Decision:
    """From a logit to a calibrated probability and a label.

    The probability is ``sigmoid(slope * logit + intercept)`` (Platt 1999; a temperature is an intercept of 0).
    A review is ``negative`` below ``negative_below``, ``positive`` from ``positive_from`` on, else ``neutral``.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    negative_below: float = 0.5
    positive_from: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.method, str):
            raise ModelError(f"config.json: the calibration's method must be a name, not {shown(self.method)}")
        for name in ("slope", "intercept", "negative_below", "positive_from"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ModelError(f"config.json: {name} must be a number, not {shown(value)}")
        if not (np.isfinite(self.slope) and self.slope > 0 and np.isfinite(self.intercept)):
            raise ModelError(
                f"config.json: the calibration needs a positive slope and finite intercept, not {self.slope} "
                f"and {self.intercept}"
            )
        if not 0 < self.negative_below <= self.positive_from < 1:
            raise ModelError(
                "config.json: the cut-offs must satisfy 0 < negative_below <= positive_from < 1, not "
                f"{self.negative_below} and {self.positive_from}"
            )

    def probability(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Calibrated probability that each text is positive, float64, same shape, 0 to 1."""
        return sigmoid(self.slope * logits.astype(np.float64) + self.intercept)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything that turns text into a score, or a language model that a score can grow from.

    Without ``familiarity``, which older models lack, no text is unfamiliar.
    ``reliability_plot`` is SVG, which the card of a sentiment model may show; empty where there is none.

    Raises
    ------
    ModelError
        If a tensor is missing, extra, misshaped, of a wrong type or not finite, the vocabulary does not
        match the weights, or the plot is too large or that of a language model.
    """

    kind: Kind
    architecture: Architecture
    text: TextPipeline
    weights: Weights
    decision: Decision = field(default_factory=Decision)
    familiarity: Familiarity | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    reliability_plot: str = ""

    def __post_init__(self) -> None:
        if len(self.text.vocabulary) != self.architecture.vocab_size:
            raise ModelError(
                f"vocabulary.txt: holds {len(self.text.vocabulary)} words, but the weights have "
                f"{self.architecture.vocab_size} rows"
            )
        expected = self.architecture.shapes(self.kind)
        for name in sorted(expected.keys() | self.weights.keys()):
            if name not in self.weights:
                raise ModelError(f"weights.safetensors: the tensor {name!r} is missing")
            if name not in expected:
                raise ModelError(f"weights.safetensors: unexpected tensor {shown(name)} for a {self.kind} model")
            tensor = self.weights[name]
            if tensor.shape != expected[name]:
                raise ModelError(f"weights.safetensors: {name!r} has shape {tensor.shape}, expected {expected[name]}")
            if tensor.dtype not in _DTYPES.values():
                raise ModelError(f"weights.safetensors: {name!r} is {tensor.dtype}, expected float16 or float32")
            if not np.isfinite(tensor).all():
                raise ModelError(f"weights.safetensors: {name!r} holds values that are not finite")
        if len({tensor.dtype for tensor in self.weights.values()}) > 1:
            raise ModelError("weights.safetensors: the tensors are of different types, expected one type for all")
        if self.familiarity and self.kind != "sentiment":
            raise ModelError("config.json: a language model scores no text; leave its familiarity out")
        if self.reliability_plot and self.kind != "sentiment":
            raise ModelError("reliability.svg: a language model has no probabilities to show; leave it out")
        _check_size("reliability.svg", len(self.reliability_plot.encode()))

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The artifact's files by name, the same bytes on every call and machine."""
        config = {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "dtype": self.weights["embedding.weight"].dtype.name,
            "architecture": asdict(self.architecture),
            "text": _without_unset(asdict(self.text.settings)),
            "decision": asdict(self.decision),
            **({"familiarity": asdict(self.familiarity)} if self.familiarity else {}),
            "provenance": self.provenance,
        }
        arrays = {name: np.ascontiguousarray(self.weights[name]) for name in sorted(self.weights)}
        files = {
            "README.md": self.card.encode(),
            "config.json": _to_json(config),
            "metrics.json": _to_json(self.metrics),
            **({"reliability.svg": self.reliability_plot.encode()} if self.reliability_plot else {}),
            "vocabulary.txt": "".join(f"{word}\n" for word in self.text.vocabulary.words).encode(),
            "weights.safetensors": safetensors.numpy.save(arrays),
        }
        lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
        return files | {DIGESTS: "".join(lines).encode()}

    @cached_property
    def sha256(self) -> str:
        """The model's name: SHA-256 of its ``SHA256SUMS``, 64 hexadecimal digits."""
        return hashlib.sha256(self.files[DIGESTS]).hexdigest()

    def to_bytes(self) -> bytes:
        """The model as one byte string, for a broadcast; the same bytes for the same model."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self.files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Model:
        """Inverse of `to_bytes`; refuses what `load_model` refuses."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                entries = archive.infolist()
                _check_names([entry.filename for entry in entries], "the model's bytes")
                for entry in entries:
                    _check_size(entry.filename, entry.file_size)
                    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                        raise ModelError(f"{entry.filename}: is compressed, which a model's bytes never are")
                files = {entry.filename: archive.read(entry) for entry in entries}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise ModelError(f"the model's bytes are damaged: {error}; broadcast the model again") from error
        return _from_files(files)


def bundled_model_path(kind: Kind = "sentiment") -> Path:
    """Directory of the model that comes with the package, or of the language model that it grew from."""
    return Path(__file__).parent / "models" / kind


def check_target(directory: Path | str) -> Path:
    """The absolute path of a directory that `save_model` may write.

    Raises
    ------
    UsageError
        If the path exists and is something else than a model directory, or nothing can be written there.
    """
    target = Path(directory).resolve()
    make_parent(target)
    if target.exists():
        found = {entry.name for entry in target.iterdir()} if target.is_dir() else None
        if found is None or (found and not {DIGESTS} <= found <= MAX_BYTES.keys()):
            raise UsageError(f"{directory} exists and is not a model; name a new directory")
    return target


def save_model(model: Model, directory: Path | str) -> None:
    """Write the model as a directory, replacing a model that stands there; never leaves half a model.

    Raises
    ------
    UsageError
        Of `check_target`.
    EnvironmentFault
        If it cannot be written.
    """
    target = check_target(directory)
    staging = target.with_name(f".{target.name}.new")
    outgoing = target.with_name(f".{target.name}.old")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        for name, content in model.files.items():
            write_durably(staging / name, content)
        shutil.rmtree(outgoing, ignore_errors=True)
        if target.exists():
            target.rename(outgoing)
        staging.rename(target)
    except OSError as error:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        shutil.rmtree(staging, ignore_errors=True)
        raise EnvironmentFault(f"{directory} cannot be written ({error.strerror}); make room and run again") from error
    shutil.rmtree(outgoing, ignore_errors=True)


def load_model(directory: Path | str, *, kind: Kind = "sentiment") -> Model:
    """Read and verify a model directory.

    Raises
    ------
    ModelError
        If anything in it is not as `save_model` writes it; the message names the file and the fault.
    """
    root = Path(directory)
    if not root.is_dir():
        raise ModelError(f"{root}: no such model directory; name one that `sentiment train` wrote")
    entries = sorted(root.iterdir())
    _check_names([entry.name for entry in entries], str(root))
    files = {}
    for entry in entries:
        if entry.is_symlink() or not entry.is_file():
            raise ModelError(f"{entry.name}: is not a regular file; copy the model, do not link it")
        try:
            _check_size(entry.name, entry.stat().st_size)
            files[entry.name] = entry.read_bytes()
        except OSError as error:
            raise ModelError(f"{entry}: cannot be read ({error.strerror}); check disk and permissions") from error
    model = _from_files(files)
    if model.kind != kind:
        raise ModelError(f"{root}: is a {model.kind} artifact, but a {kind} artifact is needed here")
    return model


def _from_files(files: Mapping[str, bytes]) -> Model:
    _check_digests(files)
    with _fault_in("config.json"):
        config = json.loads(files["config.json"])
        version = config["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(
                f"config.json: format version {shown(version)} is unknown, this release reads {FORMAT_VERSION}; "
                "update the package or train the model again"
            )
        if config["kind"] not in ("sentiment", "language_model"):
            raise ModelError(f"config.json: unknown kind {shown(config['kind'])}")
        architecture = _settings(Architecture, config["architecture"])
        settings = _settings(TextSettings, _LATER_TEXT_SETTINGS | config["text"])
        decision = _settings(Decision, config["decision"])
        familiarity = _settings(Familiarity, config["familiarity"]) if "familiarity" in config else None
        provenance = dict(config["provenance"].items())
    with _fault_in("metrics.json"):
        metrics = dict(json.loads(files["metrics.json"]).items())
    with _fault_in("vocabulary.txt"):
        vocabulary = Vocabulary(tuple(files["vocabulary.txt"].decode().split("\n")[:-1]))
    with _fault_in("README.md"):
        card = files["README.md"].decode()
    with _fault_in("reliability.svg"):
        reliability_plot = files.get("reliability.svg", b"").decode()
        if "reliability.svg" in files and not reliability_plot:
            raise ModelError("reliability.svg: is empty; a model without a plot has no such file")
    with _fault_in("weights.safetensors"):
        weights = safetensors.numpy.load(files["weights.safetensors"])
    model = Model(
        kind=config["kind"],
        architecture=architecture,
        text=TextPipeline(settings=settings, vocabulary=vocabulary),
        weights=weights,
        decision=decision,
        familiarity=familiarity,
        metrics=metrics,
        provenance=provenance,
        card=card,
        reliability_plot=reliability_plot,
    )
    found = weights["embedding.weight"].dtype.name
    if config.get("dtype") != found:
        raise ModelError(f"weights.safetensors: the tensors are {found}, config.json says {shown(config.get('dtype'))}")
    # The files as they came, not written anew: the name of a model does not depend on the libraries' versions.
    vars(model)["files"] = {name: files[name] for name in MAX_BYTES if name in files}
    return model


def _settings(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings of a part; none is left to its default, which may be another than the model was trained with."""
    names = {part.name for part in fields(kind)}  # type: ignore[arg-type]
    if values.keys() != names:
        raise ModelError(f"config.json: holds the settings {shown(sorted(values))}, expected {shown(sorted(names))}")
    return kind(**values)


def _without_unset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are written: those that a model does not have are left out, so that its bytes stay the same."""
    return {name: value for name, value in settings.items() if value is not None}


@contextmanager
def _fault_in(name: str) -> Iterator[None]:
    """Blame the file for whatever its content makes the parsers raise."""
    try:
        yield
    except (SafetensorError, UsageError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: is not as a model has it ({error}); copy or train the model again") from error


def _check_names(names: list[str], where: str) -> None:
    for name in names:
        if name not in MAX_BYTES or names.count(name) > 1:
            raise ModelError(f"{where}: unexpected file {shown(name)}; a model holds {', '.join(sorted(MAX_BYTES))}")
    for name in sorted(MAX_BYTES.keys() - _OPTIONAL):
        if name not in names:
            raise ModelError(f"{where}: the file {name} is missing; copy the whole model directory")


def _check_size(name: str, size: int) -> None:
    if size > MAX_BYTES[name]:
        raise ModelError(f"{name}: {size:,} bytes are more than the {MAX_BYTES[name]:,} that a model may have")


def _check_digests(files: Mapping[str, bytes]) -> None:
    listed = re.findall(rb"([0-9a-f]{64})  ([^\n]+)\n", files[DIGESTS])
    digests = {name.decode(errors="replace"): digest.decode() for digest, name in listed}
    if b"".join(b"%s  %s\n" % entry for entry in listed) != files[DIGESTS]:
        raise ModelError(f"{DIGESTS}: is not a list of digests")
    if digests.keys() != files.keys() - {DIGESTS} or len(digests) != len(listed):
        raise ModelError(f"{DIGESTS}: lists {shown(sorted(digests))}, which are not the model's files")
    for name, digest in digests.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ModelError(f"{name}: its content does not match its digest; copy or train the model again")


def _to_json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
