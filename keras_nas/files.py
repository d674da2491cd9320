"""Reading and writing files so that a kill, a full disk or a damaged file costs nothing.

The one leaf of the package that everyone may import. Paths are local, or on cloud storage
(`gs://`), where an object is replaced whole when its writer closes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tpu.storage import StoredPath, to_path


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` under a temporary name in the same folder, syncs it, and renames it to `path`.

    On cloud storage it is written in place.

    Raises:
      OSError: the folder cannot be written, or the disk is full. What `path` held stays as it was.
    """
    target = to_path(path)
    descriptor = None
    temporary = None
    try:
        if isinstance(target, StoredPath):
            target.write_bytes(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp gives 0600, which others could not read
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise OSError(
            f"cannot write {target}: {error.strerror or error}. Free space or choose a folder "
            "that can be written; what was there before is unchanged."
        ) from error
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes renames inside `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def local_copy(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file itself, or for as long as the context lasts a local copy of what is elsewhere.

    Raises:
      OSError: there is no such file elsewhere, or no room for the copy.
    """
    source = to_path(path)
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / source.name
        copy.write_bytes(source.read_bytes())
        yield copy


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Like `write_text`, for a JSON value; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_text(path: str | os.PathLike[str], what: str = "file") -> str:
    """Reads UTF-8 text.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not UTF-8 text.
    """
    try:
        return to_path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"no {what} at {path}; check the path.") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{what} {path} is damaged: it is not UTF-8 text ({error.reason} at byte "
            f"{error.start}). Delete it and make it anew."
        ) from None


def parse_json_object(text: str, what: str) -> dict[str, Any]:
    """Parses a JSON object; `what` names the text's origin in the error.

    Raises:
      ValueError: the text is truncated, damaged, or not a JSON object.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{what} is damaged or truncated: {error.msg} at line {error.lineno}, column "
            f"{error.colno}. Delete it and make it anew."
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} should hold a JSON object, received {type(value).__name__}.")
    return value


def read_json(path: str | os.PathLike[str], what: str = "file") -> dict[str, Any]:
    """Reads a JSON object; errors as in `read_text` and `parse_json_object`."""
    return parse_json_object(read_text(path, what), f"{what} {path}")
