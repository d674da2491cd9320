"""The linear step of Frank-Wolfe: the vertex x of a polytope with the smallest <gradient, x>.

By HC Theorem 3.1 a vertex under one limit has at most one fractional row, with two entries.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.polytope import ROUNDING, Polytope, SolverError

# The tightest tolerance HiGHS accepts.
HIGHS_TOLERANCE = 1e-10
_HIGHS_INFEASIBLE = 2


def linear_step(
    polytope: Polytope,
    gradient: ArrayLike,
    solver: str = "auto",
    idle: ArrayLike | None = None,
    current: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """The vertex of `polytope` that minimises <gradient, x> (HC Algorithm 1).

    Args:
      polytope: the feasible set of x [G, K].
      gradient: float64 [G, K]; ignored where not allowed.
      solver: "dual" (one resource, exact), "highs" (any number), or "auto": dual where it can.
      idle: bool [G], rows that keep their value in `current` (see `idle_rows`).
      current: float64 [G, K], needed with `idle`.

    Returns:
      float64 [G, K].

    Raises:
      InfeasibleError: if no point keeps the limits.
      SolverError: if HiGHS fails.
      ValueError: for a wrong shape, a gradient that is not finite, or an unknown solver.
    """
    if solver == "auto":
        solver = "dual" if len(polytope.limits) == 1 else "highs"
    if solver not in _SOLVERS:
        raise ValueError(f"solver must be auto, {' or '.join(_SOLVERS)}; received {solver!r}.")
    return _SOLVERS[solver](polytope, gradient, idle, current)


def idle_rows(polytope: Polytope, gradient: ArrayLike) -> NDArray[np.bool_]:
    """Rows without any gradient or cost, such as blocks that the depth never reaches: bool [G].

    Every value of such a row is optimal; passing them as `idle` keeps the one it has.
    """
    used = (np.asarray(gradient) != 0) & polytope.allowed  # [G, K]
    return ~(used.any(axis=1) | polytope.costs.any(axis=(0, 2)))


def linear_step_highs(
    polytope: Polytope,
    gradient: ArrayLike,
    idle: ArrayLike | None = None,
    current: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """`linear_step` by SciPy's HiGHS simplex: the reference, for any number of resources.

    Where several vertices are optimal it returns the one that HiGHS reaches.
    """
    gradient, frozen, x = _check(polytope, gradient, idle, current)
    limits = polytope.limits - polytope.expected_cost(x)  # [R]
    row, column = np.nonzero(polytope.allowed & ~frozen[:, None])  # one per free entry, [N]
    if row.size == 0:
        if np.any(limits < -ROUNDING * polytope.cost_scale()):
            raise polytope.infeasible()
        return x
    binding = np.isfinite(limits)
    # HiGHS' tolerances are absolute: bring the gradient and each resource to the scale of 1.
    scale = np.maximum(polytope.cost_scale(), np.finfo(np.float64).tiny)[binding]  # [R]
    objective = gradient[row, column]  # [N]
    one_a_row = scipy.sparse.csr_array(
        (np.ones(row.size), (np.unique(row, return_inverse=True)[1], np.arange(row.size)))
    )  # [free rows, N]
    result = scipy.optimize.linprog(
        objective / max(np.abs(objective).max(), np.finfo(np.float64).tiny),
        A_ub=scipy.sparse.csr_array(polytope.costs[binding][:, row, column] / scale[:, None]),
        b_ub=limits[binding] / scale,
        A_eq=one_a_row,
        b_eq=np.ones(one_a_row.shape[0]),
        method="highs-ds",
        options={
            "primal_feasibility_tolerance": HIGHS_TOLERANCE,
            "dual_feasibility_tolerance": HIGHS_TOLERANCE,
        },
    )
    if result.status == _HIGHS_INFEASIBLE:
        raise polytope.infeasible()
    if not result.success:
        raise SolverError(f"HiGHS did not solve the linear step: {result.message}")
    x[row, column] = np.clip(result.x, 0.0, 1.0)
    return x


def linear_step_dual(
    polytope: Polytope,
    gradient: ArrayLike,
    idle: ArrayLike | None = None,
    current: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """`linear_step` under one resource, exactly: a relaxed multiple-choice knapsack.

    Its dual has one variable, the price of the resource. Each row starts at its cheapest entry;
    the edges of the rows' lower convex hulls in the (cost, gradient) plane are then bought in the
    order of gain for cost until the limit is reached (Sinha and Zoltners, 1979). Ties go to
    the lower cost, then to the lower index.

    Raises:
      ValueError: also if there are several resources.
    """
    if len(polytope.limits) != 1:
        raise ValueError(
            f"the dual linear step takes one resource, received {len(polytope.limits)}; use highs."
        )
    gradient, frozen, x = _check(polytope, gradient, idle, current)
    costs = polytope.costs[0]  # [G, K]
    entries, is_corner = hull_corners(costs, gradient, polytope.allowed)  # [G, K]
    corner_costs, corner_gradient = costs.take(entries), gradient.take(entries)
    budget = polytope.limits[0] - (x * costs).sum() - corner_costs[~frozen, 0].sum()
    if budget < 0 and budget < -ROUNDING * polytope.cost_scale()[0]:
        raise polytope.infeasible()
    is_edge = is_corner[:, 1:] & ~frozen[:, None]  # [G, K - 1]
    edge_costs = np.where(is_edge, corner_costs[:, 1:] - corner_costs[:, :-1], 1.0)
    slopes = (corner_gradient[:, 1:] - corner_gradient[:, :-1]) / edge_costs
    # Slopes rise along a hull; the running maximum keeps that true where rounding does not.
    slopes = np.maximum.accumulate(np.where(is_edge, slopes, np.inf), axis=1)
    reached = np.zeros((len(x), costs.shape[1] + 1))  # [G, K + 1], how far each corner is passed
    reached[:, 0] = 1.0
    reached[:, 1:-1] = _buy(slopes, np.where(is_edge, edge_costs, 0.0), max(budget, 0.0))
    vertex = np.empty_like(x)
    vertex.put(entries, reached[:, :-1] - reached[:, 1:])
    return np.where(frozen[:, None], x, vertex)


def hull_corners(
    costs: NDArray[np.float64], gradient: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Corners of each row's decreasing lower convex hull in the (cost, gradient) plane.

    An entry is a corner if no cheaper one (or equally cheap one of lower index) is as good, and
    every slope from the left is below every slope to the right. Points inside an edge are not.

    Args:
      costs, gradient: float64 [G, K].
      allowed: bool [G, K].

    Returns:
      entries: int [G, K], indices into the flattened arrays: each row's corners by rising cost,
        then the rest of that row.
      is_corner: bool [G, K], which of them are corners; the first always is.
    """
    rows, columns = costs.shape
    # Padding that costs more and gains less than anything is never a corner.
    costs = np.where(allowed, costs, costs.max() + 1.0)
    gradient = np.where(allowed, gradient, gradient.max() + 1.0)
    row_start = np.arange(0, costs.size, columns)[:, None]  # [G, 1]
    by_cost = np.lexsort((gradient, costs), axis=1) + row_start  # [G, K]
    is_corner = np.ones((rows, columns), np.bool_)
    if columns > 1:
        costs, gradient = costs.take(by_cost).T, gradient.take(by_cost).T  # [K, G]
        pairs = _pairs(columns)
        run = costs.take(pairs.right, axis=0) - costs.take(pairs.left, axis=0)  # [P, G]
        rise = gradient.take(pairs.right, axis=0) - gradient.take(pairs.left, axis=0)
        slopes = np.divide(rise, run, out=np.full_like(run, np.inf), where=run > 0)
        from_left = np.maximum.reduceat(slopes, pairs.right_starts, axis=0)  # [K - 1, G]
        slopes = slopes.take(pairs.by_left, axis=0)  # [P, G]
        to_right = np.minimum.reduceat(slopes, pairs.left_starts, axis=0)  # [K - 1, G]
        is_corner[:, 1:] = (from_left < 0).T
        is_corner[:, 1:-1] &= (from_left[:-1] < to_right[1:]).T
    corners_first = np.argsort(~is_corner, axis=1, kind="stable") + row_start  # [G, K]
    return by_cost.take(corners_first), is_corner.take(corners_first)


