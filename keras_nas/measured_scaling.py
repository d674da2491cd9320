"""Closes the loop from the device back to elasticity-scaling, so that the measured network keeps T.

As `measured_projection`, for spaces with free widths: where the measured network misses the limit,
or leaves more than a percent of it unused, the table is refitted on it, and the network is chosen
and its widths are scaled again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_nas.measured_network import Measure, MeasuredNetwork, measured_twice
from keras_nas.methods.width_scaling import check_network, scale_network
from keras_nas.resources import WidthLatency
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.space import Architecture, Widths

Network = tuple[Sequence[int], Sequence[int], Widths]
"""Operations [B], depths [S] and widths [B, O], as from `TFNASSpace.encode`."""


UNUSED = 0.01
"""Share of the latency limit that, left unused, is worth another round."""


@dataclasses.dataclass(frozen=True)
class ScalingRound(MeasuredNetwork):
    """One network that was scaled and measured.

    Its credit is its measured latency: wanted is what keeps the limit and uses most of it.

    Attributes:
      architecture: the network.
    """

    architecture: Architecture

    @property
    def uses_limits(self) -> bool:
        """Whether measured plus spread keeps the limit, and measured leaves at most `UNUSED`."""
        return self.keeps_limit and (1 - UNUSED) * self.limit_ms <= self.measured_ms

    @property
    def next_target_ms(self) -> float:
        """Limit on the prediction, by the table as it was made, of the next network.

        It aims at the middle between what leaves `UNUSED` and what has no room for the spread.
        """
        room = max(UNUSED - self.spread_ms / self.measured_ms, 0.0)
        return (1 - room / 2) * self.limit_ms * self.predicted_ms / self.upper_ms

    def to_json_object(self) -> dict[str, Any]:
        """For `projection.json`."""
        return super().to_json_object() | {"architecture": self.architecture.to_block_strings()}


def scaled(
    latency: WidthLatency, network: Network, target_ms: float, excluded: Sequence[Network] = ()
) -> tuple[Network, float]:
    """The network scaled to a target, and its predicted latency, which keeps it exactly.

    Args:
      latency: by width.
      network: to be scaled.
      target_ms: not to be exceeded.
      excluded: networks that it is not to lead to, if others keep the target.

    Raises:
      ValueError: it cannot keep the target.
    """
    operations, depths, widths = network
    same_choices = [other[2] for other in excluded if other[:2] == network[:2]]
    widths, _ = scale_network(
        latency, operations, depths, widths, target_ms, uses_up=True, excluded=same_choices
    )
    predicted_ms = check_network(latency, operations, depths, widths, target_ms)
    return (operations, depths, widths), predicted_ms


def close_scaling_loop(
    latency: WidthLatency,
    network_for: Callable[[float], Network],
    measure: Measure[Architecture],
    limit_ms: float,
    rounds: int,
) -> list[ScalingRound]:
    """Scales and measures until the limit is kept and at most `UNUSED` of it is left.

    Args:
      latency: by width.
      network_for: a limit on the prediction, ms -> the network to be scaled to it.
      measure: on the device.
      limit_ms: what measured plus spread has to keep.
      rounds: at most.

    Returns:
      All rounds in order. Where scaling leads to a network that was measured before, a neighbour
      takes its place that uses the target about as well. It ends early when a round uses the limit,
      or when the spread leaves no room for more, or when there is no such neighbour, or no network
      that keeps the limit by the refitted table.

    Raises:
      ValueError: no network keeps the limit by the table, or widths do not bring one to a target.
    """
    found: list[ScalingRound] = []
    measured: list[Network] = []
    target_ms = limit_ms
    while len(found) < rounds:
        try:
            network = network_for(target_ms)
        except InfeasibleError:
            if found:
                break  # by the refitted table; what was measured says so
            raise
        choice, predicted_ms = scaled(latency, network, target_ms)
        if _is_in(choice, measured):
            if any(row.keeps_limit and row.upper_ms >= (1 - UNUSED) * limit_ms for row in found):
                break  # what is left is the spread
            choice, predicted_ms = scaled(latency, network, target_ms, measured)
            if _is_in(choice, measured) or predicted_ms < (1 - 2 * UNUSED) * target_ms:
                break
        measured.append(choice)
        architecture = latency.space.architecture(*choice, "scaled")
        measured_ms, spread_ms = measured_twice(measure, architecture, limit_ms)
        newest = ScalingRound(
            limit_ms, target_ms, predicted_ms, measured_ms, spread_ms, measured_ms, architecture
        )
        found.append(newest)
        if newest.uses_limits:
            break
        target_ms = newest.next_target_ms
    return found


def _is_in(network: Network, measured: Sequence[Network]) -> bool:
    return any(
        network[:2] == other[:2] and np.array_equal(network[2], other[2]) for other in measured
    )
