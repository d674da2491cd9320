"""Local copies of data on cloud storage (`gs://`).

Images are read in random order, one record at a time. On an object store each would be a request of
its own, and so would finding where records begin; a copy reads every file once, from front to back.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tpu.storage import AnyPath, StoredPath

_IN_MEMORY = Path("/dev/shm")
_AT_ONCE = 16

_log = logging.getLogger(__name__)


def local_copy(folder: AnyPath) -> Path:
    """The folder itself where it is local, else a copy of all that is in it.

    Copies stay, in the system's temporary folder (the variable TMPDIR) or, where that has no room,
    in memory (/dev/shm). A file that is there in the same size is not copied again, so an
    interrupted copy goes on.

    Raises:
      FileNotFoundError: there is no such folder on the store, or nothing in it.
      OSError: no room for the copy, or a file cannot be read or written.
    """
    if isinstance(folder, Path):
        return folder
    names = list(folder.walk())
    if not names:
        raise FileNotFoundError(
            f"{folder} does not exist, is empty, or may not be read from here; correct the path, "
            "or give this account access."
        )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stored = pool.map(lambda name: (folder / name).stat().st_size, names)
        sizes = dict(zip(names, stored, strict=True))
    target = _place(folder, sizes)
    missing = _missing(target, sizes)
    if missing:
        _copy(folder, target, missing)
    return target


def _place(folder: StoredPath, sizes: Mapping[str, int]) -> Path:
    """The first place that has room for what is missing there."""
    tried = []
    for base in (Path(tempfile.gettempdir()), _IN_MEMORY):
        if not base.is_dir():
            continue
        own = base / f"keras_nas-{os.getuid()}"
        target = own / str(folder).replace("://", "/")
        wanted, free = sum(_missing(target, sizes).values()), shutil.disk_usage(base).free
        if wanted <= free:
            own.mkdir(mode=0o700, exist_ok=True)
            return target
        tried.append(f"{base} has {free / 1e9:.1f} GB")
    raise OSError(
        f"There is no room for a local copy of {folder}, {sum(sizes.values()) / 1e9:.1f} GB "
        f"({', '.join(tried)}): free disk space, or set TMPDIR to a folder on a larger disk."
    )


def _missing(target: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Names and bytes of the files that are not there in their size."""
    return {
        name: size
        for name, size in sizes.items()
        if not (target / name).is_file() or (target / name).stat().st_size != size
    }


def _copy(folder: StoredPath, target: Path, sizes: Mapping[str, int]) -> None:
    whole = sum(sizes.values())
    _log.warning("copying %s, %.2f GB, to %s", folder, whole / 1e9, target)

    def copy(name: str) -> int:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # of this process alone
        try:
            (folder / name).copy_to(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return sizes[name]

    done, told = 0, 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for copied in as_completed([pool.submit(copy, name) for name in sizes]):
            done += copied.result()
            tenths = 10 * done // max(whole, 1)
            if tenths > told:
                told = tenths
                _log.warning("copied %d%%", 10 * told)
