"""This machine as a device: LiteRT with its default XNNPACK delegate."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from keras_nas.devices.device import DeviceError, Run
from keras_nas.resources import DeviceDescription
from keras_nas.space.blocks import positive_integer

WORKER = Path(__file__).with_name("host_worker.py")
PACKAGE = "ai-edge-litert"


class HostDevice:
    """Times models on this machine, each run in a fresh process.

    One thread is timed by its own processor time, which other programs do not disturb; several
    threads by the wall clock.

    Raises:
      ValueError: the number of threads is not a positive integer.
    """

    def __init__(self, threads: int = 1) -> None:
        positive_integer(threads, "number of threads")
        self.threads = threads

    def describe(self) -> DeviceDescription:
        """See `Device`."""
        try:
            version = importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            raise DeviceError(
                f"the LiteRT runtime is not installed; run `pip install {PACKAGE}`."
            ) from None
        return DeviceDescription(
            name="host",
            processor=_processor(),
            cores=os.cpu_count() or 1,
            operating_system=f"{platform.system()} {platform.machine()}",
            runtime="LiteRT",
            runtime_version=version,
            delegate="XNNPACK",
        )

    def run(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Run:
        """See `Device`."""
        request = {
            "models": {name: str(path) for name, path in models.items()},
            "reference": str(reference),
            "threads": self.threads,
            "rounds": rounds,
            "seed": seed,
        }
        # -P keeps this folder out of the worker's path, where profile.py would hide Python's own.
        command = [sys.executable, "-P", str(WORKER)]
        with (
            tempfile.TemporaryFile("w+", errors="replace") as stderr,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            ) as process,
        ):
            try:
                answer = _converse(process, request, on_round)
            except BaseException:
                process.kill()
                raise
            if process.wait() != 0 or answer is None:
                raise DeviceError(_failure(process.returncode, stderr))
        return Run(**answer)


def _converse(
    process: subprocess.Popen[str], request: dict[str, Any], on_round: Callable[[int], None]
) -> dict[str, Any] | None:
    """Sends the request and returns the worker's samples, None if it ended without."""
    if process.stdin is None or process.stdout is None:
        raise DeviceError("the measuring process has no pipes.")
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    except BrokenPipeError:
        return None  # it died before reading; its exit code and last words say why
    for line in process.stdout:
        answer = json.loads(line)
        if "round" not in answer:
            return answer
        on_round(answer["round"])
    return None


def _failure(code: int, stderr: IO[str]) -> str:
    stderr.seek(0)
    lines = [line.strip() for line in stderr if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"the measuring process {how}: {last}"


def _processor() -> str:
    """Model name of the processor; the kernel's list where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
