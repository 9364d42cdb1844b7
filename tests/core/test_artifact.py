from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment_core import artifact
from sentiment_core.artifact import (
    DIGESTS,
    MAX_BYTES,
    Architecture,
    Decision,
    Model,
    bundled_model_path,
    check_target,
    load_model,
    save_model,
)
from sentiment_core.durable import write_durably
from sentiment_core.errors import EnvironmentFault, ModelError, UsageError
from sentiment_core.text.pipeline import TextSettings
from tests.support.artifacts import GOLDEN, edited, reweighted, with_digests, write, zipped
from tests.support.models import tiny_model

GOLDEN_SHA256 = "a786e633d45be7b1a8f377199549fe44e7cbeb4f640c95d4c749b3c801c67909"
PLOT = "reliability.svg"
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><text>é</text></svg>\n"


@pytest.fixture(scope="module")
def golden_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in GOLDEN.iterdir()}


@pytest.fixture(scope="module")
def plotted_files() -> dict[str, bytes]:
    return replace(load_model(GOLDEN), reliability_plot=SVG).files


def refused(files: dict[str, bytes], directory: Path, *, match: str) -> None:
    """Both forms of the artifact are refused with the same kind of message."""
    with pytest.raises(ModelError, match=match):
        load_model(write(files, directory))
    with pytest.raises(ModelError, match=match):
        Model.from_bytes(zipped(list(files.items())))


def same_model(left: Model, right: Model) -> bool:
    return (
        left.sha256 == right.sha256
        and left.files == right.files
        and left.text == right.text
        and left.decision == right.decision
        and left.weights.keys() == right.weights.keys()
        and all(np.array_equal(left.weights[name], right.weights[name]) for name in left.weights)
    )


# What is kept.


def test_the_golden_model_keeps_its_name() -> None:
    model = load_model(GOLDEN)
    assert model.sha256 == GOLDEN_SHA256
    assert hashlib.sha256((GOLDEN / DIGESTS).read_bytes()).hexdigest() == GOLDEN_SHA256
    assert replace(model).sha256 == GOLDEN_SHA256, "written anew, the files are the same bytes"
    assert sum(path.stat().st_size for path in GOLDEN.parent.rglob("*") if path.is_file()) < 20_000


@pytest.mark.parametrize("kind", ["sentiment", "language_model"])
def test_the_bundled_models_keep_their_names(kind: Any) -> None:
    """A release may give new models another file, but not those that have a name."""
    directory = bundled_model_path(kind)
    model = load_model(directory, kind=kind)
    assert model.sha256 == hashlib.sha256((directory / DIGESTS).read_bytes()).hexdigest()
    assert replace(model).files == model.files, "written anew, the files are the same bytes"


