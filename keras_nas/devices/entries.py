"""What every piece of a space costs, before calibration: profiled in place, or timed alone.

Both in units of the reference network's time, from models that `conversion` made.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keras_nas.devices import timing
from keras_nas.devices.conversion import EMPTY
from keras_nas.devices.device import Profile, Run
from keras_nas.devices.operations import Operation, pieces_of_operations
from keras_nas.export import operations_of_parts
from keras_nas.space import Architecture, StagedSpace, pieces


@dataclasses.dataclass(frozen=True)
class Entries:
    """Times of pieces.

    Attributes:
      ratios: piece key -> time / the reference network's time.
      samples: name -> [processes][rounds] of the same, of one occurrence of a piece or of a model.
      method: how they were measured, in a few words.
    """

    ratios: dict[str, float]
    samples: dict[str, list[list[float]]]
    method: str


def in_place(
    profiles: Sequence[Profile],
    networks: Sequence[Architecture],
    paths: Mapping[str, Path],
    space: StagedSpace,
    classes: int,
) -> Entries:
    """A piece costs the sum of its operations, its mean over all places where it occurs.

    Args:
      profiles: of the networks, one a process.
      networks: that together hold all pieces.
      paths: key of a piece -> the `.tflite` file that networks are stitched of.
      space: for its input shape.
      classes: of the head.

    Raises:
      DeviceError: a profile cannot be divided among the pieces of its network.
    """
    occurrences: dict[str, list[float]] = collections.defaultdict(list)
    samples: dict[str, list[list[float]]] = {}
    for network in networks:
        parts = pieces(network, space.input_shape, classes)
        divided = _divide(profiles, network.name, [paths[part.key] for part in parts])
        for number, part in enumerate(parts):
            rounds = [process[:, number] for process in divided]
            occurrences[part.key].append(float(np.median([np.median(row) for row in rounds])))
            samples[f"{network.name}/{number} {part.key}"] = as_samples(rounds)
    ratios = {key: float(np.mean(values)) for key, values in occurrences.items()}
    return Entries(ratios, samples, f"operations profiled inside {len(networks)} whole networks")


def _divide(
    profiles: Sequence[Profile], name: str, parts: Sequence[Path]
) -> list[NDArray[np.float64]]:
    """[processes] of [rounds, pieces]: time of every piece / the reference network's."""
    kinds = operations_of_parts([path.read_bytes() for path in parts])
    operations = [Operation(kind, number) for number, row in enumerate(kinds) for kind in row]
    divided = []
    for profile in profiles:
        owners = np.array(pieces_of_operations(operations, profile.operations[name]))
        belongs = owners[:, None] == np.arange(len(parts))  # [operations, pieces]
        reference_ms = np.array(profile.reference_ms[name])[:, None]  # [rounds, 1]
        divided.append(np.array(profile.ms[name]) @ belongs / reference_ms)
    return divided


def alone(runs: Sequence[Run], keys: Sequence[str]) -> Entries:
    """A piece costs what it takes by itself, less what calling any model takes.

    Args:
      runs: samples of the pieces by key and of the almost empty network.
      keys: of the pieces.
    """
    overhead = timing.ratio(runs, EMPTY)
    # A piece as small as the empty network can come out below it by noise; no time is negative.
    ratios = {key: max(timing.ratio(runs, key) - overhead, 0.0) for key in keys}
    return Entries(ratios, run_samples(runs), "blocks timed alone")


def run_samples(runs: Sequence[Run]) -> dict[str, list[list[float]]]:
    """Name -> [processes][rounds] time / the reference network's time."""
    return {
        name: as_samples([np.divide(run.ms[name], run.reference_ms[name]) for run in runs])
        for name in runs[0].ms
    }


def as_samples(rows: Sequence[NDArray[np.float64]]) -> list[list[float]]:
    """For a file; five digits are more than a clock gives."""
    return [[float(f"{value:.5g}") for value in row] for row in rows]
