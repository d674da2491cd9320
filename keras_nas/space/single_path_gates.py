"""The decisions of Single-Path NAS (arXiv 1904.02877, section 3.1): nested gates of every block.

A block's largest kernel, expansion and squeeze-and-excitation hold the smaller ones. Each step from
a choice to the next larger one is a gate, and a gate counts only where all before it are open: the
number of leading open gates is the choice. For K kernel sizes, E expansion ratios and S ratios of
squeeze-and-excitation a block has K - 1, E and S - 1 gates; the first of the expansion is the block
itself, which is skipped where it is shut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_nas.space.architecture import Architecture
from keras_nas.space.search_space import SearchSpace
from keras_nas.space.values import make_divisible

Array = NDArray[np.float64]

SKIP = -1
"""Stands for a configuration where a block is skipped."""


@dataclasses.dataclass(frozen=True, eq=False)
class Gates:
    """One number for every gate of a space: open (1) or shut (0), a share of 1, or a margin.

    Attributes:
      kernel: [B, K - 1].
      expansion: [B, E].
      squeeze_excite: [B, S - 1].
    """

    kernel: Array
    expansion: Array
    squeeze_excite: Array


def gate_shapes(space: SearchSpace) -> dict[str, tuple[int, int]]:
    """Shapes of a space's gates, by the fields of `Gates`."""
    blocks = len(space.stage_of_block)
    return {
        "kernel": (blocks, len(space.kernel_sizes) - 1),
        "expansion": (blocks, len(space.expansion_ratios)),
        "squeeze_excite": (blocks, len(space.se_ratios) - 1),
    }


def gate_names(space: SearchSpace) -> dict[str, list[str]]:
    """What each gate adds where it is open, by the fields of `Gates`."""
    return {
        "kernel": [f"k{size}" for size in space.kernel_sizes[1:]],
        "expansion": [f"e{ratio:g}" for ratio in space.expansion_ratios],
        "squeeze_excite": [f"se{ratio:g}" for ratio in space.se_ratios[1:]],
    }


def skippable(space: SearchSpace) -> NDArray[np.bool_]:
    """Which blocks may be skipped, bool [B]: those that a stage of the smallest depth is without.

    Each has a residual, since it comes after another block of its stage.
    """
    stages = np.array(space.stage_of_block)
    index = np.arange(len(stages)) - np.array(space.first_blocks)[stages]
    return index >= np.array([stage.min_depth for stage in space.stages])[stages]


def check_nesting(space: SearchSpace) -> None:
    """Checks that the largest choice of every block holds the smaller ones as groups of weights.

    Raises:
      ValueError: two expansion ratios round to the same number of channels.
    """
    for b, shape in enumerate(space.block_input_shapes):
        widths = [make_divisible(shape[2] * ratio) for ratio in space.expansion_ratios]
        if widths != sorted(set(widths)):
            raise ValueError(
                f"space {space.name!r} does not suit Single-Path NAS: in block {b} the expansion "
                f"ratios {list(space.expansion_ratios)} of {shape[2]} channels round to {widths} "
                "channels, so that there is nothing to decide between some of them. Use ratios "
                "further apart, or more channels (config.space.width_multiplier)."
            )


def check_gates(space: SearchSpace, gates: Gates) -> None:
    """Checks that gates are decisions of a space.

    Raises:
      ValueError: another shape, a value other than 0 and 1, or a block is skipped that cannot be.
    """
    for field, shape in gate_shapes(space).items():
        values = np.asarray(getattr(gates, field))
        if values.shape != shape:
            raise ValueError(
                f"{field} gates of space {space.name!r} should have shape {shape} (blocks, gates), "
                f"received {values.shape}. Give the gates of this space."
            )
        if not np.isin(values, (0, 1)).all():
            raise ValueError(
                f"{field} gates should be 1 (open) or 0 (shut), received {np.unique(values)}. "
                "Decide by the sign of the margins first."
            )
    for b in np.flatnonzero((np.asarray(gates.expansion)[:, 0] == 0) & ~skippable(space)):
        raise ValueError(
            f"block {b} of space {space.name!r} cannot be skipped: it has no residual, or its "
            "stage would be too short. Open its first expansion gate."
        )


