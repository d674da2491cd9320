"""How far limits that no network keeps together are from ones that a network does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keras_nas.solvers.integer_program import best_network_highs
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]

TOLERANCE = 1e-4
"""The common relaxation is found to this much of the limits."""


def feasible(costs: StagedCosts, limits: Array) -> bool:
    """Whether a network keeps all `limits` [R] together.

    Raises:
      SolverError: HiGHS failed.
    """
    nothing = np.zeros(costs.block_costs.shape[1:]), np.zeros(costs.depths.shape)
    try:
        best_network_highs(*nothing, costs, limits)
    except InfeasibleError:
        return False
    return True


def common_relaxation(costs: StagedCosts, limits: Array) -> float:
    """Smallest share t by which all `limits` [R] have to be raised; 0 where a network keeps them.

    Found by halving to TOLERANCE, from above: limits * (1 + t) can be kept.

    Raises:
      SolverError: HiGHS failed.
    """
    if feasible(costs, limits):
        return 0.0
    below, above = 0.0, float(np.max(costs.largest_cost() / limits)) - 1.0
    while above - below > TOLERANCE:
        middle = (below + above) / 2
        if feasible(costs, limits * (1 + middle)):
            above = middle
        else:
            below = middle
    return above


def smallest_within(costs: StagedCosts, limits: Array, resource: int) -> float | None:
    """Smallest cost of a resource among the networks that keep all other `limits` [R].

    Returns:
      None where no network keeps the others.

    Raises:
      SolverError: HiGHS failed.
    """
    others = np.where(np.arange(limits.size) == resource, np.inf, limits)
    gain = -costs.block_costs[resource]  # [B, C]
    try:
        choice = best_network_highs(gain, np.zeros(costs.depths.shape), costs, others)
    except InfeasibleError:
        return None
    return float(costs.exact_cost(*choice)[resource])
