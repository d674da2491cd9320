"""One process at a time in a work directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator

from keras_nas import files
from tpu.storage import AnyPath, StoredPath

RECORDS = ".keras_nas"
"""Folder in the work directory with the lock, records of finished stages, and checkpoints."""


@contextlib.contextmanager
def locked(folder: AnyPath) -> Iterator[Callable[[], None]]:
    """Keeps a second process out of the work directory; yields a check that it still does.

    Object stores have no locks. There the last process to begin owns the folder, so that one which
    replaces a lost machine need not wait, and the check ends an earlier one that is still alive.

    Raises:
      OSError: the folder cannot be written.
      BlockingIOError: another process holds it.
    """
    if isinstance(folder, StoredPath):
        yield _claim(folder)
        return
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        lock = open(folder / RECORDS / "lock", "a+")  # noqa: SIM115 (held until the run ends)
    except OSError as error:
        raise OSError(
            f"work directory {folder} cannot be written ({error.strerror}); choose another with "
            "--workdir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BlockingIOError(
                f"work directory {folder} is in use by process {lock.read().strip() or '?'}; wait "
                "for it, stop it, or choose another with --workdir."
            ) from None
        os.ftruncate(lock.fileno(), 0)
        with contextlib.suppress(OSError):  # the number is a courtesy; the disk may be full
            os.write(lock.fileno(), str(os.getpid()).encode())
        yield lambda: None


def _claim(folder: StoredPath) -> Callable[[], None]:
    owner = folder / RECORDS / "owner"
    us = f"{socket.gethostname()}, process {os.getpid()}, {time.time_ns()}"
    files.write_text(owner, us)

    def check() -> None:
        now = owner.read_text()
        if now != us:
            raise OSError(
                f"work directory {folder} was taken over by {now}; this run ends. Run one process "
                "on a work directory."
            )

    return check
