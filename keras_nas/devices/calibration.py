"""Fits a latency table's scale on whole networks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_nas.resources.latency_table import CalibrationNetwork
from keras_nas.space import Architecture, pieces


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A fitted scale.

    Attributes:
      scale: factor of every entry.
      networks: what it was fitted on.
      mean_error, worst_error: relative, of each network predicted from all the others.
    """

    scale: float
    networks: tuple[CalibrationNetwork, ...]
    mean_error: float
    worst_error: float


def fit_scale(sums_ms: ArrayLike, measured_ms: ArrayLike, overhead_ms: float) -> float:
    """The scale with the least sum of squared relative errors of overhead + scale * sum.

    Args:
      sums_ms: [N] sum of a network's entries.
      measured_ms: [N] its time.
      overhead_ms: time of an empty network.
    """
    sums, measured = np.asarray(sums_ms, np.float64), np.asarray(measured_ms, np.float64)
    slope = sums / measured  # [N]
    return float(slope @ (1 - overhead_ms / measured) / (slope @ slope))


def calibrate(
    entries: Mapping[str, float],
    overhead_ms: float,
    architectures: Sequence[Architecture],
    measured_ms: Sequence[float],
    input_shape: Sequence[int],
    classes: int,
) -> Calibration:
    """Fits the scale, and predicts every network from all the others to see the error.

    Args:
      entries: piece key -> ms without overhead.
      overhead_ms: time of an empty network.
      architectures, measured_ms: whole networks and their times.
      input_shape, classes: of these networks.

    Raises:
      ValueError: fewer than 2 networks.
    """
    if len(architectures) < 2:
        raise ValueError(
            "seeing the error of a latency table needs at least 2 networks, received "
            f"{len(architectures)}. Use a space with more than one architecture."
        )
    sums = np.array(
        [math.fsum(entries[p.key] for p in pieces(a, input_shape, classes)) for a in architectures]
    )  # [N]
    measured = np.array(measured_ms)  # [N]
    scale = fit_scale(sums, measured, overhead_ms)
    networks = []
    for n, architecture in enumerate(architectures):
        others = np.arange(len(sums)) != n
        scale_without = fit_scale(sums[others], measured[others], overhead_ms)
        networks.append(
            CalibrationNetwork(
                architecture=architecture,
                measured_ms=float(measured[n]),
                predicted_ms=float(overhead_ms + scale * sums[n]),
                held_out_ms=float(overhead_ms + scale_without * sums[n]),
            )
        )
    errors = [abs(row.held_out_ms / row.measured_ms - 1) for row in networks]
    return Calibration(scale, tuple(networks), float(np.mean(errors)), max(errors))
