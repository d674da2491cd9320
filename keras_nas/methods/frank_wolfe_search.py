"""The search of HardCoRe-NAS: block-coordinate stochastic Frank-Wolfe on held-out images.

A compiled step samples one path an image; the gradient of the loss with respect to the sampled
weights, averaged over images, is the gradient of alpha and beta. Between steps (or inside the
compiled loop, `solve_on_device`) a linear program gives the vertex to move to, so that every
iterate keeps the limits.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in, gumbel_one_hot
from keras_nas.methods import graph_linear_step
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.models import Supernet
from keras_nas.solvers.feasible_start import balanced_start, lightest_start
from keras_nas.solvers.frank_wolfe import STEP_RULES, averaged_gradient, frank_wolfe_update
from keras_nas.solvers.linear_step import idle_rows, linear_step
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from tpu.phase import Metrics, Phase

FEASIBILITY_TOLERANCE = 1e-9
"""Relative excess over a limit that the rounding of float64 may leave in an iterate."""

STARTS = {"balanced": balanced_start, "lightest": lightest_start}


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """Where a search began and ended.

    Attributes:
      start_alpha, start_beta: initial probabilities [B, C] and [S, D].
      alpha, beta: final probabilities.
      history: a row a compiled loop: "step", "seconds", "loss", "accuracy", "expected_cost" (of the
        first resource), "step_size", "updates_beta", "alpha_entropy", "beta_entropy" (means over
        rows, nats), and "program_seconds" where programs are solved on the host.
    """

    start_alpha: np.ndarray
    start_beta: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    history: list[Metrics]


def search(
    supernet: Supernet,
    costs: StagedCosts,
    limits: np.ndarray,
    settings: SearchConfig,
    examples: Examples,
    runtime: Runtime,
) -> SearchResult:
    """Searches the probabilities of configurations and depths (HC Algorithm 1).

    Args:
      supernet: w*, which is not changed.
      costs: of the space, R resources.
      limits: [R], in the units of the costs.
      settings: step rule, start, where programs are solved.
      examples: the held-out images guide the search.
      runtime: where.

    Raises:
      InfeasibleError: no architecture keeps the limits.
      ValueError: an iterate broke a limit, or more than one limit with `solve_on_device`.
    """
    limits = np.asarray(limits, np.float64)
    if settings.solve_on_device and len(limits) != 1:
        raise ValueError(
            f"solve_on_device works with one limit, received {len(limits)}; solve between steps."
        )
    start_alpha, start_beta = STARTS[settings.start](
        costs.alpha_costs,
        costs.beta_costs,
        costs.fixed,
        limits,
        costs.allowed_alpha,
        costs.allowed_beta,
    )
    steps = examples.steps(settings.epochs, settings.batch_size, held_out=True)
    rule = STEP_RULES[settings.step_rule]
    plan = _Plan(
        costs=costs,
        limits=limits,
        step_sizes=np.array([rule.step_size(t) for t in range(steps)]),
        updates_beta=np.random.default_rng(examples.seed).integers(2, size=steps),
        gradient_average=rule.gradient_average,
    )
    with runtime.strategy.scope():
        state = _State(start_alpha, start_beta)
    gradients = gradient_function(supernet)
    seed = stage_seed(examples.seed, "search")

    def step(inputs, step_index):
        metrics, *found = gradients(*inputs, state.alpha, state.beta, fold_in(seed, step_index))
        if settings.solve_on_device:
            return metrics | _device_update(plan, state, found, step_index)
        for variable, gradient in zip(
            (state.alpha_gradient, state.beta_gradient), found, strict=True
        ):
            variable.assign(tf.cast(gradient, variable.dtype))
        return metrics

    phase = Phase(
        name="search",
        step=step,
        variables=[*supernet.variables, *state.variables()],
        steps=steps,
        dataset=lambda start: examples.training(
            settings.batch_size, start, int(stage_seed(0, "search")[1]), held_out=True
        ),
        steps_per_loop=runtime.steps_per_loop if settings.solve_on_device else 1,
        host_update=_device_check(plan, state)
        if settings.solve_on_device
        else lambda step, metrics: host_update(plan, state, step),
    )
    history = runtime.run(phase)
    return SearchResult(start_alpha, start_beta, state.alpha.numpy(), state.beta.numpy(), history)


def gradient_function(supernet: Supernet):
    """The stochastic gradient of the loss with respect to alpha and beta.

    Returns:
      A function of images [N, H, W, 3], labels [N], alpha [B, C], beta [S, D] and a [2] seed that
      returns metrics and the gradients [B, C] and [S, D]: the mean over images of dL/d(sampled
      weight), straight through the sample (HC section 3.3), batch norm in inference mode.
    """

    def gradients(images, labels, alpha, beta, seed):
        count = images.shape[0]
        paths = [
            gumbel_one_hot(tf.cast(probabilities, tf.float32), count, fold_in(seed, i))
            for i, probabilities in enumerate((alpha, beta))
        ]  # [N, B, C] and [N, S, D]
        targets = smooth_labels(labels, supernet.classes)
        # Weights are not watched: their gradients would double the cost and are not needed.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(paths)
            logits = supernet(images, *paths, training=False)
            loss = tf.reduce_mean(cross_entropy(targets, logits))
        per_image = tape.gradient(loss, paths)
        metrics = {"loss": loss, "accuracy": tf.reduce_mean(correct(labels, logits))}
        return metrics, *(tf.reduce_sum(gradient, 0) for gradient in per_image)

    return gradients


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """What does not change during a search.

    Attributes:
      costs, limits: the feasible set.
      step_sizes: [steps] gamma_t.
      updates_beta: [steps] 1 where step t moves beta, 0 where it moves alpha.
      gradient_average: weight of earlier gradients.
    """

    costs: StagedCosts
    limits: np.ndarray
    step_sizes: np.ndarray
    updates_beta: np.ndarray
    gradient_average: float


class _State:
    """What changes: alpha, beta, their newest and averaged gradients, and how often averaged."""

    def __init__(self, alpha: np.ndarray, beta: np.ndarray):
        def variable(value, name):
            return tf.Variable(value, dtype=tf.float64, trainable=False, name=name)

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


def host_update(plan: _Plan, state: _State, step: int) -> Metrics:
    """One Frank-Wolfe step in NumPy, between compiled loops.

    Args:
      plan, state: of the search; `state` is moved.
      step: number of finished steps, so this is step `step - 1`.

    Raises:
      ValueError: the new iterate breaks a limit.
    """
    began = time.perf_counter()
    is_beta = int(plan.updates_beta[step - 1])
    gamma = float(plan.step_sizes[step - 1])
    moved, gradient_variable, average_variable = state.block(is_beta)
    costs = plan.costs
    if is_beta:
        coefficients, allowed = costs.beta_costs(state.alpha.numpy()), costs.allowed_beta
    else:
        coefficients, allowed = costs.alpha_costs(state.beta.numpy()), costs.allowed_alpha
    polytope = Polytope(coefficients, plan.limits - costs.fixed, allowed)
    averaged = state.averaged.numpy()
    earlier = average_variable.numpy() if averaged[is_beta] else None
    gradient = averaged_gradient(earlier, gradient_variable.numpy(), plan.gradient_average)
    x = moved.numpy()
    vertex = linear_step(polytope, gradient, "auto", idle_rows(polytope, gradient), x)
    moved.assign(frank_wolfe_update(x, vertex, gamma))
    average_variable.assign(gradient)
    averaged[is_beta] += 1
    state.averaged.assign(averaged)
    expected = check_feasible(plan, state, step)
    return {
        "expected_cost": float(expected[0]),
        "step_size": gamma,
        "updates_beta": float(is_beta),
        "alpha_entropy": mean_entropy(state.alpha.numpy()),
        "beta_entropy": mean_entropy(state.beta.numpy()),
        "program_seconds": time.perf_counter() - began,
    }


def check_feasible(plan: _Plan, state: _State, step: int) -> np.ndarray:
    """Expected costs [R] of the iterate.

    Raises:
      ValueError: one is over its limit by more than rounding.
    """
    expected = plan.costs.expected_cost(state.alpha.numpy(), state.beta.numpy())
    if np.any(expected > plan.limits * (1 + FEASIBILITY_TOLERANCE)):
        raise ValueError(
            f"search step {step} left the feasible set: expected costs {expected.tolist()}, limits "
            f"{plan.limits.tolist()}. This should not happen; please report it."
        )
    return expected


def mean_entropy(probabilities: np.ndarray) -> float:
    """Mean over rows of -sum p log p, in nats."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return float(-np.mean(np.sum(probabilities * logs, axis=1)))