def configurations_of_gates(space: SearchSpace, gates: Gates) -> NDArray[np.int64]:
    """Configuration of every block, or `SKIP`: int64 [B].

    Raises:
      ValueError: see `check_gates`.
    """
    check_gates(space, gates)
    kernel, expansion, se = (
        np.cumprod(values, axis=1).sum(axis=1).astype(np.int64)
        for values in (gates.kernel, gates.expansion, gates.squeeze_excite)
    )
    sizes, ratios = len(space.kernel_sizes), len(space.se_ratios)
    return np.where(expansion > 0, ((expansion - 1) * sizes + kernel) * ratios + se, SKIP)


def gates_of_configurations(
    space: SearchSpace, configurations: Sequence[int] | NDArray[np.int64]
) -> Gates:
    """The inverse of `configurations_of_gates`; all gates of a block that is skipped are shut.

    Raises:
      ValueError: a number of no configuration, or a block is skipped that cannot be.
    """
    chosen = np.asarray(configurations, np.int64)
    blocks, count = len(space.stage_of_block), len(space.configurations)
    if chosen.shape != (blocks,) or np.any((chosen < SKIP) | (chosen >= count)):
        raise ValueError(
            f"space {space.name!r} takes {blocks} configurations from {SKIP} (skip) to "
            f"{count - 1}, received {chosen.tolist()}."
        )
    runs = chosen != SKIP
    rest, se = np.divmod(np.where(runs, chosen, 0), len(space.se_ratios))
    expansion, kernel = np.divmod(rest, len(space.kernel_sizes))
    levels = {"kernel": kernel, "expansion": np.where(runs, expansion + 1, 0), "squeeze_excite": se}
    fields = {
        field: (np.arange(shape[1]) < levels[field][:, None]).astype(np.float64)
        for field, shape in gate_shapes(space).items()
    }
    gates = Gates(**fields)
    check_gates(space, gates)
    return gates


def margins_of_scores(space: SearchSpace, scores: Array) -> Gates:
    """Margins of gates whose signs decode to every block's best score: max-marginals.

    A gate's margin is the best score beyond it less the best score that stops at it. Of gates that
    are open in any case, since their block cannot be skipped, it is 0.

    Args:
      space: the search space.
      scores: [B, C + 1] of every configuration, and last of skipping.
    """
    sizes = (len(space.expansion_ratios), len(space.kernel_sizes), len(space.se_ratios))
    runs = np.asarray(scores, np.float64)[:, :-1].reshape(-1, *sizes)  # [B, E, K, S]

    def margins(best: Array) -> Array:  # of the levels [B, n + 1] -> [B, n]
        beyond = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
        return beyond[:, 1:] - best[:, :-1]

    skip = np.where(skippable(space), np.asarray(scores)[:, -1], runs.max(axis=(1, 2, 3)))
    expansion = margins(np.concatenate([skip[:, None], runs.max(axis=(2, 3))], axis=1))
    return Gates(margins(runs.max(axis=(1, 3))), expansion, margins(runs.max(axis=(1, 2))))


def decode(space: SearchSpace, gates: Gates, name: str = "network") -> Architecture:
    """The network that gates stand for; a stage is as deep as it has blocks that are not skipped.

    Raises:
      ValueError: see `check_gates`.
    """
    return architecture_of_configurations(space, configurations_of_gates(space, gates), name)


def architecture_of_configurations(
    space: SearchSpace, configurations: Sequence[int] | NDArray[np.int64], name: str = "network"
) -> Architecture:
    """The network with these configurations [B], where `SKIP` leaves a block out."""
    chosen = np.asarray(configurations)
    blocks = len(space.stage_of_block)
    depths, packed = [], np.zeros(blocks, np.int64)
    for stage, first in zip(space.stages, space.first_blocks, strict=True):
        own = chosen[first : first + stage.max_depth]
        kept = own[own != SKIP]
        packed[first : first + len(kept)] = kept
        depths.append(len(kept))
    return space.architecture(depths, packed.tolist(), name)


def gates_of(space: SearchSpace, architecture: Architecture) -> Gates:
    """Gates that `decode` to an architecture; the blocks that it lacks are the last of each stage.

    Raises:
      ValueError: the architecture is not in this space.
    """
    depths, configurations = space.encode(architecture)
    reached = np.isin(np.arange(len(configurations)), space.blocks_of_depths(depths))
    return gates_of_configurations(space, np.where(reached, configurations, SKIP).tolist())
