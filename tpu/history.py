"""The rows of metrics of a run, in a text file that agrees with the checkpoints beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tpu.phase import Metrics
from tpu.storage import AnyPath, flush_to_disk

FILE_NAME = "history.jsonl"


class History:
    """Rows of numbers with a "step", one JSON object a line, appended as the run goes.

    Opening it drops the rows after the restored step, as those steps run again. Rows up to a
    checkpoint are on the disk before the checkpoint is (`flush`), so none is ever missing.

    Args:
        directory: Folder of the checkpoints; the file is made if it is not there.
        step: The restored step.
        writes: False where another process writes the file.

    Raises:
        ValueError: A line of the file cannot be read.
        OSError: The file cannot be read or written.
    """

    def __init__(self, directory: AnyPath, step: int, writes: bool = True) -> None:
        self._path = directory / FILE_NAME
        self._writes = writes
        self.rows = [row for row in _read(self._path) if row["step"] <= step]
        if writes:
            with _named(self._path):
                self._write_all()

    def append(self, row: Metrics) -> None:
        """Adds the row of one compiled loop."""
        self.rows.append(row)
        # An object store cannot append: there the rows are written with the next checkpoint.
        if self._writes and isinstance(self._path, Path):
            with _named(self._path), self._path.open("a") as file:
                file.write(_line(row))

    def flush(self) -> None:
        """Waits until the rows are on the disk."""
        if not self._writes:
            return
        with _named(self._path):
            if isinstance(self._path, Path):
                flush_to_disk(self._path)
            else:
                self._write_all()

    def best(self, steps: Iterable[int], metric: str) -> int | None:
        """The one of `steps` whose loop ended with the lowest metric; None where no row is left.

        Raises:
            ValueError: The rows have no such metric.
        """
        wanted = set(steps)
        rows = [row for row in self.rows if row["step"] in wanted]
        for row in rows:
            if metric not in row:
                raise ValueError(
                    f"The best checkpoint is that of the lowest {metric!r}, which the rows of "
                    f"{self._path} do not have; they have {sorted(row)}."
                )
        return int(min(rows, key=lambda row: (row[metric], -row["step"]))["step"]) if rows else None

    def _write_all(self) -> None:
        text = "".join(map(_line, self.rows))
        if not isinstance(self._path, Path):
            self._path.write_text(text)
            return
        temporary = self._path.with_suffix(".partial")
        temporary.write_text(text)
        flush_to_disk(temporary)
        temporary.rename(self._path)
        flush_to_disk(self._path.parent)


@contextlib.contextmanager
def _named(path: AnyPath) -> Iterator[None]:
    """Puts the file's name and the remedy into an error of the operating system."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"History {path} cannot be written ({error.strerror or error}): free disk space or "
            "choose another directory, then run again."
        ) from error


def _line(row: Metrics) -> str:
    return json.dumps(row) + "\n"


def _read(path: AnyPath) -> list[Metrics]:
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
