"""Elasticity-scaling of a network of TF-NAS' space, and the check that it keeps its target."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from keras_nas.resources.width_latency import WidthLatency
from keras_nas.solvers.elasticity_scaling import (
    Integers,
    Scaling,
    elasticity_scaling,
    use_up,
)
from keras_nas.space import Widths


def scale_network(
    latency: WidthLatency,
    operations: Sequence[int],
    depths: Sequence[int] | None,
    widths: Widths,
    target_ms: float,
    *,
    uses_up: bool = False,
    excluded: Sequence[Widths] = (),
) -> tuple[Widths, Scaling]:
    """Scales the widths that a network uses, as `scale_blocks`.

    Args:
      latency: of the space.
      operations, depths, widths: the network, as of `TFNASSpace.architecture`.
      target_ms: latency that is not to be exceeded.
      uses_up: whether single widths then use up what is left, see `use_up`.
      excluded: widths of networks with these operations and depths that it is not to lead to.

    Raises:
      ValueError: a choice or width outside the space.
    """
    blocks = latency.space.chosen_blocks(operations, depths)
    checked = latency.space.check_widths(widths)
    return scale_blocks(
        latency, operations, blocks, checked, target_ms, uses_up=uses_up, excluded=excluded
    )


def scale_blocks(
    latency: WidthLatency,
    operations: Sequence[int],
    blocks: Sequence[int],
    widths: Widths,
    target_ms: float,
    *,
    uses_up: bool = False,
    excluded: Sequence[Widths] = (),
) -> tuple[Widths, Scaling]:
    """Scales the widths of some blocks' operations, in units of the space's divisor; the others
    stay.

    Args:
      latency: of the space.
      operations: [B].
      blocks: numbers of the blocks that the network has, ascending.
      widths: [B, O].
      target_ms: latency that is not to be exceeded.
      uses_up, excluded: see `scale_network`.

    Returns:
      Widths [B, O], and what was done.

    Warns:
      UserWarning: the network cannot keep the target; its widths are then the smallest.
    """
    space, numbers = latency.space, np.asarray(blocks)  # [N]
    used = (numbers, np.asarray(operations)[numbers])
    unit = space.width_divisor

    def with_widths(chosen: Integers) -> Widths:
        replaced = widths.copy()
        replaced[used] = unit * chosen
        return replaced

    def network_ms(chosen: Integers) -> float:
        return latency.blocks_ms(operations, blocks, with_widths(chosen))

    bounds = (space.smallest_widths()[used] // unit, space.largest_widths()[used] // unit)
    stages = np.array(space.stage_of_block)[numbers]
    scaling = elasticity_scaling(widths[used] // unit, *bounds, stages, network_ms, target_ms)
    if uses_up:
        others = {tuple(other[used] // unit) for other in excluded}
        chosen = use_up(scaling.widths, *bounds, network_ms, target_ms, others)
        scaling = dataclasses.replace(scaling, widths=chosen, latency_ms=network_ms(chosen))
    if not scaling.kept:
        warnings.warn(
            f"elasticity-scaling cannot bring this network to {target_ms:.6g} ms: with the "
            f"smallest widths it takes {scaling.latency_ms:.6g} ms.",
            stacklevel=2,
        )
    found = with_widths(scaling.widths)
    return found, dataclasses.replace(scaling, widths=found[used])


def check_network(
    latency: WidthLatency,
    operations: Sequence[int],
    depths: Sequence[int] | None,
    widths: Widths,
    target_ms: float,
) -> float:
    """The network's latency, ms, which keeps the target exactly: no tolerance.

    Raises:
      ValueError: it does not; or a choice or width outside the space.
    """
    network_ms = latency.network_ms(operations, depths, widths)
    if not network_ms <= target_ms:
        fastest, slowest = latency.range_ms()
        raise ValueError(
            f"the network takes {network_ms:.17g} ms, above its target of {target_ms:.17g} ms. "
            f"Networks of the space take {fastest:.6g} to {slowest:.6g} ms: raise the target, or "
            "search longer with a larger weight of latency."
        )
    return network_ms
