"""What a device is: something that describes itself and times models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

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


@dataclasses.dataclass(frozen=True)
class Profile:
    """What one fresh process profiled, operation by operation.

    Attributes:
      operations: name -> kind of each operation that the runtime ran, in order, under the
        runtime's name for it, e.g. `Convolution (NHWC, F32) DWConv`.
      ms: name -> [rounds][operations] time of each operation in one call of the model.
      reference_ms: name -> [rounds] time of the reference network, all of it, next to the model.
    """

    operations: dict[str, list[str]]
    ms: dict[str, list[list[float]]]
    reference_ms: dict[str, list[float]]

    def __post_init__(self) -> None:
        if not self.ms or not set(self.operations) == set(self.ms) == set(self.reference_ms):
            raise ValueError("a profile needs operations, times and reference times of each model.")
        for name, rounds in self.ms.items():
            if not rounds or len(rounds) != len(self.reference_ms[name]):
                raise ValueError(f"the profile of {name} needs a reference time for each round.")
            if any(len(row) != len(self.operations[name]) for row in rounds):
                raise ValueError(f"the profile of {name} needs one time for each operation.")
            if not all(isinstance(t, float) and t >= 0 for row in rounds for t in row):
                raise ValueError(f"the profile of {name} has an operation's time below 0.")
            if not all(isinstance(t, float) and t > 0 for t in self.reference_ms[name]):
                raise ValueError(f"the profile of {name} has a reference time that is not above 0.")


class Device(Protocol):
    """Where latency is measured."""

    format: str
    """What it runs, a key of `export.CONVERTERS`: `tflite` files, or `graph`s of TensorFlow."""
    threads: int
    """Threads of the runtime."""
    batch: int
    """Images in a call."""

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
        """Times models in one fresh process.

        Args:
          models: name -> file of the device's format.
          reference: file of the network that runs in between.
          rounds: how often each model is visited.
          seed: of the load order and of the order in every round.
          on_round: called after every round with the number of rounds done.

        Raises:
          DeviceError: a model cannot be run, or the process failed.
        """


@runtime_checkable
class ProfilingDevice(Device, Protocol):
    """A device that can also time each operation inside a running model: an optional ability."""

    def profile(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Profile:
        """Times the operations of models in one fresh process; arguments as for `run`.

        Raises:
          DeviceError: a model cannot be run, the process failed, or the runtime gives no profile.
        """
