"""Damaged and hostile models: each mutation takes a sound model's files and makes one that must not load."""

from __future__ import annotations

import json
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_core.artifact import DIGESTS, MAX_BYTES, Model, load_model
from tests.support.artifacts import edited, reweighted, with_digests, write, zipped

Files = dict[str, bytes]
# Loads the mutant, given a place for its directory.
Loading = Callable[[Path], Model]
Mutation = Callable[[random.Random, Files], Loading]

_WEIGHTS, _CONFIG, _METRICS, _WORDS = "weights.safetensors", "config.json", "metrics.json", "vocabulary.txt"
_HUGE = [2**31, 2**63, 2**64, 10**30, 10**400, -1, -(2**63), 1e308, -1e308, 5e-324]
_WRONG = [None, True, False, "", "1", "x" * 300_000, [], [1], {}, {"a": 1}, 1.5, float("nan"), float("inf"), *_HUGE]
# Per setting, values that are of its type and that no model may have.
_SETTINGS: dict[str, list[Any]] = {
    "format_version": [0, 2, 10**30],
    "kind": ["Sentiment", "pickle", "language_model"],
    "dtype": ["float32", "float64", "bfloat16"],
    "architecture__vocab_size": [0, 59, 61, 10_000_000],
    "architecture__embed_size": [0, 5, 7, 10_000_000],
    "architecture__hidden_size": [0, 5, 7, 10_000_000],
    "architecture__num_layers": [0, 1, 3, 100, 101],
    "text__max_tokens": [0, 100_001],
    "text__lower_case": [],
    "text__missing_words": [],
    "text__skip_addresses": [],
    "text__undo_slips": [],
    "text__rules": [0, 2, True],
    "decision__slope": [0, 0.0, -1.1],
    "decision__intercept": [],
    "decision__negative_below": [0, 0.0, 0.66, 1, 2],
    "decision__positive_from": [0, 0.34, 1, 2],
    "provenance": [],
}
# What is wrong for most settings and right for these.
_RIGHT: dict[str, tuple[type, ...]] = {
    "text__lower_case": (bool,),
    "text__missing_words": (bool, type(None)),
    "text__skip_addresses": (bool, type(None)),
    "text__undo_slips": (bool, type(None)),
    "text__rules": (type(None),),
    "decision__slope": (int, float),
    "decision__intercept": (int, float),
    "provenance": (dict,),
}
# Older models lack it.
_OPTIONAL = {"text__missing_words", "text__skip_addresses", "text__undo_slips", "text__rules"}


def directory(files: Files) -> Loading:
    return lambda place: load_model(write(files, place))


def archive(content: bytes) -> Loading:
    return lambda place: Model.from_bytes(content)


def either(rng: random.Random, files: Files) -> Loading:
    return directory(files) if rng.random() < 0.5 else archive(zipped(list(files.items())))


def flipped(rng: random.Random, content: bytes) -> bytes:
    """With one to eight bits changed."""
    damaged = bytearray(content)
    for bit in rng.sample(range(8 * len(content)), rng.randint(1, min(8, 8 * len(content)))):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def flipped_file(rng: random.Random, files: Files) -> Loading:
    name = rng.choice(sorted(files))
    return directory(files | {name: flipped(rng, files[name])})


def flipped_archive(rng: random.Random, files: Files) -> Loading:
    return archive(flipped(rng, zipped(list(files.items()))))


def flipped_archive_directory(rng: random.Random, files: Files) -> Loading:
    """In the zip's own structures: names, sizes, places, checksums."""
    content = zipped(list(files.items()))
    (start,) = struct.unpack_from("<I", content, content.rindex(b"PK\x05\x06") + 16)
    return archive(content[:start] + flipped(rng, content[start:]))


def truncated(rng: random.Random, files: Files) -> Loading:
    if rng.random() < 0.5:
        content = zipped(list(files.items()))
        return archive(content[: rng.randrange(len(content))])
    name = rng.choice(sorted(files))
    return directory(files | {name: files[name][: rng.randrange(len(files[name]))]})


def extended(rng: random.Random, files: Files) -> Loading:
    name = rng.choice(sorted(files))
    more = rng.choice([b"\0", b"\n", b" ", files[name], rng.randbytes(rng.randint(1, 5_000))])
    return either(rng, files | {name: files[name] + more})


def swapped(rng: random.Random, files: Files) -> Loading:
    """Two files in each other's place, with digests that fit or not."""
    one, other = rng.sample(sorted(files.keys() - {DIGESTS}), 2)
    changed = files | {one: files[other], other: files[one]}
    return either(rng, with_digests(changed) if rng.random() < 0.5 else changed)


