"""What a device is: something that describes itself and times models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from keras_nas.resources import DeviceDescription

Progress = Callable[[int, int, str], None]
"""Called with how much is done, how much there is (an upper bound), and what is being done."""


def no_progress(done: int, total: int, what: str) -> None:
    """A `Progress` that shows nothing."""


class DeviceError(RuntimeError):
    """A device cannot be reached, lacks its runtime, or failed while measuring."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What one fresh process measured.

    Attributes:
      ms: name -> time of one call of the model, one a round.
      reference_ms: name -> time of the reference network next to it, one a round.
    """

    ms: dict[str, list[float]]
    reference_ms: dict[str, list[float]]

    def __post_init__(self) -> None:
        if not self.ms or {k: len(v) for k, v in self.ms.items()} != {
            k: len(v) for k, v in self.reference_ms.items()
        }:
            raise ValueError("a run needs one time of the reference network for each of a model.")
        for times in (*self.ms.values(), *self.reference_ms.values()):
            if not times or not all(isinstance(t, float) and t > 0 for t in times):
                raise ValueError(f"a run's times should be above 0, received {times!r}.")


class Device(Protocol):
    """Where latency is measured."""

    threads: int
    """Threads of the runtime."""

    def describe(self) -> DeviceDescription:
        """What stands in tables and measurements.

        Raises:
          DeviceError: the device or its runtime is missing.
        """

    def run(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Run:
        """Times `.tflite` files in one fresh process.

        Args:
          models: name -> file.
          reference: file of the network that runs in between.
          rounds: how often each model is visited.
          seed: of the load order and of the order in every round.
          on_round: called after every round with the number of rounds done.

        Raises:
          DeviceError: a model cannot be run, or the process failed.
        """
