"""The search of HardCoRe-NAS: block-coordinate stochastic Frank-Wolfe on held-out images.

A compiled step samples one path an image; the gradient of the loss with respect to the sampled
weights, averaged over images, is the gradient of alpha and beta. Between steps (or inside the
compiled loop, `solve_on_device`) a linear program gives the vertex to move to, so that every
iterate keeps the limits.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in, gumbel_one_hot
from keras_nas.methods import frank_wolfe_iterate, graph_frank_wolfe
from keras_nas.methods.frank_wolfe_iterate import ROUNDING, Plan, State
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.models import Supernet
from keras_nas.solvers.feasible_start import balanced_start, lightest_start
from keras_nas.solvers.frank_wolfe import STEP_RULES
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from tpu.phase import Metrics, Phase
from tpu.replicas import mean_over_replicas

STARTS = {"balanced": balanced_start, "lightest": lightest_start}


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """Where a search began and ended.

    Attributes:
      start_alpha, start_beta: initial probabilities [B, C] and [S, D].
      alpha, beta: final probabilities.
      history: a row a compiled loop: "step", "seconds", "loss", "accuracy", "gradient_norm",
        "expected_cost" (of the first resource) and its "cost_limit", "step_size", "updates_beta",
        "alpha_entropy", "beta_entropy" (means over rows, nats), and "program_seconds" where
        programs are solved on the host.
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
      limits: [R], in the units of the costs. In float32, on a TPU, the search stays 1e-5 below.
      settings: step rule, start, where programs are solved.
      examples: the held-out images guide the search.
      runtime: where.

    Raises:
      InfeasibleError: no architecture keeps the limits.
      ValueError: an iterate broke a limit, or more than one limit with `solve_on_device`.
    """
    dtype = runtime.iterate_dtype
    # Short of the limits by what rounding may add: the iterates then keep the limits themselves.
    limits = np.asarray(limits, np.float64)
    if dtype != tf.float64:
        limits = limits * (1 - ROUNDING[dtype])
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
    runtime.check_batch_size("config.search.batch_size", settings.batch_size)
    plan = _plan(costs, limits, settings, examples)
    with runtime.strategy.scope():
        state = State(start_alpha, start_beta, dtype)
    on_device = settings.solve_on_device

    def on_host(step: int, _: Metrics) -> Metrics:
        return frank_wolfe_iterate.host_update(plan, state, step)

    phase = Phase(
        name="search",
        step=_step(supernet, plan, state, stage_seed(examples.seed, "search"), on_device),
        variables=[*supernet.variables, *state.variables()],
        steps=len(plan.step_sizes),
        dataset=lambda start: examples.training(
            settings.batch_size, start, int(stage_seed(0, "search")[1]), held_out=True
        ),
        steps_per_loop=runtime.steps_per_loop if on_device else 1,
        host_update=graph_frank_wolfe.device_check(plan, state) if on_device else on_host,
        batch_size_setting="config.search.batch_size",
    )
    history = runtime.run(phase)
    return SearchResult(start_alpha, start_beta, *state.point(), history)


def _plan(
    costs: StagedCosts, limits: np.ndarray, settings: SearchConfig, examples: Examples
) -> Plan:
    """Step sizes, and alpha or beta picked at random for every step (HC Algorithm 1)."""
    steps = examples.steps(settings.epochs, settings.batch_size, held_out=True)
    rule = STEP_RULES[settings.step_rule]
    return Plan(
        costs=costs,
        limits=limits,
        step_sizes=np.array([rule.step_size(t) for t in range(steps)]),
        updates_beta=np.random.default_rng(examples.seed).integers(2, size=steps),
        gradient_average=rule.gradient_average,
    )


def _step(supernet: Supernet, plan: Plan, state: State, seed, on_device: bool):
    """The compiled step: gradients into the state for the host, or the whole update."""
    gradients = gradient_function(supernet)

    def step(inputs, step_index):
        metrics, *found = gradients(*inputs, state.alpha, state.beta, fold_in(seed, step_index))
        if on_device:
            return metrics | graph_frank_wolfe.device_update(plan, state, found, step_index)
        for variable, gradient in zip(
            (state.alpha_gradient, state.beta_gradient), found, strict=True
        ):
            variable.assign(tf.cast(gradient, variable.dtype))
        return metrics

    return step


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
        metrics = {
            "loss": loss,
            "accuracy": tf.reduce_mean(correct(labels, logits)),
            "gradient_norm": tf.linalg.global_norm(per_image),
        }
        # The same on all replicas, so that alpha and beta stay the same there.
        found = mean_over_replicas([tf.reduce_sum(gradient, 0) for gradient in per_image])
        return metrics, *found

    return gradients
