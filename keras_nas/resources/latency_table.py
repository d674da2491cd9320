"""`LatencyTable`: what every piece of a space costs on one device, as a versioned artefact.

A network's latency is linear in its pieces, so it fits HC eq. 3 (arXiv 2102.11646):

    latency_ms(network) = overhead_ms + sum over pieces of scale * entry_ms(piece)

`entries` hold a piece's time, measured inside whole networks or alone (`method` says which);
`scale` and `overhead_ms`, paid once a network, are fitted on whole networks. All in float64, in
milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nas.resources.between_knots import between_knots
from keras_nas.resources.expected_cost import CostModel, cost_model
from keras_nas.space import Architecture, Piece, StagedSpace, pieces
from keras_nas.space.architecture import load_object
from keras_nas.space.blocks import positive_integer
from keras_nas.space.pieces import Shape, check_input_shape

FORMAT = "keras_nas.latency_table"
VERSION = 1
UNIT = "ms"
_NUMBERS = re.compile(r"\[[^\[\]{}\"]*\]")


@dataclasses.dataclass(frozen=True)
class DeviceDescription:
    """What makes two measurements comparable.

    Attributes:
      name: of the kind of device, e.g. `host`.
      processor: model name of the processor.
      cores: number of processor cores.
      operating_system: name and machine type.
      runtime, runtime_version: what runs the model.
      delegate: what the runtime hands the operations to.
    """

    name: str
    processor: str
    cores: int
    operating_system: str
    runtime: str
    runtime_version: str
    delegate: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "cores" and (not isinstance(value, str) or not value):
                raise ValueError(f"device {field.name} should be a text, received {value!r}.")
        positive_integer(self.cores, "device cores")


@dataclasses.dataclass(frozen=True)
class CalibrationNetwork:
    """One whole network that scale and overhead were fitted on.

    Attributes:
      architecture: the network.
      measured_ms: its time.
      predicted_ms: the table's prediction, this network being among those fitted on.
      held_out_ms: the prediction of a fit on all the other networks only.
    """

    architecture: Architecture
    measured_ms: float
    predicted_ms: float
    held_out_ms: float

    def __post_init__(self) -> None:
        for field in ("measured_ms", "predicted_ms", "held_out_ms"):
            _positive(getattr(self, field), f"calibration network's {field}")


@dataclasses.dataclass(frozen=True)
class RawSamples:
    """What the table was computed from.

    Attributes:
      reference_ms: [processes][n] times of the reference network, of the processes that timed whole
        networks.
      ratios: name -> [processes][rounds] time divided by the reference network's next to it: of a
        calibration network by its name; of a piece alone by its key; of a piece in place by
        `NETWORK/NUMBER KEY`, its number in the covering network.
    """

    reference_ms: list[list[float]]
    ratios: dict[str, list[list[float]]]


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """Latency of a search space on one device.

    Attributes:
      device: where it was measured.
      precision: of the weights, `float32`, `float16` or `int8`.
      threads, batch: the runtime's threads, images in a call.
      input_shape: height, width, channels of a network's input.
      classes: which the head's entry depends on.
      date: ISO 8601, UTC.
      method: how the entries were measured.
      space_name, space_fingerprint: the space it was made for.
      reference: network run between measurements, which all of them are divided by.
      reference_ms: the reference network's time, which turns ratios into ms.
      overhead_ms: what every network costs beyond its pieces.
      scale: factor of every entry.
      entries: piece key -> time, not yet scaled, ms.
      calibration: whole networks, predicted and measured.
      mean_error, worst_error: relative, of the held-out predictions of `calibration`.
      samples: raw samples.
      width_step: channels that the runtime computes together, see `between_knots`.

    Raises:
      ValueError: a field is out of its range.
    """

    device: DeviceDescription
    precision: str
    threads: int
    batch: int
    input_shape: Shape
    classes: int
    date: str
    method: str
    space_name: str
    space_fingerprint: str
    reference: Architecture
    reference_ms: float
    overhead_ms: float
    scale: float
    entries: Mapping[str, float]
    calibration: tuple[CalibrationNetwork, ...]
    mean_error: float
    worst_error: float
    samples: RawSamples
    width_step: int = 1

    def __post_init__(self) -> None:
        for field in ("threads", "batch", "classes", "width_step"):
            positive_integer(getattr(self, field), field)
        check_input_shape(self.input_shape)
        for field in ("reference_ms", "scale"):
            _positive(getattr(self, field), field)
        for field in ("overhead_ms", "mean_error", "worst_error"):
            _not_negative(getattr(self, field), field)
        if not self.entries:
            raise ValueError("a latency table needs at least one entry.")
        for key, value in self.entries.items():
            _not_negative(value, f"latency of {key}")

    def piece_ms(self, piece: Piece) -> float:
        """Scaled latency of one piece inside a network, ms; see also `between_knots`.

        Raises:
          ValueError: the table has no entry for it.
        """
        entry = entry_of(self.entries, piece, self.width_step)
        if entry is None:
            raise ValueError(
                f"the latency table made for space {self.space_name!r} has no entry for piece "
                f"{piece.key}. Profile the device with the space that holds it."
            )
        return self.scale * entry

    def latency_ms(
        self, architecture: Architecture, input_shape: Sequence[int], classes: int
    ) -> float:
        """Predicted latency of one network, ms.

        Raises:
          ValueError: another input shape or number of classes than the table's, or a piece that
            the table has no entry for.
        """
        self._compare("input_shape", self.input_shape, check_input_shape(input_shape))
        self._compare("classes", self.classes, classes)
        parts = pieces(architecture, input_shape, classes)
        return self.overhead_ms + math.fsum(map(self.piece_ms, parts))

    def cost_model(self, space: StagedSpace, classes: int) -> CostModel:
        """The table as costs [B, C] of a space, named `latency_ms`.

        Raises:
          ValueError: the table was not made for this space or number of classes.
        """
        self.check_space(space, classes)
        return cost_model(
            space, self.piece_ms, classes, name="latency_ms", overhead=self.overhead_ms
        )

    def check(
        self,
        *,
        device: DeviceDescription,
        precision: str,
        threads: int,
        space: StagedSpace,
        input_shape: Sequence[int],
        classes: int,
        batch: int = 1,
    ) -> None:
        """Refuses the table for something it was not made for.

        Raises:
          ValueError: naming the first field that differs, the table's value and the asked one.
        """
        for field in dataclasses.fields(DeviceDescription):
            found, expected = (getattr(d, field.name) for d in (self.device, device))
            self._compare(f"device {field.name}", found, expected)
        self._compare("precision", self.precision, precision)
        self._compare("threads", self.threads, threads)
        self._compare("batch", self.batch, batch)
        self._compare("input_shape", self.input_shape, check_input_shape(input_shape))
        self.check_space(space, classes)

    def check_space(self, space: StagedSpace, classes: int) -> None:
        """Refuses the table for a space that it does not cover.

        Raises:
          ValueError: another input size or number of classes, or pieces without an entry.
        """
        self._compare("input_shape", self.input_shape, space.input_shape)
        self._compare("classes", self.classes, classes)
        needed = {piece.key for piece in all_pieces(space, classes)}
        missing = sorted(needed - set(self.entries))
        if missing:
            raise ValueError(
                f"the latency table was made for space {self.space_name!r} "
                f"({self.space_fingerprint}) and lacks {len(missing)} of {len(needed)} pieces of "
                f"space {space.name!r} ({space.fingerprint()}), such as {missing[0]}. Profile the "
                "device with this space."
            )

    def _compare(self, field: str, found: object, expected: object) -> None:
        if found != expected:
            raise ValueError(
                f"the latency table was made for {field} {found!r}, and is asked for {expected!r}. "
                "Profile again for that, or use the table for what it was made for."
            )

    def to_json(self) -> str:
        """The table as JSON text; `from_json` reads it back exactly."""
        value = {"format": FORMAT, "version": VERSION, "unit": UNIT, **dataclasses.asdict(self)}
        value["reference"] = json.loads(self.reference.to_json())
        for row, network in zip(value["calibration"], self.calibration, strict=True):
            row["architecture"] = json.loads(network.architecture.to_json())
        text = json.dumps(value, indent=1, allow_nan=False)
        # Samples by the thousand: a list of numbers stands on one line.
        return _NUMBERS.sub(lambda match: " ".join(match[0].split()), text) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "latency table") -> LatencyTable:
        """Reads JSON text written by `to_json`; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format, version or unit, missing, unknown or bad fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        if value.pop("unit", None) != UNIT:
            raise ValueError(f"{where} should state the unit {UNIT!r}. Make the table anew.")
        del value["format"], value["version"]
        try:
            value["device"] = DeviceDescription(**value["device"])
            value["input_shape"] = tuple(value["input_shape"])
            value["reference"] = _read_architecture(value["reference"], where)
            value["calibration"] = tuple(
                CalibrationNetwork(
                    **{**row, "architecture": _read_architecture(row["architecture"], where)}
                )
                for row in value["calibration"]
            )
            value["samples"] = RawSamples(**value["samples"])
            return cls(**value)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{where} is not a valid latency table: {error} Make the table anew."
            ) from None


def entry_of(entries: Mapping[str, float], piece: Piece, width_step: int) -> float | None:
    """A piece's entry, or what lies between two of them; None where there is neither."""
    entry = entries.get(piece.key)
    return between_knots(entries, piece, width_step) if entry is None else entry


def all_pieces(space: StagedSpace, classes: int) -> list[Piece]:
    """Every distinct piece of a space, in order of first appearance."""
    rows = [space.fixed_pieces(classes), *space.block_pieces()]
    return list({piece.key: piece for row in rows for piece in row}.values())


def _read_architecture(value: Any, where: str) -> Architecture:
    return Architecture.from_json(json.dumps(value), f"{where}: network")


def _positive(value: Any, name: str) -> None:
    _not_negative(value, name)
    if value == 0:
        raise ValueError(f"{name} should be above 0, received 0.")


def _not_negative(value: Any, name: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} should be a finite number >= 0, received {value!r}.")
