"""From probabilities to one network: a depth for every stage, a configuration for every block."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.integer_program import best_network_highs
from keras_nas.solvers.knapsack import best_network
from keras_nas.solvers.linear_step import linear_step
from keras_nas.solvers.polytope import InfeasibleError, Polytope, SolverError
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]
Choice = tuple[NDArray[np.intp], NDArray[np.intp]]

METHODS = ("exact", "lp", "argmax")


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
        limits it is the argmax. Always keeps the limits, or raises. With one limit a knapsack
        (knapsack.py), with several an integer program (integer_program.py).
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
    return depth, np.where(costs.reached(depth), configuration, alpha.argmax(axis=1))


def _exact(alpha: Array, beta: Array, costs: StagedCosts, limits: Array) -> Choice:
    choice = _argmax(alpha, beta)
    if np.all(costs.exact_cost(*choice) <= limits):  # best without limits, so best within them
        return choice
    smallest = costs.smallest_cost()
    if np.any(smallest > limits):
        raise InfeasibleError(limits, smallest, costs.largest_cost())
    # A block that is not reached counts with its largest credit: only what is lost matters.
    lost = alpha - alpha.max(axis=1, keepdims=True)  # [B, C]
    if limits.size == 1:
        depth, configuration = best_network(lost, beta, costs, float(limits[0]))
    else:
        depth, configuration = best_network_highs(lost, beta, costs, limits)
    if np.any(costs.exact_cost(depth, configuration) > limits):
        raise SolverError(
            f"The projection found a network of cost {costs.exact_cost(depth, configuration)}, "
            f"over the limits {limits}; please report the table and the credits."
        )
    return depth, np.where(costs.reached(depth), configuration, choice[1])


def _credits(name: str, values: ArrayLike, allowed: NDArray[np.bool_]) -> Array:
    """`values` as float64 with -inf where not allowed; ValueError if they do not fit."""
    values = np.asarray(values, np.float64)
    if values.shape != allowed.shape or not np.isfinite(values[allowed]).all():
        raise ValueError(
            f"{name} must be finite and of shape {allowed.shape}; received shape {values.shape}."
        )
    return np.where(allowed, values, -np.inf)
