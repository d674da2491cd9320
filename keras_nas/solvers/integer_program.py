"""The best network under any number of limits, as an integer program solved by HiGHS.

HiGHS keeps a limit to a tolerance, so costs are computed again, exactly, and on an excess the
program is solved again with that limit lowered.
"""

from __future__ import annotations

import numpy as np
import scipy  # imports its parts when they are used, half a second for all
from numpy.typing import NDArray

from keras_nas.solvers.polytope import ROUNDING, InfeasibleError, SolverError
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]
Choice = tuple[NDArray[np.intp], NDArray[np.intp]]

# HiGHS keeps constraints to 1e-6 in absolute terms. With the largest number in a row scaled to
# this size, that is 1e-10 of it.
_LARGEST = 2.0**13
_MAX_SOLVES = 40
_MILP_INFEASIBLE = 2


def best_network_highs(
    gain_alpha: Array, gain_beta: Array, costs: StagedCosts, limits: Array
) -> Choice:
    """The network of largest gain, of its depths and of the blocks that they reach.

    HiGHS stops within 1e-6 of the largest gain of an entry from the optimum.

    Args:
      gain_alpha: float64 [B, C], finite where allowed.
      gain_beta: float64 [S, D], finite where allowed.
      costs: in R resources.
      limits: float64 [R]; +inf does not bind.

    Returns:
      Depth entries int [S] and configurations int [B], whose exact costs keep the limits.
      Configurations of blocks that are not reached mean nothing.

    Raises:
      InfeasibleError: if no network keeps the limits.
      SolverError: if HiGHS fails.
    """
    smallest, largest = costs.smallest_cost(), costs.largest_cost()
    step = ROUNDING * np.maximum(np.abs(limits), np.abs(largest))  # [R]
    lowered = limits
    for _ in range(_MAX_SOLVES):
        solution = _integer_program(gain_alpha, gain_beta, costs, lowered)
        if solution is None:
            break
        excess = costs.exact_cost(*solution) - limits  # [R]
        if np.all(excess <= 0):
            return solution
        step = np.maximum(2.0 * step, excess)
        lowered = np.where(excess > 0, limits - step, lowered)
    # Whatever keeps the limits costs as much as they allow, up to HiGHS' tolerance: such as the
    # lightest network at its own cost.
    spread = np.where(largest > smallest, largest - smallest, 1.0)  # [R]
    weight = np.sum(costs.block_costs / spread[:, None, None], axis=0)  # [B, C]
    solution = _integer_program(-weight, np.zeros_like(gain_beta), costs, limits)
    if solution is None or np.any(costs.exact_cost(*solution) > limits):
        raise InfeasibleError(limits, smallest, largest)
    return solution


def _integer_program(
    gain_alpha: Array, gain_beta: Array, costs: StagedCosts, limits: Array
) -> Choice | None:
    """The choice with the largest gain of reached blocks' configurations and of depths, or None.

    Variables: y[s, d], the stage takes the depth, and z[b, c], the block is reached and takes
    the configuration, so that sum_c z[b, c] = sum_d runs[b, d] y[s, d] links them without any
    product. Configurations of blocks that are not reached mean nothing.
    """
    block, configuration = np.nonzero(_undominated(gain_alpha, costs))  # [Z]
    stage, depth = np.nonzero(costs.allowed_beta)  # [Y]
    own = stage == np.arange(len(costs.depths))[:, None]  # [S, Y]
    in_block = block == np.arange(len(costs.stage_of_block))[:, None]  # [B, Z]
    runs = own[costs.stage_of_block] & costs.runs()[:, depth]  # [B, Y]
    links = scipy.sparse.block_array(
        [[own.astype(np.float64), None], [-runs.astype(np.float64), in_block.astype(np.float64)]]
    )
    sums = np.repeat([1.0, 0.0], [len(own), len(in_block)])  # [S + B]
    constraints = [scipy.optimize.LinearConstraint(links, sums, sums)]
    binding = np.isfinite(limits)
    if binding.any():
        room = (limits - costs.fixed)[binding]
        rows = costs.block_costs[binding][:, block, configuration]  # [R, Z]
        scale = _scale(np.maximum(np.abs(room), np.abs(rows).max(axis=1)))  # [R]
        rows = np.concatenate([np.zeros((len(rows), stage.size)), rows * scale[:, None]], axis=1)
        constraints.append(scipy.optimize.LinearConstraint(rows, -np.inf, room * scale))
    gain = np.concatenate([gain_beta[stage, depth], gain_alpha[block, configuration]])  # [Y + Z]
    result = scipy.optimize.milp(
        -gain / max(np.abs(gain).max(), np.finfo(np.float64).tiny),
        integrality=np.ones(gain.size),
        bounds=scipy.optimize.Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if result.status == _MILP_INFEASIBLE:
        return None
    if result.x is None or not result.success:
        raise SolverError(f"HiGHS did not solve the projection: {result.message}")
    chosen = result.x > 0.5
    depths = np.zeros(len(own), np.intp)
    depths[stage[chosen[: stage.size]]] = depth[chosen[: stage.size]]
    configurations = np.zeros(len(in_block), np.intp)
    configurations[block[chosen[stage.size :]]] = configuration[chosen[stage.size :]]
    return depths, configurations


def _undominated(gain: Array, costs: StagedCosts) -> NDArray[np.bool_]:
    """Configurations that no other one of their block equals or betters in gain and all costs.

    Of equal ones the lowest index is left. bool [B, C].
    """
    as_good = gain[:, None, :] >= gain[:, :, None]  # [B, C, other]
    as_cheap = (costs.block_costs[:, :, None, :] <= costs.block_costs[:, :, :, None]).all(axis=0)
    covers = as_good & as_cheap & costs.allowed_alpha[:, None, :]
    index = np.arange(gain.shape[1])
    lower = index < index[:, None]  # [C, other]
    # A pair that covers each other is equal.
    dominated = covers & (~covers.transpose(0, 2, 1) | lower)
    return costs.allowed_alpha & ~dominated.any(axis=2)


def _scale(largest: Array) -> Array:
    """The power of two, so that nothing is rounded, that brings `largest` to about _LARGEST."""
    exponent = np.floor(np.log2(np.where(largest > 0, largest, 1.0)))
    return _LARGEST / np.exp2(exponent)
