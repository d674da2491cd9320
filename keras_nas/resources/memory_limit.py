"""A limit on peak activation memory: which choices of a space keep it.

The peak is a maximum over pieces, so a network keeps the limit where each of its blocks does: the
limit forbids configurations and depths, and no solver needs to know of it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from keras_nas.resources.activation_memory import input_bytes, piece_peak_bytes
from keras_nas.resources.expected_cost import CostModel, reach
from keras_nas.resources.limits import Limit, check_ranges
from keras_nas.space import StagedSpace

NAME = "peak_memory_bytes"
_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class AllowedChoices:
    """What a limit on memory leaves of a space.

    Attributes:
      limit: with the range of the space.
      configurations: bool [B, C].
      depths: bool [S, D].
    """

    limit: Limit
    configurations: NDArray[np.bool_]
    depths: NDArray[np.bool_]

    def restrict(self, model: CostModel) -> CostModel:
        """The costs of what is left."""
        return dataclasses.replace(
            model,
            allowed=model.allowed & self.configurations,
            allowed_depths=model.allowed_depths & self.depths,
        )


def allowed_by_memory(
    space: StagedSpace, classes: int, precision: str, limit_bytes: float
) -> AllowedChoices:
    """Which configurations and depths keep a limit on the arena for one image.

    Raises:
      ValueError: no network keeps it; the message has the smallest and the largest peak.
    """

    def peak(piece) -> int:
        return input_bytes(space.input_shape) + piece_peak_bytes(piece, precision)

    fixed = max(map(peak, space.fixed_pieces(classes)))
    peaks = np.array([[peak(piece) for piece in row] for row in space.block_pieces()])  # [B, C]
    runs = reach(space)  # [B, S, D]
    exists = np.array(space.depths) > 0  # [S, D]
    typical = float(np.mean(_random_peaks(peaks, runs, exists, fixed)))
    smallest = _peak(peaks.min(axis=1), runs, exists, fixed, np.min)
    largest = _peak(peaks.max(axis=1), runs, exists, fixed, np.max)
    row = Limit(NAME, limit_bytes, smallest, typical, largest)
    check_ranges([row])
    keeps = np.less_equal(peaks, limit_bytes)  # [B, C]
    # A depth needs every block that it runs to have a configuration left.
    depths = exists & ~np.any(runs.astype(bool) & ~keeps.any(axis=1)[:, None, None], axis=0)
    # A block that no depth reaches any more keeps its configurations: they never run.
    return AllowedChoices(row, keeps | ~keeps.any(axis=1, keepdims=True), depths)


def _peak(per_block, runs, exists, fixed, choose) -> float:
    """Peak of the network with these peaks [B] of blocks, at the depths that `choose` picks."""
    per_depth = np.max(runs * per_block[:, None, None], axis=0)  # [S, D]
    stages = [choose(row[allowed]) for row, allowed in zip(per_depth, exists, strict=True)]
    return float(max(fixed, *stages))


def _random_peaks(peaks, runs, exists, fixed) -> list[float]:
    """Peaks of uniformly drawn networks, the same in every call."""
    generator = np.random.default_rng(0)
    blocks, choices = peaks.shape
    result = []
    for _ in range(_SAMPLES):
        drawn = peaks[np.arange(blocks), generator.integers(choices, size=blocks)]  # [B]
        result.append(_peak(drawn, runs, exists, fixed, generator.choice))
    return result