class _Pairs(NamedTuple):
    """All pairs left < right of K entries, ordered by `right`; P = K (K - 1) / 2."""

    left: NDArray[np.intp]  # [P]
    right: NDArray[np.intp]  # [P]
    right_starts: NDArray[np.intp]  # [K - 1], where each right entry's pairs start
    by_left: NDArray[np.intp]  # [P], the order by `left`
    left_starts: NDArray[np.intp]  # [K - 1], where each left entry's pairs start in that order


@functools.lru_cache(maxsize=16)
def _pairs(count: int) -> _Pairs:
    right, left = np.tril_indices(count, -1)
    starts = np.arange(count - 1)
    by_left = np.argsort(left, kind="stable")
    left_starts = starts * count - starts * (starts + 1) // 2
    return _Pairs(left, right, starts * (starts + 1) // 2, by_left, left_starts)


def _buy(
    slopes: NDArray[np.float64], edge_costs: NDArray[np.float64], budget: float
) -> NDArray[np.float64]:
    """How much of each edge the budget buys, steepest descent first: [G, K - 1] in [0, 1].

    Edges that do not exist have slope +inf and cost 0.
    """
    order = np.argsort(slopes, axis=None, kind="stable")  # [G * (K - 1)]
    costs = edge_costs.ravel()[order]
    spent = np.cumsum(costs)
    whole = (spent <= budget) & (costs > 0)
    bought = np.zeros(order.size)
    bought[order[whole]] = 1.0
    last = np.count_nonzero(whole)
    if last < order.size and costs[last] > 0:
        bought[order[last]] = np.clip((budget - (spent[last] - costs[last])) / costs[last], 0, 1)
    return bought.reshape(slopes.shape)


def _check(
    polytope: Polytope, gradient: ArrayLike, idle: ArrayLike | None, current: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Gradient [G, K], frozen rows [G], and x [G, K] holding the frozen rows and 0 elsewhere."""
    shape = polytope.allowed.shape
    gradient = np.asarray(gradient, np.float64)
    if gradient.shape != shape:
        raise ValueError(f"gradient must have shape {shape}; received {gradient.shape}.")
    gradient = np.where(polytope.allowed, gradient, 0.0)
    if not np.isfinite(gradient).all():
        raise ValueError("gradient must be finite wherever allowed; received NaN or infinity.")
    if idle is None:
        return gradient, np.zeros(shape[0], np.bool_), np.zeros(shape)
    idle = np.asarray(idle, np.bool_)
    if idle.shape != shape[:1]:
        raise ValueError(f"idle must have shape {shape[:1]}; received {idle.shape}.")
    if current is None or np.shape(current) != shape:
        raise ValueError(
            f"idle rows keep their value in current, which must have shape {shape}; "
            f"received {None if current is None else np.shape(current)}."
        )
    return gradient, idle, np.where(idle[:, None], np.asarray(current, np.float64), 0.0)


_SOLVERS = {"dual": linear_step_dual, "highs": linear_step_highs}