def of_another_model(rng: random.Random, files: Files) -> Loading:
    """A file of another model, as a copy that was interrupted leaves it."""
    weights = {"output__bias": np.array([rng.random()], np.float16)}
    name, other = rng.choice(
        [
            (_WEIGHTS, reweighted(files, **weights)),
            (_CONFIG, edited(files, decision__slope=1 + rng.random())),
            (_METRICS, files | {_METRICS: json.dumps({"loss": rng.random()}).encode()}),
            (_WORDS, files | {_WORDS: files[_WORDS].replace(b"\n", b"\n%d" % rng.randrange(10**6), 9)}),
            (DIGESTS, edited(files, provenance={"a": rng.random()})),
        ]
    )
    return either(rng, files | {name: other[name]})


def hostile_setting(rng: random.Random, files: Files) -> Loading:
    """A value that no model may have, of an extreme size or of another type; digests that fit."""
    name = rng.choice(sorted(_SETTINGS))
    right = _RIGHT.get(name, ())
    # A number is right in the place of a number, but for truth values and what no float holds.
    wrong = [value for value in _WRONG if type(value) not in right or value in (10**400,) or value != value]
    if name == "decision__slope":
        wrong.append(float("inf"))
    return either(rng, edited(files, **{name: rng.choice(_SETTINGS[name] + wrong)}))


def missing_or_unknown_setting(rng: random.Random, files: Files) -> Loading:
    if rng.random() < 0.5:
        return either(rng, edited(files, **{rng.choice(sorted(_SETTINGS.keys() - _OPTIONAL)): ...}))
    part = rng.choice(["architecture__", "text__", "decision__"])
    return either(rng, edited(files, **{f"{part}{rng.choice(['heads', 'Slope', '', 'x' * 5_000])}": 1}))


def hostile_json(rng: random.Random, files: Files) -> Loading:
    name = rng.choice([_CONFIG, _METRICS])
    deep = rng.randint(1_000, 200_000)
    content = rng.choice(
        [
            *(b"", b"null", b"[]", b"0", b'""', b"NaN", b"\xff\xfe", b"{}{}", b"{", files[name][:-2], b"\0" * 1_000),
            *(b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep, b'{"a": ' + b"9" * 5_000 + b"}"),
            *(b"[" + b"{}," * 300_000 + b"{}]", b'"' + b"x" * 900_000 + b'"', b'{"\\ud800": 1', b'{"a": 01}'),
        ]
    )
    return either(rng, with_digests(files | {name: content}))


def hostile_words(rng: random.Random, files: Files) -> Loading:
    lines = files[_WORDS].split(b"\n")
    place = rng.randrange(len(lines) - 1)
    wrong = rng.choice([b"", b"a b", b"\xff", lines[place - 1], b"a\r", b"a\n", b"\xe2\x80\xa8", b"a\0b\n", b"a\tb"])
    lines[place] = wrong
    content = rng.choice([b"\n".join(lines), b"\n".join(lines[4:]), b"\n" * rng.randint(0, 500_000), b"x" * 500_000])
    return either(rng, with_digests(files | {_WORDS: content}))


def hostile_tensors(rng: random.Random, files: Files) -> Loading:
    """A header of the weights that declares what is not there; digests that fit."""
    (size,) = struct.unpack_from("<Q", files[_WEIGHTS])
    header = json.loads(files[_WEIGHTS][8 : 8 + size])
    data = files[_WEIGHTS][8 + size :]
    name = rng.choice(sorted(header.keys() - {"__metadata__"}))
    entry = header[name]
    start, end = entry["data_offsets"]
    change: dict[str, list[Any]] = {
        "shape": [[10**12], [2**63 - 1, 2], [10**6] * 30, [-1], [0], [], [1.5], ["1"], None, [[1]], [2**64]],
        "dtype": ["F64", "I8", "BOOL", "BF16", "F8_E4M3", "f16", "", None, 1, "O"],
        "data_offsets": [[0, 0], [end, start], [start, end + 2], [-2, end], [0, 10**15], [start], None, [2**64, 2**64]],
    }
    field = rng.choice(sorted(change))
    header[name] = entry | {field: rng.choice(change[field])}
    text = json.dumps(header).encode()
    length = rng.choice([len(text)] * 6 + [0, 1, len(text) + 1, len(text) - 1, 2**32, 2**63, 2**64 - 1])
    return either(rng, with_digests(files | {_WEIGHTS: struct.pack("<Q", length) + text + data}))


def wrong_tensors(rng: random.Random, files: Files) -> Loading:
    half = np.float16
    tensor = rng.choice(
        [
            {"output__bias": np.array([rng.choice([np.nan, np.inf, -np.inf])], half)},
            {"output__bias": np.zeros(rng.randint(2, 9), half)},
            {"output__weight": np.zeros((rng.randint(2, 9), 6), half)},
            {"embedding__weight": np.zeros((60, rng.randint(7, 60)), half)},
            {f"lstm__{rng.randrange(2)}__i2h_bias": None},
            {f"lstm__{rng.randint(2, 99)}__i2h_bias": np.zeros(24, half)},
            {"output__bias": np.zeros(1, rng.choice(["f4", "f8", "i1", "u1", "i8", "?"]))},
        ]
    )
    return either(rng, reweighted(files, **tensor))


