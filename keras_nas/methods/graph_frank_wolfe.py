"""The step of `frank_wolfe_iterate` inside the compiled loop: same iterates, no host between."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.methods import frank_wolfe_iterate, graph_linear_step
from keras_nas.methods.frank_wolfe_iterate import Plan, State
from keras_nas.solvers.staged_costs import StagedCosts
from tpu.phase import Metrics


def device_update(plan: Plan, state: State, gradients, step_index) -> dict[str, tf.Tensor]:
    """The twin of `host_update` in the compiled loop: the same iterates, no host between steps."""
    costs, dtype = plan.costs, state.alpha.dtype
    runs = tf.constant(costs.runs()[:, None] * _own_stage(costs), dtype)  # [B, S, D]
    block_costs = tf.constant(costs.block_costs[0], dtype)  # [B, C]
    gamma = tf.gather(tf.constant(plan.step_sizes, dtype), step_index)
    is_beta = tf.gather(tf.constant(plan.updates_beta), step_index) > 0
    rooms = [tf.constant(limit - costs.fixed[0], dtype) for limit in plan.limits[:, 0]]  # K
    reach = tf.einsum("bsd,ksd->kb", runs, state.beta)
    chosen = tf.reduce_sum(block_costs * state.alpha, 2)  # [K, B]
    coefficients = (
        block_costs * reach[:, :, None],  # [K, B, C]
        tf.einsum("kb,bsd->ksd", chosen, runs),
    )
    allowed = (tf.constant(costs.allowed_alpha), tf.constant(costs.allowed_beta))
    weight = tf.constant(plan.gradient_average, dtype)
    for i in (0, 1):
        moves = is_beta if i else ~is_beta
        x, _, average = state.block(i)
        gradient = tf.cast(gradients[i], dtype)
        fresh = state.averaged[i] == 0
        gradient = tf.where(fresh, gradient, weight * average + (1 - weight) * gradient)
        used = (gradient != 0) & allowed[i]
        idle = ~(tf.reduce_any(used, 2) | tf.reduce_any(coefficients[i] != 0, 2))  # [K, rows]
        current = x.read_value()
        programs = zip(*map(tf.unstack, (coefficients[i], gradient, idle, current)), strict=True)
        vertices = [
            graph_linear_step.linear_step(cost, room, allowed[i], slope, idle_rows, point)
            for room, (cost, slope, idle_rows, point) in zip(rooms, programs, strict=True)
        ]
        x.assign(tf.where(moves, (1 - gamma) * x + gamma * tf.stack(vertices), x))
        average.assign(tf.where(moves, gradient, average))
    moved = tf.cast(tf.stack([~is_beta, is_beta]), dtype)
    state.averaged.assign_add(moved)
    return {"step_size": gamma, "updates_beta": moved[1]}


def _own_stage(costs: StagedCosts) -> np.ndarray:
    """[B, S, 1] whether block b belongs to stage s."""
    return (costs.stage_of_block[:, None] == np.arange(len(costs.depths)))[:, :, None]


def device_check(plan: Plan, state: State):
    """Feasibility in float64 after every compiled loop."""

    def check(step: int, _: Metrics) -> Metrics:
        return frank_wolfe_iterate.iterate_metrics(plan, state, step)

    return check
