"""The linear step of Frank-Wolfe inside a compiled TensorFlow program, without a trip to the host.

The twin of `keras_nas.solvers.linear_step.linear_step_dual`: the same hulls, the same order of
purchase and the same tie rule, with static shapes, sorting and masks only, so that it also
compiles for a TPU.
"""

from __future__ import annotations

import tensorflow as tf


def linear_step(
    costs: tf.Tensor,
    limit: tf.Tensor,
    allowed: tf.Tensor,
    gradient: tf.Tensor,
    idle: tf.Tensor,
    current: tf.Tensor,
) -> tf.Tensor:
    """argmin <gradient, x> over distributions x[g] with sum costs * x <= limit (HC Algorithm 1).

    Ties go to the lower cost, then to the lower index. A compiled program cannot raise: where no
    point keeps the limit the result is the lightest vertex, so check the limit beforehand.

    Args:
      costs: float [G, K], finite, in the unit of the limit.
      limit: float scalar of the same dtype.
      allowed: bool [G, K], at least one in each row; other entries are padding and get 0.
      gradient: float [G, K] of the same dtype.
      idle: bool [G], rows that keep their value in `current`.
      current: float [G, K] of the same dtype.

    Returns:
      float [G, K] of the dtype of `costs`.
    """
    dtype = costs.dtype
    kept = tf.where(idle[:, None], current, tf.zeros_like(current))  # [G, K]
    is_corner = _hull_corners(costs, gradient, allowed)  # [G, K]
    far = tf.fill(costs.shape, dtype.max)
    order = tf.argsort(tf.where(is_corner, costs, far), axis=1, stable=True)  # [G, K]
    corner_costs = tf.gather(costs, order, batch_dims=1)
    corner_gradient = tf.gather(gradient, order, batch_dims=1)
    lightest = tf.where(idle, tf.zeros_like(corner_costs[:, 0]), corner_costs[:, 0])  # [G]
    budget = limit - tf.reduce_sum(kept * costs) - tf.reduce_sum(lightest)
    is_edge = tf.gather(is_corner, order, batch_dims=1)[:, 1:] & ~idle[:, None]  # [G, K - 1]
    ones, zeros = tf.ones(is_edge.shape, dtype), tf.zeros(is_edge.shape, dtype)
    edge_costs = tf.where(is_edge, corner_costs[:, 1:] - corner_costs[:, :-1], ones)
    slopes = (corner_gradient[:, 1:] - corner_gradient[:, :-1]) / edge_costs
    slopes = _running_maximum(tf.where(is_edge, slopes, ones * dtype.max))
    bought = _buy(slopes, tf.where(is_edge, edge_costs, zeros), tf.maximum(budget, 0))
    start, end = tf.ones([costs.shape[0], 1], dtype), tf.zeros([costs.shape[0], 1], dtype)
    reached = tf.concat([start, bought, end], axis=1)  # [G, K + 1]
    vertex = tf.gather(reached[:, :-1] - reached[:, 1:], tf.argsort(order, axis=1), batch_dims=1)
    return tf.where(idle[:, None], kept, vertex)


def _hull_corners(costs: tf.Tensor, gradient: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Corners of each row's decreasing lower convex hull in the (cost, gradient) plane.

    Compares all pairs of a row, which at [G, K, K] is cheaper than a scan. bool [G, K].
    """
    dtype = costs.dtype
    extra_cost = costs[:, :, None] - costs[:, None, :]  # [G, K, K], entry less other
    extra_gradient = gradient[:, :, None] - gradient[:, None, :]  # [G, K, K]
    other = allowed[:, None, :]  # [G, 1, K]
    same_cost = extra_cost == 0
    slopes = extra_gradient / tf.where(same_cost, tf.ones_like(extra_cost), extra_cost)
    is_left, is_right = other & (extra_cost > 0), other & (extra_cost < 0)
    limit = tf.fill(slopes.shape, dtype.max)
    from_left = tf.reduce_max(tf.where(is_left, slopes, -limit), axis=2)  # [G, K]
    to_right = tf.reduce_min(tf.where(is_right, slopes, limit), axis=2)  # [G, K]
    index = tf.range(costs.shape[1])
    lower = index[None, :] < index[:, None]  # [K, K], the other has the lower index
    better = (extra_gradient > 0) | ((extra_gradient == 0) & lower)
    beaten = tf.reduce_any(other & same_cost & better, axis=2)  # [G, K], at the same cost
    first = ~tf.reduce_any(is_left, axis=2)  # [G, K]
    return allowed & ~beaten & (first | (from_left < tf.minimum(to_right, 0)))


def _running_maximum(values: tf.Tensor) -> tf.Tensor:
    """Maximum of each row up to each column: [G, N]."""
    column = tf.range(values.shape[1])
    so_far = column[None, :] <= column[:, None]  # [N, N]
    lowest = tf.fill([values.shape[0], *so_far.shape], values.dtype.min)
    return tf.reduce_max(tf.where(so_far, values[:, None, :], lowest), axis=2)


def _buy(slopes: tf.Tensor, edge_costs: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """How much of each edge the budget buys, steepest descent first: [G, K - 1] in [0, 1].

    Edges that do not exist have the largest slope and cost 0.
    """
    order = tf.argsort(tf.reshape(slopes, [-1]), stable=True)  # [G * (K - 1)]
    costs = tf.gather(tf.reshape(edge_costs, [-1]), order)
    spent = tf.cumsum(costs)
    whole = (spent <= budget) & (costs > 0)
    exists = tf.where(costs > 0, costs, tf.ones_like(costs))
    part = tf.clip_by_value((budget - (spent - costs)) / exists, 0, 1)
    # The one edge that is bought in part follows those that are bought whole.
    is_last = tf.range(costs.shape[0]) == tf.reduce_sum(tf.cast(whole, tf.int32))
    part = tf.where(is_last & (costs > 0), part, tf.zeros_like(part))
    bought = tf.where(whole, tf.ones_like(part), part)
    return tf.reshape(tf.gather(bought, tf.argsort(order)), slopes.shape)
