"""From probabilities to one network: a depth for every stage, a configuration for every block."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.linear_step import linear_step
from keras_nas.solvers.polytope import ROUNDING, InfeasibleError, Polytope, SolverError
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]
Choice = tuple[NDArray[np.intp], NDArray[np.intp]]

METHODS = ("exact", "lp", "argmax")
# HiGHS keeps constraints, and separates objectives, to 1e-6 in absolute terms. Scaled to this size
# that is 1e-10 of the largest number in the row.
_SCALE = 2.0**13
_MAX_SOLVES = 40
_MILP_INFEASIBLE = 2


def project(
    alpha: ArrayLike,
    beta: ArrayLike,
    *,
    block_costs: ArrayLike,
    fixed: ArrayLike,
    limits: ArrayLike,
    stage_of_block: ArrayLike,
    depths: ArrayLike,
    allowed_alpha: ArrayLike | None = None,
    allowed_beta: ArrayLike | None = None,
    method: str = "exact",
) -> Choice:
    """The network that the search's result stands for (HC eq. 13).

    Methods:
      exact: the largest sum of credits under every limit, jointly over depths and configurations,
        where a block that the depth does not reach counts with its largest credit; so without
        limits it is the argmax. Always keeps the limits, or raises.
      lp: HC's two linear programs, alpha first, then the argmax of their fractional rows. The
        argmax may break a limit.
      argmax: the largest credit of each row. May break the limits by far.

    A block that the depth does not reach gets the configuration of its largest credit. Ties go to
    the lower index where the limits do not bind.

    Args:
      alpha: credits [B, C], the search's probabilities of the configurations.
      beta: credits [S, D], the same of the depths.
      block_costs: [R, B, C], cost of each configuration of each block, in the unit of the limits.
      fixed: [R], cost of what is not searched.
      limits: [R]; +inf does not bind.
      stage_of_block: int [B].
      depths: int [S, D], how many blocks of the stage run at each entry.
      allowed_alpha: bool [B, C]; allowed_beta: bool [S, D]. Default: all.
      method: one of METHODS.

    Returns:
      Depth entry of each stage, int [S], and configuration of each block, int [B].

    Raises:
      InfeasibleError: if no network keeps the limits (exact), or no distribution does (lp).
      SolverError: if HiGHS fails.
      ValueError: for shapes that disagree or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; received {method!r}.")
    costs = StagedCosts(block_costs, fixed, stage_of_block, depths, allowed_alpha, allowed_beta)
    alpha = _credits("alpha", alpha, costs.allowed_alpha)
    beta = _credits("beta", beta, costs.allowed_beta)
    limits = np.atleast_1d(np.asarray(limits, np.float64))
    if limits.shape != costs.fixed.shape or np.isnan(limits).any():
        raise ValueError(
            f"limits must hold one number for each of the {costs.fixed.size} resources; "
            f"received {limits.tolist()}."
        )
    if method == "argmax":
        return _argmax(alpha, beta)
    if method == "lp":
        return _two_linear_programs(alpha, beta, costs, limits)
    return _exact(alpha, beta, costs, limits)


def _argmax(alpha: Array, beta: Array) -> Choice:
    return beta.argmax(axis=1), alpha.argmax(axis=1)


def _two_linear_programs(alpha: Array, beta: Array, costs: StagedCosts, limits: Array) -> Choice:
    """HC section 3.4: alpha under the limits at beta, then beta under them at the new alpha."""
    room = limits - costs.fixed
    distribution = np.where(costs.allowed_beta, beta, 0.0)
    polytope = Polytope(costs.alpha_costs(distribution), room, costs.allowed_alpha)
    vertex = linear_step(polytope, -alpha)
    polytope = Polytope(costs.beta_costs(vertex), room, costs.allowed_beta)
    depth, configuration = _argmax(vertex, linear_step(polytope, -beta))
    return depth, np.where(_reached(costs, depth), configuration, alpha.argmax(axis=1))