@pytest.mark.parametrize("kind", ["sentiment", "language_model"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_saving_and_loading_is_the_identity(kind: Any, dtype: Any, tmp_path: Path) -> None:
    model = tiny_model(
        kind=kind, dtype=dtype, card="# Cärd\r\n", metrics={"a": [1, None, 0.1]}, provenance={"b": {"ü": "x"}}
    )
    save_model(model, tmp_path / "first")
    loaded = load_model(tmp_path / "first", kind=kind)
    save_model(loaded, tmp_path / "second")
    assert same_model(loaded, model)
    assert loaded.card == "# Cärd\r\n"
    assert (loaded.metrics, loaded.provenance) == (model.metrics, model.provenance)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second == model.files
    assert loaded.weights["embedding.weight"].dtype == dtype


@settings(max_examples=25)
@given(
    sizes=st.fixed_dictionaries(
        {name: st.integers(1, 9) for name in ("embed_size", "hidden_size")} | {"num_layers": st.integers(1, 3)}
    ),
    kind=st.sampled_from(["sentiment", "language_model"]),
    dtype=st.sampled_from([np.float16, np.float32]),
    words=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1).filter(lambda w: w[0] != "<"),
        max_size=8,
        unique=True,
    ),
    card=st.text(st.characters(exclude_categories=["Cs"])),
    plot=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_bytes_to_model_to_bytes_is_the_identity(
    sizes: dict[str, int], kind: Any, dtype: Any, words: list[str], card: str, plot: str
) -> None:
    fields = {"card": card, "reliability_plot": plot if kind == "sentiment" else ""}
    model = tiny_model(3, kind=kind, dtype=dtype, words=words, **fields, **sizes)
    content = model.to_bytes()
    loaded = Model.from_bytes(content)
    assert same_model(loaded, model)
    assert (loaded.card, loaded.reliability_plot) == (card, fields["reliability_plot"])
    assert (PLOT in loaded.files) == bool(fields["reliability_plot"])
    again = tiny_model(3, kind=kind, dtype=dtype, words=words, **fields, **sizes)
    assert loaded.to_bytes() == content == again.to_bytes() == replace(loaded).to_bytes()


def test_both_forms_are_the_same_model() -> None:
    model = load_model(GOLDEN)
    assert Model.from_bytes(model.to_bytes()).sha256 == GOLDEN_SHA256


def test_the_plot_is_a_file_of_the_model(tmp_path: Path) -> None:
    model = replace(load_model(GOLDEN), reliability_plot=SVG)
    assert model.sha256 != GOLDEN_SHA256
    save_model(model, tmp_path / "model")
    assert (tmp_path / "model" / PLOT).read_bytes() == SVG.encode()
    loaded = load_model(tmp_path / "model")
    assert same_model(loaded, model)
    assert loaded.reliability_plot == SVG
    assert replace(loaded).sha256 == model.sha256 == Model.from_bytes(loaded.to_bytes()).sha256
    lines = (tmp_path / "model" / DIGESTS).read_text().splitlines()
    assert f"{hashlib.sha256(SVG.encode()).hexdigest()}  {PLOT}" in lines
    save_model(replace(loaded, reliability_plot=""), tmp_path / "model")
    assert load_model(tmp_path / "model").sha256 == GOLDEN_SHA256
    assert not (tmp_path / "model" / PLOT).exists()


def test_a_plot_may_be_as_large_as_is_accepted(tmp_path: Path) -> None:
    largest = "é" * (MAX_BYTES[PLOT] // 2)
    model = tiny_model(reliability_plot=largest)
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").reliability_plot == largest
    with pytest.raises(ModelError, match=r"^reliability\.svg: 300,001 bytes are more than the 300,000"):
        tiny_model(reliability_plot=largest + "x")


def test_a_language_model_has_no_plot() -> None:
    with pytest.raises(ModelError, match=r"^reliability\.svg: a language model has no probabilities"):
        tiny_model(kind="language_model", reliability_plot=SVG)


def test_a_model_edited_by_hand_has_the_name_of_its_files(golden_files: dict[str, bytes], tmp_path: Path) -> None:
    """Digests that fit make a valid model, but another one, also if only the layout of a file changed."""
    files = with_digests(
        golden_files | {"metrics.json": b'{"note": NaN}', "config.json": b" " + golden_files["config.json"]}
    )
    model = load_model(write(files, tmp_path / "edited"))
    assert model.sha256 == hashlib.sha256(files[DIGESTS]).hexdigest() != GOLDEN_SHA256
    save_model(model, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert Model.from_bytes(model.to_bytes()).sha256 == model.sha256


# Damage.


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_flipped_byte_of_any_file_is_refused(plotted_files: dict[str, bytes], tmp_path: Path, mask: int) -> None:
    directory = write(plotted_files, tmp_path / "model")
    for name, content in plotted_files.items():
        for position in range(0, len(content), 13 if name == "weights.safetensors" else 3):
            damaged = bytearray(content)
            damaged[position] ^= mask
            (directory / name).write_bytes(damaged)
            with pytest.raises(ModelError, match="match its digest|digests|lists" if name == DIGESTS else f"^{name}: "):
                load_model(directory)
        (directory / name).write_bytes(content)
    assert load_model(directory).sha256 == hashlib.sha256(plotted_files[DIGESTS]).hexdigest()


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_flipped_byte_of_the_bytes_is_refused_or_without_meaning(mask: int) -> None:
    """A zip has a few bytes that mean nothing, such as its dates: with them changed, the model is the same."""
    content = load_model(GOLDEN).to_bytes()
    meaningless = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= mask
        try:
            loaded = Model.from_bytes(bytes(damaged))
        except ModelError:
            continue
        assert loaded.sha256 == GOLDEN_SHA256
        meaningless += 1
    assert meaningless < 400


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_directory_of_the_zip_never_raises_anything_else(changes: list[tuple[int, int]]) -> None:
    content = bytearray(load_model(GOLDEN).to_bytes())
    (start,) = struct.unpack_from("<I", content, content.rindex(b"PK\x05\x06") + 16)
    for position, value in changes:
        content[start + position % (len(content) - start)] = value
    with contextlib.suppress(ModelError):
        assert Model.from_bytes(bytes(content)).sha256 == GOLDEN_SHA256


def test_a_truncated_model_is_refused(plotted_files: dict[str, bytes], tmp_path: Path) -> None:
    content = zipped(list(plotted_files.items()))
    for length in [*range(0, len(content), 37), len(content) - 1]:
        with pytest.raises(ModelError):
            Model.from_bytes(content[:length])
    directory = write(plotted_files, tmp_path / "model")
    for name, whole in plotted_files.items():
        for length in {0, 1, len(whole) // 2, len(whole) - 1}:
            (directory / name).write_bytes(whole[:length])
            with pytest.raises(ModelError, match="match its digest|digests|lists" if name == DIGESTS else f"^{name}: "):
                load_model(directory)
        (directory / name).write_bytes(whole)


@given(st.binary(max_size=200))
@example(b"PK\x05\x06" + b"\0" * 18)
@example(b"PK\x05\x06" + b"\xff" * 18)
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        Model.from_bytes(content)


# Files.


@pytest.mark.parametrize("name", sorted(MAX_BYTES.keys() - {PLOT}))
def test_a_missing_file_is_refused(plotted_files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    files = {other: content for other, content in plotted_files.items() if other != name}
    refused(files, tmp_path / "model", match=f"the file {name} is missing")


def test_a_plot_is_there_exactly_if_the_digests_say_so(
    golden_files: dict[str, bytes], plotted_files: dict[str, bytes], tmp_path: Path
) -> None:
    without = {name: content for name, content in plotted_files.items() if name != PLOT}
    refused(without, tmp_path / "removed", match=rf"^{DIGESTS}: lists .*reliability\.svg")
    refused(golden_files | {PLOT: SVG.encode()}, tmp_path / "added", match=f"^{DIGESTS}: lists")
    refused(plotted_files | {PLOT: b"<svg/>"}, tmp_path / "swapped", match=r"^reliability\.svg: .* match its digest")


@pytest.mark.parametrize(
    "name", ["evil.pkl", "Reliability.svg", "reliability.png", ".hidden", "weights.safetensors.bak", "Config.json"]
)
def test_an_extra_file_is_refused(golden_files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    refused(golden_files | {name: b""}, tmp_path / "model", match=f"unexpected file '{name}'")


def test_a_link_or_a_directory_in_the_place_of_a_file_is_refused(
    golden_files: dict[str, bytes], tmp_path: Path
) -> None:
    directory = write(golden_files, tmp_path / "model")
    (directory / "README.md").rename(tmp_path / "outside")
    (directory / "README.md").symlink_to(tmp_path / "outside")
    with pytest.raises(ModelError, match=r"^README\.md: is not a regular file"):
        load_model(directory)
    (directory / "README.md").unlink()
    (directory / "README.md").mkdir()
    with pytest.raises(ModelError, match=r"^README\.md: is not a regular file"):
        load_model(directory)
    (directory / "README.md").rmdir()
    os.mkfifo(directory / "README.md")
    with pytest.raises(ModelError, match=r"^README\.md: is not a regular file"):
        load_model(directory)


@pytest.mark.parametrize("path", ["none", "file"])
def test_a_model_is_a_directory(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=f"{path}: no such model directory"):
        load_model(tmp_path / path)


def test_a_file_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(ModelError, match=r"README\.md: cannot be read \(Input/output error\)"):
        load_model(GOLDEN)


@pytest.mark.parametrize("name", ["config.json", PLOT, "weights.safetensors", DIGESTS])
def test_an_oversize_file_is_refused_unread(
    plotted_files: dict[str, bytes], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAX_BYTES, name, len(plotted_files[name]) - 1)
    monkeypatch.setattr(Model, "__post_init__", None)  # a model that comes as far as this has been read
    refused(plotted_files, tmp_path / "model", match=rf"^{name}: .* bytes are more than the .* that a model may have")


@pytest.mark.parametrize(
    ("digests", "fault"),
    [
        (lambda lines: [], "lists"),
        (lambda lines: lines[:-1], "lists"),
        (lambda lines: [*lines, lines[0]], "lists"),
        (lambda lines: [line.replace("README.md", "../README.md") for line in lines], "lists"),
        (lambda lines: [line.replace("README.md", "/etc/passwd") for line in lines], "lists"),
        (lambda lines: [*lines, f"{'0' * 64}  {DIGESTS}"], "lists"),
        (lambda lines: [*lines, f"{'0' * 64}  evil"], "lists"),
        (lambda lines: [line.upper() for line in lines], "is not a list of digests"),
        (lambda lines: [line.replace("  ", " *") for line in lines], "is not a list of digests"),
        (lambda lines: ["# comment", *lines], "is not a list of digests"),
        (lambda lines: ["0" * 64 + line[64:] for line in lines], r"README\.md: its content does not match its digest"),
    ],
)  # fmt: skip
def test_a_wrong_list_of_digests_is_refused(
    golden_files: dict[str, bytes], tmp_path: Path, digests: Callable[[list[str]], list[str]], fault: str
) -> None:
    lines = digests(golden_files[DIGESTS].decode().splitlines())
    files = golden_files | {DIGESTS: "".join(f"{line}\n" for line in lines).encode()}
    refused(files, tmp_path / "model", match=fault)


def test_a_changed_file_is_named(golden_files: dict[str, bytes], tmp_path: Path) -> None:
    files = golden_files | {"vocabulary.txt": golden_files["vocabulary.txt"].replace(b"good", b"evil")}
    refused(files, tmp_path / "model", match=r"^vocabulary\.txt: its content does not match its digest")


def test_entries_of_the_zip_are_the_files_and_nothing_else(golden_files: dict[str, bytes]) -> None:
    entries = list(golden_files.items())
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = zipped([*entries, entries[0]])
    for content, fault in [
        (doubled, f"unexpected file '{entries[0][0]}'"),
        (zipped([*entries, ("../evil", b"")]), r"unexpected file '\.\./evil'"),
        (zipped([*entries, ("/etc/passwd", b"")]), "unexpected file '/etc/passwd'"),
        (zipped([(f"../{name}", content) for name, content in entries]), r"unexpected file '\.\./"),
        (zipped([(f"model/{name}", content) for name, content in entries]), "unexpected file 'model/"),
        (zipped(entries, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (zipped([]), "is missing"),
    ]:
        with pytest.raises(ModelError, match=fault):
            Model.from_bytes(content)


# Content, with digests that fit.


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format_version": 2}, r"config\.json: format version 2 is unknown, this release reads 1"),
        ({"format_version": "1"}, r"config\.json: format version '1' is unknown"),
        ({"format_version": ...}, r"config\.json: .*format_version"),
        ({"kind": "pickle"}, r"config\.json: unknown kind 'pickle'"),
        ({"kind": ["sentiment"]}, r"config\.json: unknown kind \['sentiment'\]"),
        ({"kind": "language_model"}, r"weights\.safetensors: "),
        ({"dtype": "float32"}, r"weights\.safetensors: the tensors are float16, config\.json says 'float32'"),
        ({"dtype": ...}, r"weights\.safetensors: the tensors are float16, config\.json says None"),
        ({"architecture__hidden_size": 7}, r"weights\.safetensors: 'lstm\.0\.h2h_bias' has shape"),
        ({"architecture__hidden_size": 6.0}, r"config\.json: hidden_size must be a whole number"),
        ({"architecture__hidden_size": "6"}, r"config\.json: hidden_size must be a whole number"),
        ({"architecture__hidden_size": True}, r"config\.json: hidden_size must be a whole number .* not True"),
        ({"architecture__hidden_size": 10**30}, r"config\.json: hidden_size must be a whole number"),
        ({"architecture__num_layers": 0}, r"config\.json: num_layers must be a whole number from 1 to 100"),
        ({"architecture__num_layers": 10_000_000}, r"config\.json: num_layers must be a whole number from 1 to 100"),
        ({"architecture__num_layers": 3}, r"weights\.safetensors: the tensor 'lstm\.2\..*' is missing"),
        ({"architecture__num_layers": 1}, r"weights\.safetensors: unexpected tensor 'lstm\.1\."),
        ({"architecture__vocab_size": 61}, r"vocabulary\.txt: holds 60 words, but the weights have 61 rows"),
        ({"architecture__vocab_size": None}, r"config\.json: vocab_size must be a whole number"),
        ({"architecture__vocab_size": ...}, r"config\.json: .*vocab_size"),
        ({"architecture__heads": 8}, r"config\.json: .*heads"),
        ({"architecture": []}, r"config\.json: "),
        ({"architecture": None}, r"config\.json: "),
        ({"text__max_tokens": 0}, r"config\.json: .*max_tokens must be a whole number"),
        ({"text__max_tokens": 10**9}, r"config\.json: .*max_tokens must be a whole number"),
        ({"text__max_tokens": True}, r"config\.json: .*max_tokens must be a whole number"),
        ({"text__lower_case": "false"}, r"config\.json: .*lower_case must be true or false"),
        ({"text__language": "en"}, r"config\.json: .*language"),
        ({"text": "settings"}, r"config\.json: "),
        ({"decision__slope": 0}, r"config\.json: the calibration needs a positive slope"),
        ({"decision__slope": -1.0}, r"config\.json: the calibration needs a positive slope"),
        ({"decision__slope": float("nan")}, r"config\.json: the calibration needs a positive slope"),
        ({"decision__intercept": float("inf")}, r"config\.json: the calibration needs a positive slope"),
        ({"decision__slope": "1"}, r"config\.json: "),
        ({"decision__slope": 10**400}, r"config\.json: "),
        ({"decision__negative_below": 0}, r"config\.json: the cut-offs must satisfy"),
        ({"decision__negative_below": 0.7}, r"config\.json: the cut-offs must satisfy"),
        ({"decision__positive_from": 1}, r"config\.json: the cut-offs must satisfy"),
        ({"decision__positive_from": float("nan")}, r"config\.json: the cut-offs must satisfy"),
        ({"decision__positive_from": None}, r"config\.json: "),
        ({"decision": ...}, r"config\.json: .*decision"),
        ({"provenance": ...}, r"config\.json: .*provenance"),
        ({"provenance": []}, r"config\.json: "),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_wrong_configuration_is_refused(
    golden_files: dict[str, bytes], tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    refused(edited(golden_files, **changes), tmp_path / "model", match=f"^{fault}")


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"null", b"[]", b"1", b'"text"', b"NaN", b"\xff\xfe", b"{}{}", b'{"a": ' + b"9" * 5_000 + b"}"),
        *(b"[" * 100_000, b'{"a":' * 100_000),
    ],
    ids=lambda content: content[:8].decode(errors="replace"),
)
def test_hostile_json_is_refused(golden_files: dict[str, bytes], tmp_path: Path, name: str, content: bytes) -> None:
    refused(with_digests(golden_files | {name: content}), tmp_path / "model", match=f"^{name}: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocabulary.txt", b""),
        ("vocabulary.txt", b"<unk>\n<pad>\n<bos>\n<eos>\na\xff\n"),
        ("vocabulary.txt", b"<unk>\n<pad>\n<bos>\n<eos>\nthe\nthe\n"),
        ("vocabulary.txt", b"<unk>\r\n<pad>\r\n<bos>\r\n<eos>\r\n"),
        ("vocabulary.txt", b"the\na\n"),
        ("README.md", b"\xff"),
        (PLOT, b"\xff"),
        (PLOT, b""),
        ("weights.safetensors", b""),
        ("weights.safetensors", b"\x80\x04N."),
        ("weights.safetensors", b"\xff" * 8),
        ("weights.safetensors", struct.pack("<Q", 2**40) + b"{}"),
        ("weights.safetensors", struct.pack("<Q", 2) + b"[]"),
        ("weights.safetensors", struct.pack("<Q", 2) + b"{}"),
    ],
    ids=str,
)
def test_other_unreadable_content_is_refused_by_the_name_of_its_file(
    golden_files: dict[str, bytes], tmp_path: Path, name: str, content: bytes
) -> None:
    refused(with_digests(golden_files | {name: content}), tmp_path / "model", match=f"^{name}: ")


@pytest.mark.parametrize("change", ["one more", "one less", "no last line break"])
def test_the_vocabulary_fits_the_weights(golden_files: dict[str, bytes], tmp_path: Path, change: str) -> None:
    words = golden_files["vocabulary.txt"]
    other = {
        "one more": words + b"more\n",
        "one less": words[: words[:-1].rindex(b"\n") + 1],
        "no last line break": words[:-1],
    }
    refused(
        with_digests(golden_files | {"vocabulary.txt": other[change]}),
        tmp_path / "model",
        match=r"^vocabulary\.txt: holds (59|61) words, but the weights have 60 rows",
    )


HALF = np.float16


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"output__bias": None}, "the tensor 'output.bias' is missing"),
        ({"decoder__bias": np.zeros(60, HALF)}, "unexpected tensor 'decoder.bias' for a sentiment model"),
        ({"output__bias": np.zeros(2, HALF)}, r"'output\.bias' has shape \(2,\), expected \(1,\)"),
        ({"output__bias": np.zeros((), HALF)}, r"'output\.bias' has shape \(\), expected \(1,\)"),
        ({"output__weight": np.zeros(6, HALF)}, r"'output\.weight' has shape \(6,\), expected \(1, 6\)"),
        (
            {"embedding__weight": np.zeros((6, 60), HALF)},
            r"'embedding\.weight' has shape \(6, 60\), expected \(60, 6\)",
        ),
        ({"output__bias": np.zeros(1, np.int8)}, "'output.bias' is int8, expected float16 or float32"),
        ({"output__bias": np.zeros(1, np.float64)}, "'output.bias' is float64, expected float16 or float32"),
        ({"output__bias": np.zeros(1, bool)}, "'output.bias' is bool, expected float16 or float32"),
        ({"output__bias": np.zeros(1, np.float32)}, "the tensors are of different types"),
        ({"output__bias": np.array([np.nan], HALF)}, "'output.bias' holds values that are not finite"),
        ({"output__bias": np.array([-np.inf], HALF)}, "'output.bias' holds values that are not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_tensors_are_refused(
    golden_files: dict[str, bytes], tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    refused(reweighted(golden_files, **changes), tmp_path / "model", match=f"^weights.safetensors: {fault}")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "U16"])
def test_types_that_numpy_lacks_are_refused(golden_files: dict[str, bytes], tmp_path: Path, dtype: str) -> None:
    header = json.dumps({"output.bias": {"dtype": dtype, "shape": [1], "data_offsets": [0, 1 if "8" in dtype else 2]}})
    content = struct.pack("<Q", len(header)) + header.encode() + b"\0" * (1 if "8" in dtype else 2)
    refused(
        with_digests(golden_files | {"weights.safetensors": content}),
        tmp_path / "model",
        match="^weights.safetensors: ",
    )


@pytest.mark.parametrize(("is_kind", "needed"), [("language_model", "sentiment"), ("sentiment", "language_model")])
def test_a_model_of_the_other_kind_is_refused(tmp_path: Path, is_kind: Any, needed: Any) -> None:
    save_model(tiny_model(kind=is_kind), tmp_path / "model")
    with pytest.raises(ModelError, match=f"is a {is_kind} artifact, but a {needed} artifact is needed here"):
        load_model(tmp_path / "model", kind=needed)


@pytest.mark.parametrize("wrong", [0, -1, 10_000_001, 2.0, "2", None, True, float("nan")])
def test_sizes_are_whole_numbers(wrong: Any) -> None:
    with pytest.raises(ModelError, match="embed_size must be a whole number from 1 to 10,000,000, not"):
        Architecture(vocab_size=5, embed_size=wrong)


@given(st.floats(-1e30, 1e30), st.floats(1e-3, 50), st.floats(-10, 10))
def test_a_probability_is_finite_and_grows_with_the_logit(logit: float, slope: float, intercept: float) -> None:
    decision = Decision(slope=slope, intercept=intercept)
    with np.errstate(all="raise", under="ignore"):
        lower, higher = decision.probability(np.array([logit, logit + abs(logit) + 1], np.float64))
    assert 0 <= lower <= higher <= 1
    assert decision.probability(np.array([-intercept / slope]))[0] == pytest.approx(0.5)


# Saving.


def test_saving_replaces_a_model_or_an_empty_directory(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    for model in (tiny_model(1), tiny_model(2)):
        save_model(model, str(target))
        assert load_model(target).sha256 == model.sha256
    (tmp_path / "empty").mkdir()
    save_model(tiny_model(1), tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("names", [["notes.txt"], ["README.md"], ["SHA256SUMS", "debian.iso"], ["config.json", ".git"]])
def test_saving_spares_directories_of_others(tmp_path: Path, names: list[str]) -> None:
    """A directory of downloads, say, has a SHA256SUMS too."""
    for name in names:
        (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match="exists and is not a model; name a new directory"):
        save_model(tiny_model(), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "precious")


def test_saving_spares_files(tmp_path: Path) -> None:
    for name in ("file", "config.json", DIGESTS):
        (tmp_path / name).write_text("precious")
        with pytest.raises(UsageError, match="exists and is not a model"):
            save_model(tiny_model(), tmp_path / name)
        assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("n_written", range(len(MAX_BYTES)))
def test_an_interrupted_save_leaves_the_old_model_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    old, new = tiny_model(1), tiny_model(2, reliability_plot=SVG)
    save_model(old, tmp_path / "model")
    written: list[Path] = []

    def full_disk(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > n_written:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_durably(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "write_durably", full_disk)
        with pytest.raises(EnvironmentFault, match=r"model cannot be written \(No space left on device\); make room"):
            save_model(new, tmp_path / "model")
    assert load_model(tmp_path / "model").sha256 == old.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    save_model(new, tmp_path / "model")
    assert load_model(tmp_path / "model").sha256 == new.sha256


def test_a_model_that_cannot_get_its_name_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tiny_model(1)
    save_model(old, tmp_path / "model")
    rename = Path.rename

    def refused(path: Path, to: Path) -> Path:
        if path.name == ".model.new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(EnvironmentFault, match="model cannot be written"):
            save_model(tiny_model(2), tmp_path / "model")
    assert load_model(tmp_path / "model").sha256 == old.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_an_interrupted_save_left_is_no_obstacle(tmp_path: Path) -> None:
    for left in (".model.new", ".model.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "config.json").write_text("half")
    save_model(tiny_model(1), tmp_path / "model")
    save_model(tiny_model(2), tmp_path / "model")
    assert load_model(tmp_path / "model").sha256 == tiny_model(2).sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(Path, "rename", lambda path, to: (calls.append("rename"), rename(path, to))[1])
    model = tiny_model()
    save_model(model, tmp_path / "model")
    assert calls == ["fsync"] * len(model.files) + ["rename"]


def test_a_place_that_cannot_be_made_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_target(tmp_path / "new" / "folder" / "model").parent.is_dir()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match=r"file/model cannot be made \(.+\); name another place with --output"):
        check_target(tmp_path / "file" / "model")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # nothing is forbidden to root
    with pytest.raises(UsageError, match="cannot be written; name another place with --output"):
        check_target(tmp_path / "model")


def test_a_model_with_what_json_cannot_hold_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(tiny_model(metrics={"loss": float("nan")}), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_model_checks_itself_on_construction() -> None:
    model = tiny_model()
    for weights in (
        {},
        dict(model.weights) | {"x": np.zeros(1)},
        {name: 0.0 * w + np.nan for name, w in model.weights.items()},
    ):
        with pytest.raises(ModelError, match=r"weights\.safetensors"):
            replace(model, weights=weights)
    with pytest.raises(ModelError, match=r"vocabulary\.txt"):
        replace(model, architecture=replace(model.architecture, vocab_size=7))
    assert replace(model, text=replace(model.text, settings=TextSettings(max_tokens=7))).sha256 != model.sha256
