"""The feasible set of the search: rows of probabilities under expected-cost limits (HC eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Relative error that float64 leaves in a sum of a few thousand products, with room to spare.
ROUNDING = 1e-12


class SolverError(ArithmeticError):
    """A numerical solver gave up on a program that it should have solved."""


class InfeasibleError(ValueError):
    """No point keeps the limits.

    Attributes:
      limits: float64 [R], the limits, in the units of the costs.
      smallest: float64 [R], the smallest cost each resource can reach by itself.
      largest: float64 [R], the largest cost each resource can reach.
    """

    def __init__(self, limits: ArrayLike, smallest: ArrayLike, largest: ArrayLike):
        self.limits = np.atleast_1d(np.asarray(limits, np.float64))
        self.smallest = np.atleast_1d(np.asarray(smallest, np.float64))
        self.largest = np.atleast_1d(np.asarray(largest, np.float64))
        reachable = "; ".join(
            f"resource {r}: limit {limit:.6g}, smallest reachable {low:.6g}, largest {high:.6g}"
            for r, (limit, low, high) in enumerate(
                zip(self.limits, self.smallest, self.largest, strict=True)
            )
        )
        if np.any(self.limits < self.smallest):
            reason = "a limit lies below the smallest reachable cost"
            remedy = "raise it to at least the smallest"
        else:
            reason = "each limit can be kept by itself, but not all of them together"
            remedy = "raise one of them"
        super().__init__(f"No point keeps the limits, since {reason} ({reachable}); {remedy}.")


@dataclass(frozen=True, eq=False)
class Polytope:
    """The set {x: x[g] is a distribution for every g, sum_gk costs[r, g, k] x[g, k] <= limits[r]}.

    Attributes:
      costs: float64 [R, G, K], any unit; [G, K] is taken as one resource. Entries that are not
        allowed are stored as 0.
      limits: float64 [R] or a scalar, in the unit of the costs; +inf does not bind.
      allowed: bool [G, K]; the other entries are padding and stay at 0. Default: all.

    Raises:
      ValueError: if shapes disagree, a cost is not finite, a limit is NaN or -inf, or a row has
        no allowed entry.
    """

    costs: NDArray[np.float64]
    limits: NDArray[np.float64]
    allowed: NDArray[np.bool_]

    def __init__(self, costs: ArrayLike, limits: ArrayLike, allowed: ArrayLike | None = None):
        costs = np.asarray(costs, np.float64)
        if costs.ndim == 2:
            costs = costs[None]  # [1, G, K]
        if costs.ndim != 3 or 0 in costs.shape:
            raise ValueError(
                f"costs must have shape [R, G, K] or [G, K]; received {np.shape(costs)}."
            )
        limits = np.atleast_1d(np.asarray(limits, np.float64))
        if limits.shape != costs.shape[:1]:
            raise ValueError(
                f"limits must hold one number for each of the {costs.shape[0]} resources; "
                f"received shape {limits.shape}."
            )
        if np.isnan(limits).any() or np.isneginf(limits).any():
            raise ValueError(f"limits must be numbers or +inf; received {limits.tolist()}.")
        allowed = check_allowed("allowed", allowed, costs.shape[1:])
        costs = np.where(allowed, costs, 0.0)
        if not np.isfinite(costs).all():
            raise ValueError("costs must be finite wherever allowed; received NaN or infinity.")
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "allowed", allowed)

    def expected_cost(self, x: ArrayLike) -> NDArray[np.float64]:
        """Cost of each resource at `x` [G, K]: float64 [R]."""
        return np.einsum("rgk,gk->r", self.costs, np.asarray(x, np.float64))

    def smallest_cost(self) -> NDArray[np.float64]:
        """Smallest cost that each resource can reach by itself: float64 [R]."""
        return np.where(self.allowed, self.costs, np.inf).min(axis=2).sum(axis=1)

    def largest_cost(self) -> NDArray[np.float64]:
        """Largest cost that each resource can reach: float64 [R]."""
        return np.where(self.allowed, self.costs, -np.inf).max(axis=2).sum(axis=1)

    def lightest(self) -> NDArray[np.float64]:
        """The vertex of smallest cost, ties to the lower index: float64 [G, K] of zeros and ones.

        Raises:
          ValueError: if there are several resources, for which "lightest" has no one meaning.
        """
        if len(self.limits) != 1:
            raise ValueError(
                f"lightest() needs exactly one resource; this polytope has {len(self.limits)}."
            )
        return cheapest_vertex(self.costs[0], self.allowed)

    def contains(self, x: ArrayLike, tolerance: float = ROUNDING) -> bool:
        """Whether `x` [G, K] lies in the set.

        `tolerance` is absolute for probabilities and, for each limit, relative to the larger of
        the limit and the largest cost of an entry.
        """
        x = np.asarray(x, np.float64)
        if x.shape != self.allowed.shape:
            raise ValueError(f"x must have shape {self.allowed.shape}; received {x.shape}.")
        return bool(
            np.isfinite(x).all()
            and (x >= -tolerance).all()
            and (np.abs(x.sum(axis=1) - 1.0) <= tolerance).all()
            and (np.abs(x[~self.allowed]) <= tolerance).all()
            and (self.expected_cost(x) <= self.limits + tolerance * self.cost_scale()).all()
        )

    def cost_scale(self) -> NDArray[np.float64]:
        """Size against which an error in a cost is judged: float64 [R]."""
        finite_limits = np.where(np.isfinite(self.limits), np.abs(self.limits), 0.0)
        return np.maximum(finite_limits, np.abs(self.costs).max(axis=(1, 2)))

    def infeasible(self) -> InfeasibleError:
        """The error that says what this set's limits and reachable costs are."""
        return InfeasibleError(self.limits, self.smallest_cost(), self.largest_cost())


def cheapest_vertex(costs: ArrayLike, allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The cheapest allowed entry of each row as zeros and ones, ties to the lower index.

    `costs` and `allowed` (bool) are [G, K]; so is the result, float64.
    """
    choice = np.where(allowed, costs, np.inf).argmin(axis=1)  # [G]
    return (np.arange(allowed.shape[1]) == choice[:, None]).astype(np.float64)  # [G, K]


def check_allowed(
    name: str, allowed: ArrayLike | None, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """The mask `allowed` as bool [G, K], all True if None; ValueError if it does not fit."""
    mask = np.ones(shape, np.bool_) if allowed is None else np.asarray(allowed, np.bool_)
    if mask.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; received {mask.shape}.")
    empty = np.flatnonzero(~mask.any(axis=1))
    if empty.size:
        raise ValueError(f"{name} must allow an entry in every row; none in rows {empty.tolist()}.")
    return mask