def other_files(rng: random.Random, files: Files) -> Loading:
    name = rng.choice(sorted(files))
    extra = rng.choice(
        ["evil.pkl", "../evil", "/etc/passwd", name.upper(), f"./{name}", f"{name}~", "a/b", "\u202etxt"]
    )
    kind = rng.randrange(4)
    if kind == 0:
        return either(rng, {other: content for other, content in files.items() if other != name})
    if kind == 1:
        return archive(zipped([*files.items(), (extra, rng.randbytes(20))]))
    if kind == 2:
        return archive(zipped([(f"{rng.choice(['../', '/', 'model/', './'])}{n}", c) for n, c in files.items()]))
    return directory(files | {extra.replace("/", "_"): b""})


def no_plain_file(rng: random.Random, files: Files) -> Loading:
    """A link, a folder, a pipe, a socket or nothing in a file's place."""
    name = rng.choice(sorted(files))
    kind = rng.choice(["link", "dead link", "loop", "folder", "pipe", "device"])

    def load(place: Path) -> Model:
        target = write(files, place) / name
        target.rename(place.parent / "outside")
        if kind == "link":
            target.symlink_to(place.parent / "outside")
        elif kind == "dead link":
            target.symlink_to(place.parent / "nowhere")
        elif kind == "loop":
            target.symlink_to(target)
        elif kind == "folder":
            target.mkdir()
        elif kind == "pipe":
            os.mkfifo(target)
        else:
            target.symlink_to("/dev/zero")
        return load_model(place)

    return load


def hostile_digests(rng: random.Random, files: Files) -> Loading:
    lines = files[DIGESTS].decode().splitlines()
    place = rng.randrange(len(lines))
    digest, name = lines[place].split("  ")
    lines[place] = rng.choice(
        [
            *(f"{digest.upper()}  {name}", f"{digest} *{name}", f"{digest[:-1]}  {name}", f"{digest}  ../{name}"),
            *(f"{'0' * 64}  {name}", f"{digest}  /etc/passwd", f"# {lines[place]}", "", f"{digest}  {name}\r"),
            *(f"{digest}  {name}\n{digest}  {name}", f"{digest}  {'x' * 3_000}", f"{digest}  \ud800"),
        ]
    )
    content = "".join(f"{line}\n" for line in lines).encode(errors="surrogatepass")
    return either(rng, files | {DIGESTS: content})


def hostile_archive(rng: random.Random, files: Files) -> Loading:
    """Entries twice, compressed, encrypted, or of sizes that are not theirs."""
    entries = list(files.items())
    kind = rng.randrange(5)
    if kind == 0:
        with warnings.catch_warnings(action="ignore"):
            return archive(zipped([*entries, rng.choice(entries)]))
    if kind == 1:
        return archive(zipped(entries, compression=rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])))
    if kind == 2:  # a bomb
        name = rng.choice(sorted(files))
        bomb = b"\0" * rng.randint(10**6, 10**7)
        return archive(zipped([*(files | {name: bomb}).items()], compression=zipfile.ZIP_DEFLATED))
    content = bytearray(zipped(entries))
    (start,) = struct.unpack_from("<I", content, content.rindex(b"PK\x05\x06") + 16)
    entry = start
    for _ in range(rng.randrange(len(entries))):
        name_size, extra_size, comment_size = struct.unpack_from("<HHH", content, entry + 28)
        entry += 46 + name_size + extra_size + comment_size
    if kind == 3:
        content[entry + 8] |= 1  # encrypted
    else:
        size = rng.choice([0, 1, 2**31, 2**32 - 2, 2**32 - 1])
        struct.pack_into("<II", content, entry + 20, size, size)
    return archive(bytes(content))


def huge_file(rng: random.Random, files: Files) -> Loading:
    """Beyond the bound of its name; a hole, so that it takes no place."""
    name = rng.choice(sorted(files))

    def load(place: Path) -> Model:
        with (write(files, place) / name).open("r+b") as file:
            file.truncate(MAX_BYTES[name] + rng.randint(1, 2**40))
        return load_model(place)

    return load


# Of a zip, some bits mean nothing, such as its dates: with them changed, it is the same model.
MAY_MEAN_NOTHING = {"flipped_archive", "flipped_archive_directory"}
MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        *(flipped_file, flipped_archive, flipped_archive_directory, truncated, extended, swapped, of_another_model),
        *(hostile_setting, missing_or_unknown_setting, hostile_json, hostile_words, hostile_tensors, wrong_tensors),
        *(other_files, no_plain_file, hostile_digests, hostile_archive, huge_file),
    )
}
