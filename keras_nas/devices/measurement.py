"""A finished network's measured latency, in the unit of a latency table."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np

from keras_nas.devices import timing
from keras_nas.devices.device import Device, Progress, no_progress
from keras_nas.devices.timing import Effort
from keras_nas.resources import DeviceDescription
from keras_nas.space.architecture import load_object

FORMAT = "keras_nas.measurement"
VERSION = 1
UNIT = "ms"

NETWORK_EFFORT = Effort(rounds=20, min_processes=5, max_processes=9, target_error=0.005)
"""One network is quickly timed, and its value decides whether the limit is kept."""
DISTURBED = 0.03
"""Spread between processes / latency from which on something else must be using the device."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Measured latency of one network.

    Attributes:
      latency_ms: ratio to the reference network (median over processes) * `reference_ms`.
      spread_ms: standard deviation of that between processes.
      samples_ms: the same, of each process.
      raw_ms: the network's time itself, median over processes; differs from `latency_ms` by how
        much faster or slower the machine was than when the table was made.
      reference_ms: of the reference network, from the latency table.
      device, threads: where and how.
      date: ISO 8601, UTC.

    Raises:
      ValueError: a number is not finite or not above 0.
    """

    latency_ms: float
    spread_ms: float
    samples_ms: tuple[float, ...]
    raw_ms: float
    reference_ms: float
    device: DeviceDescription
    threads: int
    date: str

    def __post_init__(self) -> None:
        for value in (self.latency_ms, self.raw_ms, self.reference_ms, *self.samples_ms):
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"a measured time should be above 0 ms, received {value}.")
        if not math.isfinite(self.spread_ms) or self.spread_ms < 0:
            raise ValueError(f"a spread should be >= 0 ms, received {self.spread_ms}.")

    def to_json(self) -> str:
        """The measurement as JSON text; `from_json` reads it back exactly."""
        value = {"format": FORMAT, "version": VERSION, "unit": UNIT, **dataclasses.asdict(self)}
        return json.dumps(value, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "measurement") -> Measurement:
        """Reads JSON text written by `to_json`; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format, version or unit, missing, unknown or bad fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        if value.pop("unit", None) != UNIT:
            raise ValueError(f"{where} should state the unit {UNIT!r}. Measure again.")
        del value["format"], value["version"]
        try:
            value["device"] = DeviceDescription(**value["device"])
            value["samples_ms"] = tuple(value["samples_ms"])
            return cls(**value)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{where} is not a valid measurement: {error} Measure again."
            ) from None


def measure_network(
    device: Device,
    network: bytes,
    reference: bytes,
    reference_ms: float,
    *,
    effort: Effort = NETWORK_EFFORT,
    on_progress: Progress = no_progress,
) -> Measurement:
    """Measures one network in the unit of a latency table.

    Args:
      device: where.
      network: `.tflite` bytes.
      reference: `.tflite` bytes of the table's reference network, see `profile.reference_model`.
      reference_ms: that network's time in the table.
      effort: how long.
      on_progress: called after each round.

    Raises:
      DeviceError: the device failed.

    Warns:
      UserWarning: times differ by more than `DISTURBED` between processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        network_path, reference_path = Path(folder, "network.tflite"), Path(folder, "ref.tflite")
        network_path.write_bytes(network)
        reference_path.write_bytes(reference)
        runs = timing.measure(
            device, {"network": network_path}, reference_path, effort, on_progress=on_progress
        )
    samples = timing.ratios(runs, "network") * reference_ms  # [processes]
    latency_ms, spread_ms = float(np.median(samples)), float(np.std(samples, ddof=1))
    if spread_ms > DISTURBED * latency_ms:
        warnings.warn(
            f"the network's latency differs by {spread_ms / latency_ms:.1%} between processes: "
            f"something else was using {device.describe().name}. Let it be idle; to measure the "
            "final network again, delete measurement.json and run again.",
            stacklevel=2,
        )
    return Measurement(
        latency_ms=latency_ms,
        spread_ms=spread_ms,
        samples_ms=tuple(map(float, samples)),
        raw_ms=timing.raw_ms(runs, "network"),
        reference_ms=reference_ms,
        device=device.describe(),
        threads=device.threads,
        date=now(),
    )


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
