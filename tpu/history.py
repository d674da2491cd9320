"""The rows of metrics of a run, in a text file that agrees with the checkpoints beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tpu.checkpoint import flush_to_disk
from tpu.phase import Metrics

FILE_NAME = "history.jsonl"


class History:
    """Rows of numbers with a "step", one JSON object a line, appended as the run goes.

    Opening it drops the rows after the restored step, as those steps run again. Rows up to a
    checkpoint are on the disk before the checkpoint is (`flush`), so none is ever missing.

    Args:
        directory: Folder of the checkpoints; the file is made if it is not there.
        step: The restored step.

    Raises:
        ValueError: A line of the file cannot be read.
        OSError: The file cannot be read or written.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self._path = directory / FILE_NAME
        self.rows = [row for row in _read(self._path) if row["step"] <= step]
        with _named(self._path):
            temporary = self._path.with_suffix(".partial")
            temporary.write_text("".join(map(_line, self.rows)))
            flush_to_disk(temporary)
            temporary.rename(self._path)
            flush_to_disk(directory)

    def append(self, row: Metrics) -> None:
        """Adds the row of one compiled loop."""
        with _named(self._path), self._path.open("a") as file:
            file.write(_line(row))
        self.rows.append(row)

    def flush(self) -> None:
        """Waits until the rows are on the disk."""
        with _named(self._path):
            flush_to_disk(self._path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name and the remedy into an error of the operating system."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"History {path} cannot be written ({error.strerror}): free disk space or choose "
            "another directory, then run again."
        ) from error


def _line(row: Metrics) -> str:
    return json.dumps(row) + "\n"


def _read(path: Path) -> list[Metrics]:
    if not path.exists():
        return []
    # What follows the last line break is empty, or a row whose writer was killed.
    lines = path.read_text().split("\n")[:-1]
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            int(row["step"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"Line {number} of {path} is not a row of metrics: repair it, or delete the file "
                "to go on with a history that starts now."
            ) from error
        rows.append(row)
    return rows
