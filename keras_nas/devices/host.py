"""This machine as a device: LiteRT with its default XNNPACK delegate."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_nas.devices import litert_profiler, worker
from keras_nas.devices.device import DeviceError, Profile, Run
from keras_nas.resources import DeviceDescription
from keras_nas.space.blocks import positive_integer

WORKER = "keras_nas.devices.host_worker"
PACKAGE = litert_profiler.PACKAGE


class HostDevice:
    """Times models on this machine, each run in a fresh process.

    One thread is timed by its own processor time, which other programs do not disturb; several
    threads, and single operations, by the wall clock.

    Raises:
      ValueError: the number of threads is not a positive integer.
    """

    format = "tflite"
    batch = 1

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
            processor=processor_name(),
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
        request = self._request(models, reference, rounds, seed)
        with worker.start(WORKER, "measuring") as process:
            return Run(**process.ask({**request, "profile": False}, on_round))

    def profile(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Profile:
        """See `ProfilingDevice`."""
        try:
            litert_profiler.check_version()
        except litert_profiler.ProfilerError as error:
            raise DeviceError(str(error)) from None
        request = self._request(models, reference, rounds, seed)
        with worker.start(WORKER, "measuring") as process:
            return Profile(**process.ask({**request, "profile": True}, on_round))

    def _request(
        self, models: Mapping[str, Path], reference: Path, rounds: int, seed: int
    ) -> dict[str, Any]:
        return {
            "models": {name: str(path) for name, path in models.items()},
            "reference": str(reference),
            "threads": self.threads,
            "rounds": rounds,
            "seed": seed,
        }


def processor_name() -> str:
    """Model name of the processor; the kernel's list where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
