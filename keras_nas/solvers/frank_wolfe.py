"""Block-coordinate Frank-Wolfe over alpha and beta (HC Algorithm 1): every iterate is feasible.

A step moves towards a vertex of the feasible set, x <- (1 - gamma) x + gamma vertex, so that it
stays inside without any projection or penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_nas.solvers.linear_step import idle_rows, linear_step
from keras_nas.solvers.polytope import Polytope

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StepRule:
    """How far a step goes and how gradients are averaged over the steps of their block.

    Attributes:
      step_size: step number, from 0 after initialisation -> gamma in [0, 1].
      gradient_average: weight of the past in the moving average of gradients, 0 for none.
    """

    step_size: Callable[[int], float]
    gradient_average: float


STEP_RULES = {
    # HC Algorithm 1: 2 n / (t + 2 n) with n = 2 blocks. gamma_0 = 1 leaves nothing of the start.
    "paper": StepRule(lambda step: 4.0 / (step + 4.0), gradient_average=0.0),
    # The settings of the authors' released code.
    "constant": StepRule(lambda step: 0.002, gradient_average=0.9),
}


@dataclass(frozen=True, eq=False)
class Iterate:
    """The point after one step.

    Attributes:
      step: number of the step, from 0.
      block: "alpha" or "beta", which of the two it moved.
      gamma: its step size.
      gap: the moved block's duality gap before the step.
      alpha: float64 [B, C].
      beta: float64 [S, D].
    """

    step: int
    block: str
    gamma: float
    gap: float
    alpha: Array
    beta: Array


def frank_wolfe_update(x: Array, vertex: Array, gamma: float) -> Array:
    """(1 - gamma) x + gamma vertex, a point between two feasible points.

    Raises:
      ValueError: if gamma is outside [0, 1], where the result need not be feasible.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must be in [0, 1]; received {gamma}.")
    return (1.0 - gamma) * x + gamma * vertex


def averaged_gradient(average: Array | None, gradient: Array, weight: float) -> Array:
    """weight * average + (1 - weight) * gradient; the gradient itself where nothing went before."""
    return gradient if average is None else weight * average + (1.0 - weight) * gradient


def duality_gap(gradient: Array, x: Array, vertex: Array) -> float:
    """<gradient, x - vertex>: 0 at a stationary point, else a bound on what is left to gain.

    `vertex` is the linear step for `gradient` (Jaggi, 2013, eq. 2).
    """
    return float(np.sum(gradient * (x - vertex)))


def block_frank_wolfe(
    gradients: Callable[[Array, Array], tuple[Array, Array]],
    alpha_polytope: Callable[[Array], Polytope],
    beta_polytope: Callable[[Array], Polytope],
    alpha: Array,
    beta: Array,
    steps: int,
    seed: int,
    rule: str = "paper",
    solver: str = "auto",
) -> Iterator[Iterate]:
    """Yields the iterates of HC Algorithm 1, moving alpha or beta at random in each step.

    Args:
      gradients: alpha [B, C], beta [S, D] -> gradients of the objective of the same shapes.
      alpha_polytope: beta -> the feasible set of alpha.
      beta_polytope: alpha -> the feasible set of beta.
      alpha, beta: a feasible start.
      steps: how many steps to take.
      seed: of the choice of blocks.
      rule: key of STEP_RULES.
      solver: as in `linear_step`.

    Raises:
      ValueError: for an unknown rule or a start that is not feasible.
    """
    if rule not in STEP_RULES:
        raise ValueError(f"rule must be one of {', '.join(STEP_RULES)}; received {rule!r}.")
    if not alpha_polytope(beta).contains(alpha, 1e-9) or not beta_polytope(alpha).contains(
        beta, 1e-9
    ):
        raise ValueError("alpha and beta must be a feasible start; see solvers/feasible_start.py.")
    step_rule = STEP_RULES[rule]
    generator = np.random.default_rng(seed)
    point = {"alpha": alpha, "beta": beta}
    averages: dict[str, Array | None] = {"alpha": None, "beta": None}
    for step in range(steps):
        block = ("alpha", "beta")[generator.integers(2)]
        gradient = gradients(point["alpha"], point["beta"])[block == "beta"]
        gradient = averaged_gradient(averages[block], gradient, step_rule.gradient_average)
        averages[block] = gradient
        x = point[block]
        polytope = alpha_polytope(beta) if block == "alpha" else beta_polytope(alpha)
        vertex = linear_step(polytope, gradient, solver, idle_rows(polytope, gradient), x)
        gamma = step_rule.step_size(step)
        point[block] = frank_wolfe_update(x, vertex, gamma)
        alpha, beta = point["alpha"], point["beta"]
        yield Iterate(step, block, gamma, duality_gap(gradient, x, vertex), alpha, beta)
