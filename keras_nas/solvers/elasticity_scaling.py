"""Elasticity-scaling (TF-NAS, arXiv 2008.05314, section 3.4): widths that bring a network to T.

All blocks shrink until the network keeps the latency target, or expand while it does; then the
later stages expand alone, from each stage on, and use up what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ScalingStep:
    """One step.

    Attributes:
      action: `shrink` or `expand`.
      first_stage: the stages from this one on were scaled.
      latency_ms: of the network after it.
    """

    action: str
    first_stage: int
    latency_ms: float


@dataclass(frozen=True, eq=False)
class Scaling:
    """A scaled network.

    Attributes:
      widths: int64 [N] of its blocks.
      latency_ms: of it. before_ms: of the network before.
      steps: what was done, in order.
      kept: whether it keeps the target; if not, shrinking ended at the lower bounds.
    """

    widths: Integers
    latency_ms: float
    before_ms: float
    steps: tuple[ScalingStep, ...]
    kept: bool


def elasticity_scaling(
    widths: ArrayLike,
    smallest: ArrayLike,
    largest: ArrayLike,
    stages: ArrayLike,
    latency_ms: Callable[[Integers], float],
    target_ms: float,
) -> Scaling:
    """Scales a network's widths to a latency target.

    In one iteration every block moves by round(width / smallest width among the blocks that move)
    channels, and stops at its bound. Shrinking keeps the first result that is not above the target,
    expanding the last one. (The authors' code gives up the last iteration of an expansion where
    every block reaches its bound in it; here it counts.)

    Args:
      widths, smallest, largest: [N] integers, of the network's blocks in order.
      stages: [N] stage of every block, ascending from 0.
      latency_ms: widths [N] -> the network's latency.
      target_ms: not to be exceeded.

    Raises:
      ValueError: arrays of different lengths, or a width outside its bounds.
    """
    start, low, high, stage = (
        np.asarray(array, np.int64) for array in (widths, smallest, largest, stages)
    )
    if not start.shape == low.shape == high.shape == stage.shape or start.ndim != 1:
        raise ValueError(
            "widths, smallest, largest and stages should have one entry a block, received shapes "
            f"{start.shape}, {low.shape}, {high.shape} and {stage.shape}."
        )
    if np.any((start < low) | (start > high)):
        raise ValueError(
            f"every width should be between its bounds, received {start.tolist()} for "
            f"{low.tolist()} to {high.tolist()}."
        )
    before_ms = latency_ms(start)
    current, steps = start, []
    for first_stage in range(int(stage[-1]) + 1):
        moves = stage >= first_stage
        if first_stage == 0 and before_ms > target_ms:
            action = "shrink"
            current = _shrink(current, moves, low, latency_ms, target_ms)
        else:
            action = "expand"
            current = _expand(current, moves, high, latency_ms, target_ms)
        steps.append(ScalingStep(action, first_stage, latency_ms(current)))
    after_ms = steps[-1].latency_ms
    return Scaling(current, after_ms, before_ms, tuple(steps), after_ms <= target_ms)


def _strides(widths: Integers, moves: NDArray[np.bool_]) -> Integers:
    """Channels [N] by which one iteration moves each block."""
    # A half rounds to the even number, as in the authors' code.
    return np.where(moves, np.rint(widths / np.min(widths[moves])), 0).astype(np.int64)


def _shrink(
    widths: Integers,
    moves: NDArray[np.bool_],
    low: Integers,
    latency_ms: Callable[[Integers], float],
    target_ms: float,
) -> Integers:
    strides = _strides(widths, moves)
    while latency_ms(widths) > target_ms and np.any(widths[moves] > low[moves]):
        widths = np.maximum(widths - strides, low)
    return widths


def _expand(
    widths: Integers,
    moves: NDArray[np.bool_],
    high: Integers,
    latency_ms: Callable[[Integers], float],
    target_ms: float,
) -> Integers:
    strides = _strides(widths, moves)
    while np.any(widths[moves] < high[moves]):
        wider = np.minimum(widths + strides, high)
        if latency_ms(wider) > target_ms:
            break
        widths = wider
    return widths


def use_up(
    widths: ArrayLike,
    smallest: ArrayLike,
    largest: ArrayLike,
    latency_ms: Callable[[Integers], float],
    target_ms: float,
    excluded: Collection[tuple[int, ...]] = (),
) -> Integers:
    """Widths that use up what elasticity-scaling, which moves whole stages, leaves of the target.

    Of all ways to make one block a channel wider, and another one a channel narrower or none, takes
    the one that leaves least, until none leaves less. (Not in the paper, whose networks have many
    more channels.)

    Args:
      widths, smallest, largest: [N] integers.
      latency_ms: widths [N] -> the network's latency.
      target_ms: not to be exceeded.
      excluded: widths that are not wanted; the best of their neighbours takes their place.

    Returns:
      Widths [N]; the given ones where they exceed the target. Excluded ones only where all
      neighbours are, or exceed the target.
    """
    current, low, high = (np.asarray(array, np.int64) for array in (widths, smallest, largest))
    used = latency_ms(current)
    one = np.eye(len(current), dtype=np.int64)
    moves = np.concatenate([one, -one, *(one - one[i] for i in range(len(one)))])  # [2N + N*N, N]
    while True:
        others = current + moves
        others = others[np.all((low <= others) & (others <= high), axis=1)]
        times = np.array([latency_ms(row) for row in others])
        times[times > target_ms] = -np.inf
        if not len(times) or times.max() <= used:
            break
        current, used = others[times.argmax()], times.max()
    if tuple(current) in excluded:
        times[[tuple(row) in excluded for row in others]] = -np.inf
        if len(times) and np.isfinite(times.max()):
            return others[times.argmax()]
    return current
