"""Feasible initial points of the search: the lightest and the balanced one (HC eqs. 27 and 28).

The expected cost is bilinear, `fixed + <alpha_costs(beta), alpha>` which equals
`fixed + <beta_costs(alpha), beta>`, and no entry makes a network cheaper by being reached.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import quadprog
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.linear_step import idle_rows, linear_step_highs
from keras_nas.solvers.polytope import (
    ROUNDING,
    InfeasibleError,
    Polytope,
    SolverError,
    cheapest_vertex,
)

Array = NDArray[np.float64]
Costs = Callable[[Array], Array]


def lightest_start(
    alpha_costs: Costs,
    beta_costs: Costs,
    fixed: ArrayLike,
    limits: ArrayLike,
    allowed_alpha: ArrayLike,
    allowed_beta: ArrayLike,
) -> tuple[Array, Array]:
    """The lightest point; under several limits the lightest sum of costs over limits in them.

    Args:
      alpha_costs: beta [S, D] -> [R, B, C], cost of each entry of alpha.
      beta_costs: alpha [B, C] -> [R, S, D], cost of each entry of beta.
      fixed: [R], cost of what is not searched, in the unit of the limits.
      limits: [R].
      allowed_alpha: bool [B, C].
      allowed_beta: bool [S, D].

    Returns:
      alpha float64 [B, C] and beta float64 [S, D].

    Raises:
      InfeasibleError: if no point keeps the limits, with the smallest and largest cost.
      ValueError: for shapes that disagree.
    """
    fixed, limits = _vectors(fixed, limits)
    allowed_alpha = np.asarray(allowed_alpha, np.bool_)
    allowed_beta = np.asarray(allowed_beta, np.bool_)
    uniform_beta = allowed_beta / allowed_beta.sum(axis=1, keepdims=True)  # reaches every block
    block_costs = alpha_costs(uniform_beta)  # [R, B, C]

    def extreme(weights: Array) -> tuple[Array, Array]:
        """The vertices of smallest cost when resource r is weighted with weights[r]."""
        alpha = cheapest_vertex(np.tensordot(weights, block_costs, axes=1), allowed_alpha)
        beta = cheapest_vertex(np.tensordot(weights, beta_costs(alpha), axes=1), allowed_beta)
        return alpha, beta

    def total(alpha: Array, beta: Array) -> Array:
        return fixed + np.sum(alpha_costs(beta) * alpha, axis=(1, 2))  # [R]

    resources = np.eye(len(limits))
    smallest = np.array([total(*extreme(unit))[r] for r, unit in enumerate(resources)])
    largest = np.array([total(*extreme(-unit))[r] for r, unit in enumerate(resources)])
    room = ROUNDING * np.maximum(np.abs(smallest), np.abs(largest))
    if np.any(smallest > limits + room):
        raise InfeasibleError(limits, smallest, largest)
    spread = np.maximum(largest - smallest, np.finfo(np.float64).tiny)
    alpha, beta = extreme(1.0 / spread)
    if np.all(total(alpha, beta) <= limits + room):
        return alpha, beta
    # The lightest sum breaks a limit. At the same depths, which are cheapest in every resource,
    # a mixture of configurations keeps the limits if any point does.
    costs = alpha_costs(beta)
    polytope = Polytope(costs, limits - fixed, allowed_alpha)
    gradient = np.tensordot(1.0 / spread, costs, axes=1)
    try:
        mixed = linear_step_highs(polytope, gradient, idle_rows(polytope, gradient), alpha)
    except InfeasibleError as error:
        raise InfeasibleError(limits, smallest, largest) from error
    return mixed, beta


def balanced_start(
    alpha_costs: Costs,
    beta_costs: Costs,
    fixed: ArrayLike,
    limits: ArrayLike,
    allowed_alpha: ArrayLike,
    allowed_beta: ArrayLike,
    tolerance: float = 1e-3,
    max_rounds: int = 100,
) -> tuple[Array, Array]:
    """HC's balanced initial point: rows as even as the limits allow (appendix, eqs. 27 and 28).

    From the lightest point on, two quadratic programs alternate, beta first, until neither moves
    an entry by `tolerance`, at most `max_rounds` times. Each minimises the squared differences of
    probabilities that are neighbours in the order of cost of the first resource on the table in
    use, under the limits at the other's value. Every iterate is feasible, so the bound on rounds
    costs balance only.

    Args and errors as in `lightest_start`; also SolverError if a quadratic program fails.
    """
    alpha, beta = lightest_start(
        alpha_costs, beta_costs, fixed, limits, allowed_alpha, allowed_beta
    )
    fixed, limits = _vectors(fixed, limits)
    allowed_alpha = np.asarray(allowed_alpha, np.bool_)
    allowed_beta = np.asarray(allowed_beta, np.bool_)
    uniform_beta = allowed_beta / allowed_beta.sum(axis=1, keepdims=True)
    # The orders are fixed at the start: were they to change, the rounds need not converge.
    alpha_order = np.argsort(alpha_costs(uniform_beta)[0], axis=1, kind="stable")  # [B, C]
    beta_order = np.argsort(beta_costs(alpha)[0], axis=1, kind="stable")  # [S, D]
    for _ in range(max_rounds):
        beta_polytope = Polytope(beta_costs(alpha), limits - fixed, allowed_beta)
        next_beta = most_balanced(beta_polytope, beta_order, beta)
        alpha_polytope = Polytope(alpha_costs(next_beta), limits - fixed, allowed_alpha)
        next_alpha = most_balanced(alpha_polytope, alpha_order, alpha)
        moved = max(np.abs(next_beta - beta).max(), np.abs(next_alpha - alpha).max())
        alpha, beta = next_alpha, next_beta
        if moved < tolerance:
            break
    return alpha, beta


def most_balanced(polytope: Polytope, order: ArrayLike, feasible: Array) -> Array:
    """The point of `polytope` with the least sum of squared neighbour differences, for each row.

    Args:
      polytope: the feasible set of x [G, K].
      order: int [G, K], each row's entries in the order in which they are neighbours.
      feasible: float64 [G, K], any point of the polytope.

    Returns:
      float64 [G, K], within every limit in float64 wherever `feasible` is.

    Raises:
      SolverError: if the quadratic program fails.
    """
    order = np.asarray(order)
    rows = np.repeat(np.arange(order.shape[0]), order.shape[1])  # [G * K]
    columns = order.ravel()
    kept = polytope.allowed[rows, columns]
    rows, columns = rows[kept], columns[kept]  # [N], neighbours stand side by side
    same_row = rows[:, None] == rows  # [N, N]
    neighbours = np.diff(np.eye(rows.size), axis=0)[rows[1:] == rows[:-1]]  # differences, [M, N]
    # A row sums to 1, so adding its square of the sum changes no minimiser, and makes the
    # matrix positive definite, as the solver needs.
    quadratic = 2.0 * (neighbours.T @ neighbours + same_row)
    one_a_row = (rows == np.unique(rows)[:, None]).astype(np.float64)  # [G, N]
    binding = np.isfinite(polytope.limits)
    scale = np.maximum(polytope.cost_scale(), np.finfo(np.float64).tiny)[binding]
    costs = polytope.costs[binding][:, rows, columns] / scale[:, None]  # [R, N]
    try:
        solution = quadprog.solve_qp(
            quadratic,
            np.zeros(rows.size),
            np.concatenate([one_a_row, np.eye(rows.size), -costs]).T,
            np.concatenate(
                [np.ones(len(one_a_row)), np.zeros(rows.size), -polytope.limits[binding] / scale]
            ),
            meq=len(one_a_row),
        )[0]
    except ValueError as error:
        # A point that is feasible up to rounding only, such as the lightest at its own cost, is
        # all there is; whatever else quadprog refuses is a failure.
        if "inconsistent" in str(error) and polytope.contains(feasible):
            return feasible
        raise SolverError(f"quadprog did not solve the balanced start: {error}.") from error
    x = np.zeros_like(feasible)
    x[rows, columns] = np.maximum(solution, 0.0)
    x /= x.sum(axis=1, keepdims=True)
    return _pulled_inside(polytope, x, feasible)


def _pulled_inside(polytope: Polytope, x: Array, feasible: Array) -> Array:
    """The point nearest to `x`, on the way to `feasible`, that is inside beyond rounding."""
    inside = polytope.limits - ROUNDING * polytope.cost_scale()
    for pull in (0.0, *np.logspace(-14, 0, 57)):
        candidate = (1.0 - pull) * x + pull * feasible
        if np.all(polytope.expected_cost(candidate) <= inside):
            return candidate
    return feasible


def _vectors(fixed: ArrayLike, limits: ArrayLike) -> tuple[Array, Array]:
    limits = np.atleast_1d(np.asarray(limits, np.float64))
    fixed = np.atleast_1d(np.asarray(fixed, np.float64))
    if fixed.shape != limits.shape or limits.ndim != 1:
        raise ValueError(
            f"fixed and limits must both have shape [R]; received {fixed.shape}, {limits.shape}."
        )
    return fixed, limits
