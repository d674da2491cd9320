"""A module of this package as a fresh process that answers JSON requests, one line each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from keras_nas.devices.device import DeviceError

ROOT = Path(__file__).parents[2]
"""What holds this package: a worker must find it wherever it was started from."""


class Worker:
    """A running process. It reads one request a line from its standard input, and writes lines:
    `{"progress": ...}` any number of times, then one answer without that key.

    Args:
      process: started by `start`.
      stderr: what it writes there.
      name: for messages, e.g. `measuring`.
    """

    def __init__(self, process: subprocess.Popen[str], stderr: IO[str], name: str) -> None:
        self._process, self._stderr, self._name = process, stderr, name

    def ask(
        self, request: Mapping[str, Any], on_progress: Callable[[Any], None] = lambda value: None
    ) -> dict[str, Any]:
        """Sends a request and returns the answer.

        Raises:
          DeviceError: the process ended without an answer; with its exit code and last words.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise DeviceError(f"the {self._name} process has no pipes.")
        # A process that died before reading says why by its exit code and last words.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            answer = json.loads(line)
            if "progress" not in answer:
                return answer
            on_progress(answer["progress"])
        code = self._process.wait()
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr if line.strip()]
        last = lines[-1] if lines else "it said nothing"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise DeviceError(f"the {self._name} process {how}: {last}")


def command(module: str) -> list[str]:
    """What starts a module of this package."""
    # -P keeps the current folder out of the worker's path, where a file could hide a module.
    return [sys.executable, "-P", "-m", module]


@contextlib.contextmanager
def start(module: str, name: str) -> Iterator[Worker]:
    """Starts a module of this package; at the end of the `with` block its process is gone.

    Args:
      module: e.g. `keras_nas.devices.host_worker`.
      name: for messages, e.g. `measuring`.
    """
    search_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as stderr,
        subprocess.Popen(
            command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path)},
        ) as process,
    ):
        try:
            yield Worker(process, stderr, name)
        finally:
            process.kill()
            # Closing a pipe that still holds a request to a dead process would fail.
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
