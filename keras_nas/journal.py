"""What happened in a work directory, for people (`log.txt`) and programs (`events.jsonl`).

Both only grow. A line of `events.jsonl` is a JSON object with "time" (UTC, ISO 8601) and "event":

| event | further fields |
|---|---|
| run_began | name (of the experiment), host, process |
| stage_up_to_date | stage |
| stage_began | stage |
| restored | phase, step (finished steps), checkpoint (folder of the checkpoints) |
| loop | phase, step, steps (length), seconds (of the phase so far), and every metric of the loop |
| saved | phase, step, checkpoint (its folder), best (step of the best checkpoint) |
| stage_ended | stage, seconds |
| warning | message |
| error | kind (class of the error), message |
| run_ended | seconds |

A killed run ends without run_ended or error; the next one repeats the loops after the last save, so
rows of a phase with a step above that of a following restored are void. On an object store, which
cannot append, both files are written anew at every event but loop.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_nas.files import parse_json_object
from tpu.storage import AnyPath

LOG, EVENTS = "log.txt", "events.jsonl"
LOOP_LINE_SECONDS = 10.0
"""`log.txt` has a line about a running phase at most this often."""
_SHOWN = ("loss", "accuracy", "expected_cost")


class Journal:
    """Writes both files of a work directory.

    Args:
      folder: the work directory; a half line that a killed run left in a file is dropped.
    """

    def __init__(self, folder: AnyPath):
        self._log, self._events = _Lines(folder / LOG), _Lines(folder / EVENTS)
        self._next_loop_line = 0.0

    def line(self, text: str) -> None:
        """Adds lines to `log.txt`."""
        stamp = datetime.datetime.now().isoformat(" ", "seconds")
        self._log.append("".join(f"{stamp} {line}\n" for line in text.splitlines()))

    def event(self, name: str, /, **fields: Any) -> None:
        """Adds a line to `events.jsonl`, and to `log.txt` where a person would miss it."""
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._events.append(json.dumps({"time": stamp, "event": name, **fields}) + "\n")
        if name in ("warning", "error"):
            self.line(f"{name}: {fields['message']}")
        elif name == "restored":
            self.line(f"{fields['phase']}: continues after step {fields['step']}")
        elif name == "loop":
            self._loop_line(fields)
            return
        self.flush()

    def flush(self) -> None:
        """Puts everything into the files."""
        self._log.flush()
        self._events.flush()

    def _loop_line(self, fields: dict[str, Any]) -> None:
        now, ended = time.monotonic(), fields["step"] == fields["steps"]
        if ended or now >= self._next_loop_line:
            self._next_loop_line = 0.0 if ended else now + LOOP_LINE_SECONDS
            numbers = "".join(f", {k} {fields[k]:.4g}" for k in _SHOWN if k in fields)
            self.line(f"{fields['phase']}: step {fields['step']} of {fields['steps']}{numbers}")


def read_events(folder: AnyPath) -> list[dict[str, Any]]:
    """The events of a work directory so far, oldest first; a half line at the end is left out.

    Raises:
      ValueError: a line is damaged.
    """
    path = folder / EVENTS
    whole = path.read_bytes().decode() if path.exists() else ""
    lines = whole.split("\n")[:-1]
    return [parse_json_object(line, f"line {i} of {path}") for i, line in enumerate(lines, 1)]


class _Lines:
    """A text file that grows by whole lines."""

    def __init__(self, path: AnyPath):
        self._path = path
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]
        self._content = b"" if isinstance(path, Path) else kept
        if isinstance(path, Path) and len(kept) < len(whole):
            os.truncate(path, len(kept))

    def append(self, lines: str) -> None:
        if isinstance(self._path, Path):
            with open(self._path, "ab", buffering=0) as file:
                file.write(lines.encode())
        else:
            self._content += lines.encode()

    def flush(self) -> None:
        if not isinstance(self._path, Path):
            self._path.write_bytes(self._content)


@contextlib.contextmanager
def opened(folder: AnyPath, name: str) -> Iterator[Journal]:
    """The journal of one run, which also hears warnings and the error that ends the run.

    Args:
      folder: the work directory.
      name: of the experiment.
    """
    journal = Journal(folder)
    journal.event("run_began", name=name, host=socket.gethostname(), process=os.getpid())
    began = time.monotonic()
    try:
        with _hears_warnings(journal):
            yield journal
    except BaseException as error:
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            journal.event("error", kind=type(error).__name__, message=str(error))
        raise
    journal.event("run_ended", seconds=round(time.monotonic() - began, 3))


class _Warnings(logging.Handler):
    def __init__(self, journal: Journal):
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.event("warning", message=record.getMessage())


@contextlib.contextmanager
def _hears_warnings(journal: Journal) -> Iterator[None]:
    """Those that this project logs, and those given as UserWarning."""
    handler = _Warnings(journal)
    loggers = [logging.getLogger(name) for name in ("keras_nas", "tpu")]
    shown = warnings.showwarning

    def show(message, category, *arguments: Any, **options: Any) -> None:
        if category is UserWarning:
            journal.event("warning", message=str(message))
        shown(message, category, *arguments, **options)

    for logger in loggers:
        logger.addHandler(handler)
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
        for logger in loggers:
            logger.removeHandler(handler)