def _device_check(plan: _Plan, state: _State):
    """Feasibility in float64 after every compiled loop."""

    def check(step: int, metrics: Metrics) -> Metrics:
        expected = check_feasible(plan, state, step)
        return {
            "expected_cost": float(expected[0]),
            "alpha_entropy": mean_entropy(state.alpha.numpy()),
            "beta_entropy": mean_entropy(state.beta.numpy()),
        }

    return check


def _device_update(plan: _Plan, state: _State, gradients, step_index) -> dict[str, tf.Tensor]:
    """The twin of `host_update` in the compiled loop: the same iterates, no host between steps."""
    costs, dtype = plan.costs, state.alpha.dtype
    runs = tf.constant(costs.runs()[:, None] * _own_stage(costs), dtype)  # [B, S, D]
    block_costs = tf.constant(costs.block_costs[0], dtype)  # [B, C]
    gamma = tf.gather(tf.constant(plan.step_sizes, dtype), step_index)
    is_beta = tf.gather(tf.constant(plan.updates_beta), step_index) > 0
    room = tf.constant(plan.limits[0] - costs.fixed[0], dtype)
    reach = tf.einsum("bsd,sd->b", runs, state.beta)
    chosen = tf.reduce_sum(block_costs * state.alpha, 1)  # [B]
    coefficients = (block_costs * reach[:, None], tf.einsum("b,bsd->sd", chosen, runs))
    allowed = (costs.allowed_alpha, costs.allowed_beta)
    weight = tf.constant(plan.gradient_average, dtype)
    for i in (0, 1):
        moves = is_beta if i else ~is_beta
        x, _, average = state.block(i)
        gradient = tf.cast(gradients[i], dtype)
        fresh = state.averaged[i] == 0
        gradient = tf.where(fresh, gradient, weight * average + (1 - weight) * gradient)
        used = (gradient != 0) & tf.constant(allowed[i])
        idle = ~(tf.reduce_any(used, 1) | tf.reduce_any(coefficients[i] != 0, 1))
        vertex = graph_linear_step.linear_step(
            coefficients[i], room, tf.constant(allowed[i]), gradient, idle, x.read_value()
        )
        x.assign(tf.where(moves, (1 - gamma) * x + gamma * vertex, x))
        average.assign(tf.where(moves, gradient, average))
    moved = tf.cast(tf.stack([~is_beta, is_beta]), dtype)
    state.averaged.assign_add(moved)
    return {"step_size": gamma, "updates_beta": moved[1]}


def _own_stage(costs: StagedCosts) -> np.ndarray:
    """[B, S, 1] whether block b belongs to stage s."""
    return (costs.stage_of_block[:, None] == np.arange(len(costs.depths)))[:, :, None]
