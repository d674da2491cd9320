"""What a path can do: local disks, and cloud storage (`gs://`) through `tf.io.gfile`.

A local path is a `pathlib.Path`: it can be flushed, renamed and locked. An address with a scheme is
a `StoredPath`. Object stores have none of the three; there an object appears whole, or not at all,
when its writer closes it, so what consists of several objects ends with a marker.

Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias


class StoredPath(os.PathLike):
    """The part of `pathlib.Path` that folders of results need, on any file system of TensorFlow.

    Errors are those of `pathlib`: FileNotFoundError for what is not there, else OSError.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def __fspath__(self) -> str:
        return self._address

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"StoredPath({self._address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredPath) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __truediv__(self, name: str | os.PathLike[str]) -> StoredPath:
        return StoredPath(f"{self._address}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self._address.rpartition("/")[2]

    @property
    def parent(self) -> StoredPath:
        """The folder it is in."""
        return StoredPath(self._address.rpartition("/")[0])

    def with_name(self, name: str) -> StoredPath:
        """Another name in the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        return self._call("exists")

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self._call("isdir")

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self.exists() and not self.is_dir()

    def iterdir(self) -> Iterator[StoredPath]:
        """What is in the folder."""
        return (self / name.rstrip("/") for name in self._call("listdir"))

    def walk(self) -> Iterator[str]:
        """Names of all objects in the folder and those below it, relative to it; none if it is not
        there."""
        with _os_errors() as gfile:
            for parent, _, names in gfile.walk(self._address):
                below = parent.rstrip("/")[len(self._address) :].lstrip("/")
                yield from (f"{below}/{name}" if below else name for name in sorted(names))

    def stat(self) -> SimpleNamespace:
        """`st_size`, in bytes."""
        return SimpleNamespace(st_size=self._call("stat").length)

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Makes the folder; on object stores folders need no making, so nothing can be refused."""
        del parents, exist_ok
        self._call("makedirs")

    def rename(self, target: StoredPath) -> StoredPath:
        """Moves an object (by a copy: not atomic)."""
        self._call("rename", target._address, overwrite=True)
        return target

    def copy_to(self, target: Path) -> None:
        """Writes the object to a local file, which it replaces."""
        self._call("copy", os.fspath(target), overwrite=True)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes an object."""
        if not missing_ok or self.exists():
            self._call("remove")

    def rmtree(self) -> None:
        """Removes a folder, if it is there, with all that is in it."""
        with contextlib.suppress(FileNotFoundError):
            self._call("rmtree")

    def read_bytes(self) -> bytes:
        """The object's content."""
        with _os_errors() as gfile, gfile.GFile(self._address, "rb") as file:
            return file.read()

    def read_text(self) -> str:
        """The object's content as UTF-8."""
        return self.read_bytes().decode("utf-8")

    def write_bytes(self, data: bytes) -> None:
        """Replaces the object's content; it changes when all is written."""
        with _os_errors() as gfile, gfile.GFile(self._address, "wb") as file:
            file.write(data)

    def write_text(self, text: str) -> None:
        """Like `write_bytes`, as UTF-8."""
        self.write_bytes(text.encode("utf-8"))

    def _call(self, function: str, *arguments: Any, **options: Any) -> Any:
        with _os_errors() as gfile:
            return getattr(gfile, function)(self._address, *arguments, **options)


@contextlib.contextmanager
def _os_errors() -> Iterator[Any]:
    """`tf.io.gfile`, whose errors become those of the operating system."""
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


AnyPath: TypeAlias = "Path | StoredPath"


def to_path(address: str | os.PathLike[str]) -> AnyPath:
    """A local path, or a stored one where the address has a scheme other than `file://`."""
    text = os.fspath(address)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    return Path(rest) if scheme == "file" else StoredPath(text)


def is_local(path: object) -> bool:
    """Whether the path can be flushed, renamed atomically and locked."""
    return isinstance(path, Path)


def flush_to_disk(path: Path) -> None:
    """Waits until a local file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
