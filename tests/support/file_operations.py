"""Random operations on a file system, the same for every kind of it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from jobs.storage.files import FileSystem

_FOLDERS = ("a", "b", "a/b", "b/a", "a/b/a", "_c d", "x=%2F:1")
_FILES = ("f", "a/f", "a/g", "b/f", "a/b/f", "_c d/g", "x=%2F:1/f")


def _pairs(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, str]]:
    """Two names of which neither lies in the other."""
    pairs = [
        (one, other) for one in names for other in names if not f"{one}/".startswith(f"{other}/")
        and not f"{other}/".startswith(f"{one}/")
    ]  # fmt: skip
    return st.sampled_from(pairs)


def operations() -> st.SearchStrategy[list[tuple[str, tuple[Any, ...]]]]:
    """Names of methods and their arguments."""
    both = st.sampled_from(_FOLDERS + _FILES)
    folders, files = st.sampled_from(_FOLDERS), st.sampled_from(_FILES)
    kinds = {
        "write": st.tuples(files, st.sampled_from([b"", b"one", b"other"])),
        "make_folder": st.tuples(folders),
        "rename": _pairs(_FOLDERS) | _pairs(_FILES),
        "exchange": _pairs(_FOLDERS) | _pairs(_FILES),
        "delete": st.tuples(both),
        "remove_empty": st.tuples(folders),
        "list": st.tuples(folders),
        "exists": st.tuples(both),
        "read": st.tuples(files),
    }
    one = st.one_of(*(st.tuples(st.just(name), arguments) for name, arguments in kinds.items()))
    return st.lists(one, max_size=25)


def perform(fs: FileSystem, steps: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    """What each operation returned or raised."""
    found: list[Any] = []
    for name, arguments in steps:
        try:
            found.append(getattr(fs, name)(*arguments))
        except OSError as error:
            found.append(type(error))
    return found


def tree(fs: FileSystem, folder: str = "") -> dict[str, bytes | None]:
    """Contents by path."""
    found: dict[str, bytes | None] = {}
    for name, size in fs.list(folder).items():
        path = f"{folder}/{name}" if folder else name
        if size is None:
            found |= {path: None} | tree(fs, path)
        else:
            found[path] = fs.read(path)
    return found
