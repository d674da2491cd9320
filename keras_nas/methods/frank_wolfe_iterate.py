"""The iterates of HardCoRe-NAS' search, one a set of limits, and their steps in NumPy."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf

from keras_nas.solvers.frank_wolfe import averaged_gradient, frank_wolfe_update
from keras_nas.solvers.linear_step import idle_rows, linear_step
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.staged_costs import StagedCosts
from tpu.phase import Metrics

ROUNDING = {tf.float64: 1e-9, tf.float32: 1e-5}
"""Relative excess over a limit that rounding may leave in an iterate of that dtype."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What does not change during a search.

    Attributes:
      costs: of the space, R resources.
      limits: [K, R], one feasible set for each of K iterates.
      step_sizes: [steps] gamma_t.
      updates_beta: [steps] 1 where step t moves beta, 0 where it moves alpha.
      gradient_average: weight of earlier gradients.
    """

    costs: StagedCosts
    limits: np.ndarray
    step_sizes: np.ndarray
    updates_beta: np.ndarray
    gradient_average: float


class State:
    """What changes: alpha, beta, their newest and averaged gradients, and how often averaged.

    Args:
      alpha, beta: where the search starts, [K, B, C] and [K, S, D].
      dtype: of all of them.
    """

    def __init__(self, alpha: np.ndarray, beta: np.ndarray, dtype: tf.DType = tf.float64):
        def variable(value, name):
            return tf.Variable(value, dtype=dtype, trainable=False, name=name)

        self.alpha, self.beta = variable(alpha, "alpha"), variable(beta, "beta")
        self.alpha_gradient = variable(np.zeros_like(alpha), "alpha_gradient")
        self.beta_gradient = variable(np.zeros_like(beta), "beta_gradient")
        self.alpha_average = variable(np.zeros_like(alpha), "alpha_average")
        self.beta_average = variable(np.zeros_like(beta), "beta_average")
        self.averaged = variable(np.zeros(2), "averaged")

    def variables(self) -> list[tf.Variable]:
        """All of them, for the checkpoint."""
        return list(vars(self).values())

    def block(self, is_beta: int) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
        """Probabilities, gradient and averaged gradient of alpha (0) or beta (1)."""
        if is_beta:
            return self.beta, self.beta_gradient, self.beta_average
        return self.alpha, self.alpha_gradient, self.alpha_average

    def point(self) -> tuple[np.ndarray, np.ndarray]:
        """alpha [K, B, C] and beta [K, S, D] in float64."""
        return _float64(self.alpha), _float64(self.beta)


def _float64(variable: tf.Variable) -> np.ndarray:
    return variable.numpy().astype(np.float64)


def host_update(plan: Plan, state: State, step: int) -> Metrics:
    """One Frank-Wolfe step of every iterate in NumPy, between compiled loops.

    Args:
      plan, state: of the search; `state` is moved.
      step: number of finished steps, so this is step `step - 1`.

    Raises:
      ValueError: a new iterate breaks a limit.
    """
    began = time.perf_counter()
    is_beta = int(plan.updates_beta[step - 1])
    gamma = float(plan.step_sizes[step - 1])
    moved, gradient_variable, average_variable = state.block(is_beta)
    averaged = state.averaged.numpy()
    earlier = _float64(average_variable) if averaged[is_beta] else None
    gradients = averaged_gradient(earlier, _float64(gradient_variable), plan.gradient_average)
    alphas, betas = state.point()
    iterates = [
        _moved(plan, plan.limits[k], is_beta, gamma, alphas[k], betas[k], gradient)
        for k, gradient in enumerate(gradients)
    ]
    moved.assign(np.stack(iterates))
    average_variable.assign(gradients)
    averaged[is_beta] += 1
    state.averaged.assign(averaged)
    return {
        **iterate_metrics(plan, state, step),
        "step_size": gamma,
        "updates_beta": float(is_beta),
        "program_seconds": time.perf_counter() - began,
    }


def _moved(
    plan: Plan,
    limits: np.ndarray,
    is_beta: int,
    gamma: float,
    alpha: np.ndarray,
    beta: np.ndarray,
    gradient: np.ndarray,
) -> np.ndarray:
    """Alpha [B, C] or beta [S, D] of one iterate, moved to the vertex of its linear program."""
    costs = plan.costs
    if is_beta:
        x, coefficients, allowed = beta, costs.beta_costs(alpha), costs.allowed_beta
    else:
        x, coefficients, allowed = alpha, costs.alpha_costs(beta), costs.allowed_alpha
    polytope = Polytope(coefficients, limits - costs.fixed, allowed)
    vertex = linear_step(polytope, gradient, "auto", idle_rows(polytope, gradient), x)
    return frank_wolfe_update(x, vertex, gamma)


def check_feasible(plan: Plan, state: State, step: int) -> np.ndarray:
    """Expected costs [K, R] of the iterates, in float64 whatever their own dtype.

    Raises:
      ValueError: one is over its limit by more than rounding.
    """
    points = zip(*state.point(), strict=True)
    expected = np.stack([plan.costs.expected_cost(alpha, beta) for alpha, beta in points])
    if np.any(expected > plan.limits * (1 + ROUNDING[state.alpha.dtype])):
        raise ValueError(
            f"search step {step} left the feasible set: expected costs {expected.tolist()}, limits "
            f"{plan.limits.tolist()}. This should not happen; please report it."
        )
    return expected


def iterate_metrics(plan: Plan, state: State, step: int) -> Metrics:
    """Expected cost of the first resource, its limit, and entropies of every iterate.

    Raises:
      ValueError: see `check_feasible`.
    """
    expected = check_feasible(plan, state, step)
    count = len(plan.limits)
    metrics: Metrics = {}
    for k, (alpha, beta) in enumerate(zip(state.alpha.numpy(), state.beta.numpy(), strict=True)):
        own = {
            "expected_cost": float(expected[k, 0]),
            "cost_limit": float(plan.limits[k, 0]),
            "alpha_entropy": mean_entropy(alpha),
            "beta_entropy": mean_entropy(beta),
        }
        metrics |= {metric_name(name, k, count): value for name, value in own.items()}
    return metrics


def metric_name(name: str, k: int, count: int) -> str:
    """What a metric of iterate `k` of `count` is called in the history."""
    return name if count == 1 else f"limit_{k}/{name}"


def own_metrics(row: Metrics, k: int, count: int) -> Metrics:
    """A row of the history as iterate `k` of `count` by itself would have it."""
    shared = {name: value for name, value in row.items() if not name.startswith("limit_")}
    start = metric_name("", k, count)
    own = {name.removeprefix(start): v for name, v in row.items() if name.startswith(start)}
    return {**shared, **own}


def mean_entropy(probabilities: np.ndarray) -> float:
    """Mean over rows of -sum p log p, in nats."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return float(-np.mean(np.sum(probabilities * logs, axis=1)))
