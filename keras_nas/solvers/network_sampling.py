"""Networks at random among those that keep limits, and the networks one choice away from one.

Counting by dynamic programming (Dyer, 2003, "Approximate counting by dynamic programming"): costs
of the first resource are rounded down to a grid, on which the networks that keep the limit are
counted exactly. A uniform draw from these is a uniform draw from a few too many; those over a limit
are drawn again. So the distribution is exactly uniform over the networks that keep all limits, and
a tight limit costs no more draws than a wide one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]
Choice = tuple[NDArray[np.intp], NDArray[np.intp]]

GRID = 4000
"""Steps between nothing and the limit."""
DRAWS = 10_000
"""After so many networks over a limit in a row it counts as too tight to be drawn from."""


def keeps(costs: StagedCosts, limits: Array, choice: Choice) -> bool:
    """Whether a network keeps all limits [R] exactly."""
    return bool(np.all(costs.exact_cost(*choice) <= limits))


def uniform_sampler(
    costs: StagedCosts, limits: ArrayLike
) -> Callable[[np.random.Generator], Choice]:
    """Draws networks, each that keeps the limits with the same probability.

    Args:
      costs: R resources, of which the first is counted and the others are kept by drawing again.
      limits: [R].

    Returns:
      A function from a generator to depth entries int [S] and configurations int [B]. Those of
      blocks beyond the depth are drawn uniformly; they do not belong to the network.

    Raises:
      InfeasibleError: no network keeps a limit.
      ValueError: a cost is negative; the sampler raises it too where the other limits leave less
        than one in DRAWS networks.
    """
    limits = np.atleast_1d(np.asarray(limits, np.float64))
    if np.any(costs.smallest_cost() > limits):
        raise InfeasibleError(limits, costs.smallest_cost(), costs.largest_cost())
    if costs.block_costs[0].min() < 0:
        raise ValueError(
            f"networks are counted by costs of at least 0, received {costs.block_costs[0].min()}."
        )
    room = min(limits[0], costs.largest_cost()[0]) - costs.fixed[0]
    steps = np.floor(costs.block_costs[0] * (GRID / max(room, 1e-300)) * (1 - 1e-12))  # [B, C]
    counts = _counts(costs, np.minimum(steps, GRID + 1).astype(np.intp))

    def draw(generator: np.random.Generator) -> Choice:
        for _ in range(DRAWS):
            choice = _drawn(costs, counts, generator)
            if keeps(costs, limits, choice):
                return choice
        raise ValueError(
            f"of {DRAWS} networks that were drawn none keeps the limits {limits.tolist()} "
            "together; raise one of them."
        )

    return draw


def neighbours(costs: StagedCosts, limits: Array, choice: Choice) -> list[Choice]:
    """Every other network that keeps the limits and differs in one depth or configuration.

    A stage that becomes deeper takes the configurations that `choice` has for its further blocks.
    """
    depth, configuration = choice
    found = []
    for stage, entry in zip(*np.nonzero(costs.allowed_beta), strict=True):
        if costs.depths[stage, entry] != costs.depths[stage, depth[stage]]:
            changed = depth.copy()
            changed[stage] = entry
            found.append((changed, configuration))
    changeable = costs.allowed_alpha & costs.reached(depth)[:, None]  # [B, C]
    for block, other in zip(*np.nonzero(changeable), strict=True):
        if other != configuration[block]:
            changed = configuration.copy()
            changed[block] = other
            found.append((depth, changed))
    return [other for other in found if keeps(costs, limits, other)]


class _Counts:
    """How many ways there are to go on, by the grid steps g that are left, [GRID + 1] each.

    Attributes:
      steps: [B, C] rounded costs.
      after: of every stage, ways through it and all later ones; one more for the end.
      within: of every block, ways on once the blocks before it in its stage have run.
    """

    def __init__(self, steps: NDArray[np.intp], after: list[Array], within: list[Array]):
        self.steps, self.after, self.within = steps, after, within


def _counts(costs: StagedCosts, steps: NDArray[np.intp]) -> _Counts:
    stages, blocks = len(costs.depths), len(steps)
    after = [np.ones(GRID + 1) for _ in range(stages + 1)]
    within = [np.zeros(GRID + 1) for _ in range(blocks)]
    for stage in reversed(range(stages)):
        own = np.flatnonzero(costs.stage_of_block == stage)
        on = np.zeros(GRID + 1)
        for position in reversed(range(len(own) + 1)):
            if position < len(own):
                on = _shifted(on, steps[own[position]], costs.allowed_alpha[own[position]])
            if _leaves(costs, stage, position).size:
                on = on + after[stage + 1]
            if position < len(own):
                within[own[position]] = on
        after[stage] = on
    return _Counts(steps, after, within)


def _shifted(on: Array, steps: NDArray[np.intp], allowed: NDArray[np.bool_]) -> Array:
    """Sum over a block's configurations of the ways that are left after its cost."""
    total = np.zeros_like(on)
    for step in steps[allowed]:
        if step <= GRID:
            total[step:] += on[: len(on) - step]
    return total


def _leaves(costs: StagedCosts, stage: int, position: int) -> NDArray[np.intp]:
    """Depth entries that run `position` blocks."""
    return np.flatnonzero(costs.allowed_beta[stage] & (costs.depths[stage] == position))


def _drawn(costs: StagedCosts, counts: _Counts, generator: np.random.Generator) -> Choice:
    configuration = np.array(
        [generator.choice(np.flatnonzero(allowed)) for allowed in costs.allowed_alpha]
    )
    depth, left = np.zeros(len(costs.depths), np.intp), GRID
    for stage in range(len(costs.depths)):
        own = np.flatnonzero(costs.stage_of_block == stage)
        for position in range(len(own) + 1):
            entries = _leaves(costs, stage, position)
            leaving = counts.after[stage + 1][left] if entries.size else 0.0
            options = _options(costs, counts, own, position, left)  # [C], or of nothing
            total = leaving + options.sum()
            if entries.size and generator.uniform() * total < leaving:
                depth[stage] = entries[0]
                break
            block = own[position]
            configuration[block] = generator.choice(options.size, p=options / options.sum())
            left -= counts.steps[block, configuration[block]]
    return depth, configuration


def _options(
    costs: StagedCosts, counts: _Counts, own: NDArray[np.intp], position: int, left: int
) -> Array:
    """Ways on through each configuration of the stage's block at `position`."""
    if position == len(own):
        return np.zeros(0)
    block = own[position]
    stage = costs.stage_of_block[block]
    rest = left - counts.steps[block]  # [C]
    fits = costs.allowed_alpha[block] & (rest >= 0)
    if position + 1 < len(own):
        ways = counts.within[own[position + 1]]
    else:
        ends = _leaves(costs, stage, position + 1).size > 0
        ways = counts.after[stage + 1] * ends
    return np.where(fits, ways[np.maximum(rest, 0)], 0.0)
