"""The few file operations that publishing rests on, and how this machine does them.

A path is relative to the root, its parts divided by slashes; the empty path is the root. This machine's files are
reached without Hadoop, whose local file system creates files in two steps and cannot exchange two folders.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Protocol

__all__ = ["FileSystem", "LocalFileSystem"]


class FileSystem(Protocol):
    """What a publication asks of the place that it writes to; an operation is atomic unless it says otherwise."""

    def list(self, folder: str) -> dict[str, int | None]:
        """Names and sizes of what is in a folder, in order; the size of a folder is None. Empty if there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""

    def modified(self, path: str) -> float | None:
        """When a file was last written, in seconds by the file system's own clock; None if there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and the folders above it; a reader may find it empty or cut for a moment."""

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, where they are missing; not atomic."""

    def rename(self, source: str, target: str) -> None:
        """Give a file or folder a name that is free, in a folder that exists.

        Raises
        ------
        FileExistsError, FileNotFoundError
        """

    def exchange(self, one: str, other: str) -> bool:
        """Let two files or two folders change places; False, and nothing done, where the system cannot."""

    def delete(self, path: str) -> None:
        """Remove a file, or a folder file by file; nothing if there is none."""

    def remove_empty(self, folder: str) -> None:
        """Remove a folder if nothing is in it."""


class LocalFileSystem:
    """Folders of this machine.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, folder: str) -> dict[str, int | None]:
        """See `FileSystem`."""
        found: dict[str, int | None] = {}
        try:
            paths = sorted((self._root / folder).iterdir())
        except FileNotFoundError:
            return found
        for path in paths:
            try:
                found[path.name] = None if path.is_dir() else path.lstat().st_size
            except FileNotFoundError:  # it went while the folder was read
                continue
        return found

    def exists(self, path: str) -> bool:
        """See `FileSystem`."""
        return (self._root / path).exists()

    def read(self, path: str) -> bytes | None:
        """See `FileSystem`."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def modified(self, path: str) -> float | None:
        """See `FileSystem`."""
        try:
            return (self._root / path).stat().st_mtime
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """See `FileSystem`."""
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        with (self._root / path).open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def make_folder(self, path: str) -> None:
        """See `FileSystem`."""
        (self._root / path).mkdir(parents=True, exist_ok=True)

    def rename(self, source: str, target: str) -> None:
        """See `FileSystem`."""
        if not rename_by_kernel(self._root / source, self._root / target, flag=_NO_REPLACE):
            if (self._root / source).exists() and (self._root / target).exists():
                raise FileExistsError(errno.EEXIST, "there is something of that name", str(self._root / target))
            (self._root / source).rename(self._root / target)

    def exchange(self, one: str, other: str) -> bool:
        """See `FileSystem`."""
        return rename_by_kernel(self._root / one, self._root / other, flag=_EXCHANGE)

    def delete(self, path: str) -> None:
        """See `FileSystem`."""
        found = self._root / path
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)

    def remove_empty(self, folder: str) -> None:
        """See `FileSystem`."""
        try:
            (self._root / folder).rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise


# Of renameat2(2), in Linux since 3.15; Python has no call for it.
_NO_REPLACE, _EXCHANGE = 1, 2
_AT_FDCWD = -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def rename_by_kernel(source: Path, target: Path, *, flag: int) -> bool:
    """Linux's rename with a flag; False where the system or the file system has none."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flag)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
