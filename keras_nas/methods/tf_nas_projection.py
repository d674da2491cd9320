"""From TF-NAS' probabilities to operations and depths that widths can bring to the latency target.

Elasticity-scaling only moves widths (TF, arXiv 2008.05314, section 3.4), so a search may end in a
most probable network that is above its target at the smallest ones. Of all networks that are not,
the most probable one is chosen here, exactly. Where the search's own is among them, that is it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.resources.width_latency import WidthLatency
from keras_nas.solvers.projection import project

Array = NDArray[np.float64]
Choice = tuple[tuple[int, ...], tuple[int, ...]]
"""Operations [B], and the numbers of the blocks that the network has."""


def most_probable_within(
    latency: WidthLatency,
    alpha: ArrayLike,
    beta: ArrayLike,
    target_ms: float,
    depth_space: str = "sink",
) -> Choice:
    """The most probable network that keeps a latency target at its smallest widths.

    A block that is left out counts with its most probable operation, as in the argmax.

    Args:
      latency: by width.
      alpha: [B, A] probabilities of the operations, with `skip_in` of skipping as the last one.
      beta: probabilities of depths: [S, D] with `sink`, else [B, 2] of skipping and running. What
        has probability 0 cannot be chosen.
      target_ms: latency that is not to be exceeded.
      depth_space: one of `DEPTH_SPACES`.

    Raises:
      InfeasibleError: no network keeps the target.
    """
    space = latency.space
    count = len(space.operations)
    runs = _logarithms(alpha)  # [B, A]
    costs = latency.operation_ms(space.smallest_widths())  # [B, O]
    if depth_space == "sink":
        credits, depth_credits, depths = runs, _logarithms(beta), np.array(space.depths)
    else:
        credits = runs if depth_space == "skip_in" else _with_skipping(runs, _logarithms(beta))
        costs = np.concatenate([costs, np.zeros((len(costs), 1))], axis=1)  # [B, O + 1]
        depths = np.array(space.largest_depths)[:, None]  # [S, 1]
        depth_credits = np.zeros(depths.shape)
    entries, choices = project(
        credits,
        depth_credits,
        block_costs=costs[None],
        fixed=[latency.fixed_ms],
        limits=[target_ms],
        stage_of_block=space.stage_of_block,
        depths=depths,
        allowed_alpha=np.isfinite(credits),
        allowed_beta=np.isfinite(depth_credits) & (depths > 0),
    )
    reached = space.blocks_of_depths(depths[np.arange(len(depths)), entries].tolist())
    operations = runs[:, :count].argmax(axis=1)
    operations = np.where(choices < count, choices, operations)
    return tuple(operations.tolist()), tuple(b for b in reached if choices[b] < count)


def _with_skipping(alpha: Array, beta: Array) -> Array:
    """[B, O + 1] from operations [B, O], and skipping and running [B, 2], in logarithms."""
    skipped = alpha.max(axis=1, keepdims=True) + beta[:, :1]
    return np.concatenate([alpha + beta[:, 1:], skipped], axis=1)


def _logarithms(probabilities: ArrayLike) -> Array:
    values = np.asarray(probabilities, np.float64)
    return np.log(values, out=np.full(values.shape, -np.inf), where=values > 0)
