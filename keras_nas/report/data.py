"""`ReportData`: what a report is made of, and the few numbers that follow from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_nas.report.text import finite, number
from keras_nas.resources import macs, parameters
from keras_nas.resources.activation_memory import ELEMENT_BYTES, peak_memory_bytes
from keras_nas.resources.limits import LATENCY, device_of, is_latency
from keras_nas.space import Architecture, Piece, StagedSpace, pieces

_EXPORTED = {"tflite_bytes": "bytes", "peak_memory_bytes": "activation_memory_bytes"}
"""Resource -> what export.json calls it."""
ROUNDING = 1e-9
"""Relative difference that the order of a sum explains."""


@dataclasses.dataclass(frozen=True)
class OtherDevice:
    """A further device of a run: content of its latency_table_DEVICE.json and
    measurement_DEVICE.json."""

    table: Mapping[str, Any]
    measurement: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ReportData:
    """One run. What a run does not have stays empty, and the report says so in its place.

    Attributes:
      title: heading, for instance the configuration's name.
      space: what was searched.
      architecture: the found network.
      input_shape: height, width, channels.
      classes: number of classes.
      class_names: their names, for the record.
      latency: ms of each piece of the network in order, or a function of the piece such as
        `LatencyTable.piece_ms`; without the runtime's overhead.
      search: content of search.json.
      projection: content of projection.json.
      measurement: content of measurement.json.
      exported: what export.json says of the file that the device runs: `bytes`,
        `activation_memory_bytes`.
      training: stage -> {"history": rows with "step", "accuracy": on the test images, 0..1,
        "seconds"}, in the order the stages ran.
      table: content of latency_table.json.
      others: name -> every other device.
      files: name and size in bytes of each file the run leaves.
      settings: flat names and values of the configuration.
      versions: package -> version.
      directory: where the files are.
    """

    title: str
    space: StagedSpace
    architecture: Architecture
    input_shape: Sequence[int]
    classes: int
    class_names: Sequence[str] = ()
    latency: Callable[[Piece], float] | Sequence[float] | None = None
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    projection: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measurement: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    exported: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    table: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: Mapping[str, OtherDevice] = dataclasses.field(default_factory=dict)
    files: Sequence[tuple[str, int]] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: str = ""

    def pieces(self) -> list[Piece]:
        """The found network taken apart."""
        return pieces(self.architecture, self.input_shape, self.classes)

    def piece_latencies_ms(self) -> list[float] | None:
        """Predicted latency of each piece; None where the run has no finite ones.

        Raises:
          ValueError: the number of latencies is not the number of pieces.
        """
        parts = self.pieces()
        if self.latency is None:
            return None
        if callable(self.latency):
            values = [self.latency(piece) for piece in parts]
        else:
            values = list(self.latency)
        if len(values) != len(parts):
            raise ValueError(
                f"architecture {self.architecture.name!r} has {len(parts)} pieces, received "
                f"{len(values)} latencies; give one for each, without the overhead."
            )
        return None if any(finite(value) is None for value in values) else values

    def overhead_ms(self) -> float:
        """The runtime's overhead by the latency table; 0 where there is no table."""
        return number(self.table, "overhead_ms") or 0.0

    def predicted_ms(self) -> float | None:
        """Predicted latency of the network: overhead and all pieces."""
        latencies = self.piece_latencies_ms()
        return None if latencies is None else math.fsum([self.overhead_ms(), *latencies])

    def measured_on(self, resource: str) -> Mapping[str, Any]:
        """Content of the measurement that a latency is of; empty where there is none."""
        device = device_of(resource)
        if not device:
            return self.measurement
        return self.others[device].measurement if device in self.others else {}

    def final_accuracy(self) -> tuple[str, float] | None:
        """The last stage with an accuracy, and that accuracy."""
        rows = [(stage, number(row, "accuracy")) for stage, row in self.training.items()]
        known = [(stage, accuracy) for stage, accuracy in rows if accuracy is not None]
        return known[-1] if known else None


@dataclasses.dataclass(frozen=True)
class Kept:
    """Whether one limit is kept.

    Attributes:
      resource: name with unit, e.g. `latency_ms`.
      limit: the largest allowed value.
      predicted: by table or formula.
      measured: on the device, or of the exported file.
      spread: of a measured latency, one standard deviation.
    """

    resource: str
    limit: float
    predicted: float | None
    measured: float | None = None
    spread: float | None = None

    def by_prediction(self) -> bool | None:
        """Whether the prediction is within the limit; None without a prediction."""
        return None if self.predicted is None else self._within(self.predicted)

    def by_measurement(self) -> bool | None:
        """Whether measured plus spread is within the limit; None without a measurement."""
        return None if self.measured is None else self._within(self.measured + (self.spread or 0.0))

    def within_spread(self) -> bool:
        """Whether the limit lies between measured and measured plus spread."""
        return (
            self.measured is not None
            and self._within(self.measured)
            and self.by_measurement() is False
        )

    def yes(self) -> bool | None:
        """By measurement where there is one, else by prediction."""
        measured = self.by_measurement()
        return self.by_prediction() if measured is None else measured

    def _within(self, value: float) -> bool:
        return value <= self.limit * (1 + ROUNDING)


def resource_totals(data: ReportData) -> dict[str, float | None]:
    """What the found network costs, by formula and table."""
    shape, classes = data.input_shape, data.classes
    precision = data.table.get("precision", "float32")
    precision = precision if precision in ELEMENT_BYTES else "float32"
    return {
        LATENCY: data.predicted_ms(),
        "macs": float(macs(data.architecture, shape, classes)),
        "parameters": float(parameters(data.architecture, shape, classes)),
        "tflite_bytes": number(data.projection, "resources", "tflite_bytes"),
        "peak_memory_bytes": float(peak_memory_bytes(data.architecture, shape, classes, precision)),
    }


def limits_kept(data: ReportData) -> list[Kept]:
    """One entry a finite limit of the search, latency first."""
    limits = data.search.get("limits") or {}
    totals = resource_totals(data)
    result = []
    for resource in sorted(limits, key=lambda name: (not is_latency(name), name)):
        limit = finite(limits[resource])
        if limit is None or limit <= 0:
            continue
        predicted = totals.get(resource, number(data.projection, "resources", resource))
        measured = number(data.exported, _EXPORTED.get(resource, ""))
        spread = None
        if is_latency(resource):
            measured = number(data.measured_on(resource), "latency_ms")
            spread = number(data.measured_on(resource), "spread_ms")
        result.append(Kept(resource, limit, predicted, measured, spread))
    return result
