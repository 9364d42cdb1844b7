"""The file operations of publishing, on any file system that Hadoop knows."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError

from jobs.storage.java import HADOOP_PATH, java_class

__all__ = ["HadoopFileSystem"]


class HadoopFileSystem:
    """Any place that Hadoop has a file system for.

    Parameters
    ----------
    jvm : JVMView
    fs, root : JavaObject
        Hadoop's FileSystem, and the Path of the root there.
    """

    def __init__(self, jvm: Any, *, fs: Any, root: Any) -> None:
        self._fs, self._root = fs, root
        self._a_path, self._uri = java_class(jvm, HADOOP_PATH), java_class(jvm, "java.net.URI")
        self._streams = java_class(jvm, "org.apache.commons.io.IOUtils")

    def list(self, folder: str) -> dict[str, int | None]:
        """See `jobs.storage.files.FileSystem`."""
        try:
            with _python_errors():
                found = self._fs.listStatus(self._path(folder))
        except FileNotFoundError:
            return {}
        sizes = {status.getPath().getName(): None if status.isDirectory() else status.getLen() for status in found}
        return dict(sorted(sizes.items()))

    def exists(self, path: str) -> bool:
        """See `jobs.storage.files.FileSystem`."""
        with _python_errors():
            return bool(self._fs.exists(self._path(path)))

    def read(self, path: str) -> bytes | None:
        """See `jobs.storage.files.FileSystem`."""
        try:
            with _python_errors():
                stream = self._fs.open(self._path(path))
                try:
                    return bytes(self._streams.toByteArray(stream))
                finally:
                    stream.close()
        except FileNotFoundError:
            return None

    def modified(self, path: str) -> float | None:
        """See `jobs.storage.files.FileSystem`."""
        try:
            with _python_errors():
                return float(self._fs.getFileStatus(self._path(path)).getModificationTime()) / 1000
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """See `jobs.storage.files.FileSystem`."""
        with _python_errors():
            stream = self._fs.create(self._path(path), True)
            try:
                stream.write(bytearray(content))
            finally:
                stream.close()

    def make_folder(self, path: str) -> None:
        """See `jobs.storage.files.FileSystem`."""
        with _python_errors():
            self._fs.mkdirs(self._path(path))

    def rename(self, source: str, target: str) -> None:
        """See `jobs.storage.files.FileSystem`."""
        # Hadoop would move a folder into a folder of that name, and answers most failures with a plain no.
        if not self.exists(source):
            raise FileNotFoundError(errno.ENOENT, "there is nothing of that name", source)
        if self.exists(target):
            raise FileExistsError(errno.EEXIST, "there is something of that name", target)
        if not self.exists(target.rpartition("/")[0]):
            raise FileNotFoundError(errno.ENOENT, "there is no folder for it", target)
        with _python_errors():
            done = self._fs.rename(self._path(source), self._path(target))
        if not done:
            raise PermissionError(errno.EACCES, "cannot be renamed; check permissions", source, None, target)

    def exchange(self, one: str, other: str) -> bool:
        """No file system of Hadoop's can."""
        return False

    def delete(self, path: str) -> None:
        """See `jobs.storage.files.FileSystem`."""
        with _python_errors():
            self._fs.delete(self._path(path), True)

    def remove_empty(self, folder: str) -> None:
        """See `jobs.storage.files.FileSystem`."""
        if self.exists(folder) and not self.list(folder):
            with suppress(OSError), _python_errors():  # something came into it
                self._fs.delete(self._path(folder), False)

    def _path(self, path: str) -> Any:
        found = self._root
        for name in filter(None, path.split("/")):
            # A name may hold a colon or an escape that Path's parsing constructor would change.
            uri = self._uri(None, None, "./" + name, None)
            found = self._a_path(found, self._a_path(uri))
        return found


@contextmanager
def _python_errors() -> Iterator[None]:
    """Raise Java's complaints about files as Python's."""
    try:
        yield
    except Py4JJavaError as error:
        java = error.java_exception
        kind = java.getClass().getSimpleName()
        if kind in ("FileNotFoundException", "NoSuchFileException"):
            raise FileNotFoundError(errno.ENOENT, str(java.getMessage())) from error
        raise OSError(errno.EIO, f"{kind}: {java.getMessage()}") from error
    except Py4JError as error:
        raise OSError(errno.EIO, "Spark's JVM does not answer") from error
