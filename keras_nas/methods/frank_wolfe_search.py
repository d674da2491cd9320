"""The search of HardCoRe-NAS: block-coordinate stochastic Frank-Wolfe on held-out images.

A compiled step samples one path an image; the gradient of the loss with respect to the sampled
weights, averaged over images, is the gradient of alpha and beta. Between steps (or inside the
compiled loop, `solve_on_device`) a linear program gives the vertex to move to, so that every
iterate keeps the limits. Several sets of limits are searched at once: image i of a batch serves set
i modulo their number, so a step costs what it costs for one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from keras_nas.config import SearchConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in, gumbel_one_hot
from keras_nas.methods import frank_wolfe_iterate, graph_frank_wolfe
from keras_nas.methods.frank_wolfe_iterate import (
    ROUNDING,
    Plan,
    State,
    metric_name,
    own_metrics,
)
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
    """Searches under one set of limits, [R]; see `search_several`."""
    limits = np.atleast_1d(np.asarray(limits, np.float64))
    return search_several(supernet, costs, limits[None], settings, examples, runtime)[0]


def search_several(
    supernet: Supernet,
    costs: StagedCosts,
    limits: np.ndarray,
    settings: SearchConfig,
    examples: Examples,
    runtime: Runtime,
) -> list[SearchResult]:
    """Searches the probabilities of configurations and depths (HC Algorithm 1).

    Args:
      supernet: w*, which is not changed.
      costs: of the space, R resources.
      limits: [K, R], in the units of the costs. In float32, on a TPU, the search stays 1e-5 below.
      settings: step rule, start, where programs are solved.
      examples: the held-out images guide the search.
      runtime: where.

    Returns:
      One result for each of the K sets of limits; "loss" and "accuracy" of its history are those of
      its own images.

    Raises:
      InfeasibleError: no architecture keeps a set of limits.
      ValueError: an iterate broke a limit, the images of a batch cannot be dealt evenly, or more
        than one resource with `solve_on_device`.
    """
    dtype = runtime.iterate_dtype
    limits = _kept_in(dtype, np.asarray(limits, np.float64))
    sets, resources = limits.shape
    on_device = _solves_on_device(settings, resources, runtime)
    starts = [_start(settings.start, costs, own) for own in limits]
    _check_batch_size(settings.batch_size, sets, runtime)
    plan = _plan(costs, limits, settings, examples)
    alphas, betas = (np.stack(block) for block in zip(*starts, strict=True))
    with runtime.strategy.scope():
        state = State(alphas, betas, dtype)

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
    ends = zip(*state.point(), strict=True)
    return [
        SearchResult(*start, *end, [own_metrics(row, k, sets) for row in history])
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _solves_on_device(settings: SearchConfig, resources: int, runtime: Runtime) -> bool:
    if settings.solve_on_device is None:
        return runtime.on_tpu and resources == 1
    if settings.solve_on_device and resources != 1:
        raise ValueError(
            f"solve_on_device works with one limit, received {resources}; solve between steps."
        )
    return settings.solve_on_device


def _kept_in(dtype: tf.DType, limits: np.ndarray) -> np.ndarray:
    """Short of the limits by what rounding may add, so that the iterates keep the limits."""
    return limits if dtype == tf.float64 else limits * (1 - ROUNDING[dtype])


def _start(name: str, costs: StagedCosts, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alpha and beta that keep the limits [R]."""
    allowed = costs.allowed_alpha, costs.allowed_beta
    return STARTS[name](costs.alpha_costs, costs.beta_costs, costs.fixed, limits, *allowed)


def _check_batch_size(images: int, sets: int, runtime: Runtime) -> None:
    """Raises ValueError unless each replica's share has as many images for every set of limits."""
    setting = "config.search.batch_size"
    runtime.check_batch_size(setting, images)
    replicas = runtime.strategy.num_replicas_in_sync
    if images % (sets * replicas):
        where = f" on each of {replicas} devices" if replicas > 1 else ""
        raise ValueError(
            f"{setting} is {images}, which {sets} latency limits{where} cannot share evenly; "
            f"choose a multiple of {sets * replicas}."
        )


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
      A function of images [N, H, W, 3], labels [N], alpha [K, B, C], beta [K, S, D] and a [2] seed
      that returns metrics and the gradients [K, B, C] and [K, S, D]: the mean over images of
      dL/d(sampled weight), straight through the sample (HC section 3.3), batch norm in inference
      mode. Image i samples from alpha[i % K] and beta[i % K] and counts for them alone; K divides
      N. Without the axis K, for one set, the gradients have none either.
    """

    def gradients(images, labels, alpha, beta, seed):
        count, both = images.shape[0], (alpha, beta)
        sets = alpha.shape[0] if alpha.shape.rank == 3 else 1
        drawn = [
            gumbel_one_hot(tf.cast(probabilities, tf.float32), count // sets, fold_in(seed, i))
            for i, probabilities in enumerate(both)
        ]  # [N / K, K, B, C] and [N / K, K, S, D]
        paths = [tf.reshape(path, [count, *path.shape[-2:]]) for path in drawn]  # [N, B, C]
        targets = smooth_labels(labels, supernet.classes)
        # Weights are not watched: their gradients would double the cost and are not needed.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(paths)
            logits = supernet(images, *paths, training=False)
            losses = cross_entropy(targets, logits)  # [N]
            loss = tf.reduce_mean(losses)
        per_image = tape.gradient(loss, paths)
        right = correct(labels, logits)  # [N]
        metrics = {
            "loss": loss,
            "accuracy": tf.reduce_mean(right),
            "gradient_norm": tf.linalg.global_norm(per_image),
        }
        if sets > 1:
            metrics |= _of_each_set({"loss": losses, "accuracy": right}, sets)
        # The same on all replicas, so that alpha and beta stay the same there.
        found = mean_over_replicas(
            [
                sets * tf.reduce_sum(tf.reshape(gradient, [count // sets, *p.shape]), 0)
                for gradient, p in zip(per_image, both, strict=True)
            ]
        )
        return metrics, *found

    return gradients


def _of_each_set(values: dict[str, tf.Tensor], sets: int) -> dict[str, tf.Tensor]:
    """Means of values [N] over the images of each set of limits."""
    return {
        metric_name(name, k, sets): mean
        for name, of_images in values.items()
        for k, mean in enumerate(
            tf.unstack(tf.reduce_mean(tf.reshape(of_images, [-1, sets]), 0))  # [K]
        )
    }
