"""Fits a latency table's scale and overhead on whole networks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import ArrayLike

from keras_nas.resources.latency_table import CalibrationNetwork, entry_of
from keras_nas.space import Architecture, Piece, pieces

OUTLIER = 0.01
"""Relative errors beyond this count linearly, not squared: one network that was measured while the
machine was busy must not bend the fit."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A fitted table.

    Attributes:
      scale: factor of every entry.
      overhead_ms: what every network costs beyond that.
      networks: what it was fitted on.
      mean_error, worst_error: relative, of each network predicted from all the others.
    """

    scale: float
    overhead_ms: float
    networks: tuple[CalibrationNetwork, ...]
    mean_error: float
    worst_error: float


def fit_affine(sums_ms: ArrayLike, measured_ms: ArrayLike) -> tuple[float, float]:
    """Scale and overhead with the least Huber loss of relative errors of overhead + scale * sum.

    Neither is negative, since both stand for times.

    Args:
      sums_ms: [N] sum of a network's entries.
      measured_ms: [N] its time.
    """
    sums, measured = np.asarray(sums_ms, np.float64), np.asarray(measured_ms, np.float64)
    slopes = np.stack([sums, np.full_like(sums, np.mean(sums))], axis=1) / measured[:, None]
    fit = scipy.optimize.least_squares(
        lambda x: slopes @ x - 1,
        x0=[np.mean(measured) / np.mean(sums), 0.0],
        jac=lambda x: slopes,
        bounds=(0.0, np.inf),
        loss="huber",
        f_scale=OUTLIER,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    scale, overhead = fit.x
    return float(scale), float(overhead * np.mean(sums))


def calibrate(
    entries: Mapping[str, float],
    architectures: Sequence[Architecture],
    measured_ms: Sequence[float],
    input_shape: Sequence[int],
    classes: int,
    width_step: int = 1,
) -> Calibration:
    """Fits scale and overhead, and predicts every network from all the others to see the error.

    Args:
      entries: piece key -> ms.
      architectures, measured_ms: whole networks and their times.
      input_shape, classes: of these networks.
      width_step: channels that are computed together, see `between_knots`.

    Raises:
      ValueError: fewer than 3 networks, or a piece without an entry.
    """
    if len(architectures) < 3:
        raise ValueError(
            "seeing the error of a latency table needs at least 3 networks, received "
            f"{len(architectures)}. Use a space with more architectures."
        )
    sums = np.array(
        [_sum(entries, pieces(a, input_shape, classes), width_step) for a in architectures]
    )  # [N]
    measured = np.array(measured_ms)  # [N]
    scale, overhead_ms = fit_affine(sums, measured)
    networks = []
    for n, architecture in enumerate(architectures):
        others = np.arange(len(sums)) != n
        scale_without, overhead_without = fit_affine(sums[others], measured[others])
        networks.append(
            CalibrationNetwork(
                architecture=architecture,
                measured_ms=float(measured[n]),
                predicted_ms=float(overhead_ms + scale * sums[n]),
                held_out_ms=float(overhead_without + scale_without * sums[n]),
            )
        )
    errors = [abs(row.held_out_ms / row.measured_ms - 1) for row in networks]
    return Calibration(scale, overhead_ms, tuple(networks), float(np.mean(errors)), max(errors))


def _sum(entries: Mapping[str, float], parts: Sequence[Piece], width_step: int) -> float:
    found = [(part.key, entry_of(entries, part, width_step)) for part in parts]
    for key, entry in found:
        if entry is None:
            raise ValueError(f"no time was measured for piece {key} of a calibration network.")
    return math.fsum(entry for _, entry in found if entry is not None)