def _exact(alpha: Array, beta: Array, costs: StagedCosts, limits: Array) -> Choice:
    """The integer program, solved again with a limit lowered where HiGHS oversteps it."""

    def keeps_limits(choice: Choice) -> bool:
        return bool(np.all(costs.exact_cost(*choice) <= limits))

    choice = _argmax(alpha, beta)
    if keeps_limits(choice):  # best without limits, so best within them
        return choice
    smallest, largest = costs.smallest_cost(), costs.largest_cost()
    if np.any(smallest > limits):
        raise InfeasibleError(limits, smallest, largest)
    best = alpha.max(axis=1, keepdims=True)  # [B, 1], what a block counts that is not reached
    step = ROUNDING * np.maximum(np.abs(limits), np.abs(largest))  # [R]
    lowered = limits
    for _ in range(_MAX_SOLVES):
        solution = _integer_program(alpha - best, beta, costs, lowered)
        if solution is None:
            break
        depth, configuration = solution
        solution = depth, np.where(_reached(costs, depth), configuration, choice[1])
        excess = costs.exact_cost(*solution) - limits  # [R]
        if np.all(excess <= 0):
            return solution
        step = np.maximum(2.0 * step, excess)
        lowered = np.where(excess > 0, limits - step, lowered)
    # Whatever keeps the limits costs as much as they allow up to HiGHS' tolerance: such as the
    # lightest network at its own cost.
    per_resource = np.maximum(largest - smallest, np.finfo(np.float64).tiny)[:, None, None]
    weight = np.sum(costs.block_costs / per_resource, axis=0)  # [B, C]
    solution = _integer_program(-weight, np.zeros_like(beta), costs, limits)
    if solution is None or not keeps_limits(solution):
        raise InfeasibleError(limits, smallest, largest)
    depth, configuration = solution
    return depth, np.where(_reached(costs, depth), configuration, choice[1])


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
        largest = np.maximum(np.abs(room), np.abs(rows).max(axis=1))
        # A power of two, so that scaling rounds nothing.
        scale = _SCALE / np.exp2(np.floor(np.log2(np.maximum(largest, np.finfo(float).tiny))))
        rows = np.concatenate([np.zeros((len(rows), stage.size)), rows * scale[:, None]], axis=1)
        constraints.append(scipy.optimize.LinearConstraint(rows, -np.inf, room * scale))
    gain = np.concatenate([gain_beta[stage, depth], gain_alpha[block, configuration]])  # [Y + Z]
    result = scipy.optimize.milp(
        -gain * (_SCALE / max(np.abs(gain).max(), np.finfo(np.float64).tiny)),
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

    Without the others the program is several times smaller and has the same optimum. Of equal
    ones the lowest index is left. bool [B, C].
    """
    as_good = gain[:, None, :] >= gain[:, :, None]  # [B, C, other]
    as_cheap = (costs.block_costs[:, :, None, :] <= costs.block_costs[:, :, :, None]).all(axis=0)
    covers = as_good & as_cheap & costs.allowed_alpha[:, None, :]
    index = np.arange(gain.shape[1])
    lower = index < index[:, None]  # [C, other]
    # A pair that covers each other is equal.
    dominated = covers & (~covers.transpose(0, 2, 1) | lower)
    return costs.allowed_alpha & ~dominated.any(axis=2)


def _reached(costs: StagedCosts, depth: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each block runs when stage s takes its depth entry depth[s]: bool [B]."""
    return costs.runs()[np.arange(len(costs.stage_of_block)), depth[costs.stage_of_block]]


def _credits(name: str, values: ArrayLike, allowed: NDArray[np.bool_]) -> Array:
    """`values` as float64 with -inf where not allowed; ValueError if they do not fit."""
    values = np.asarray(values, np.float64)
    if values.shape != allowed.shape or not np.isfinite(values[allowed]).all():
        raise ValueError(
            f"{name} must be finite and of shape {allowed.shape}; received shape {values.shape}."
        )
    return np.where(allowed, values, -np.inf)
