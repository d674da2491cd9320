"""The operations of a block on stacked weights, each as one differentiable call.

Blocks of equal shape are traced once and called: a step over 18 blocks of 8 operations would else
have near a hundred thousand nodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_nas.layers.tf_nas_operation import (
    Gate,
    OperationForm,
    OperationWeights,
    Selection,
    backward,
    centre,
    forward,
)
from tpu.replicas import replica_count

_AT_ONCE = 2
"""Operations of a mixture that run at the same time: enough to keep cores busy on small images."""


def traced_once(function: Callable) -> Callable:
    """Makes a function of tensors and hashable settings one call in the graph.

    On several replicas it stays part of the caller's graph: some strategies cannot reduce over
    replicas inside a function.
    """
    compiled = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

    @functools.wraps(function)
    def call(*arguments):
        return (compiled if replica_count() == 1 else function)(*arguments)

    return call


def run_sampled(
    x: tf.Tensor,
    weights: OperationWeights,
    mask: tf.Tensor,
    units: tf.Tensor,
    size: tf.Tensor,
    form: OperationForm,
) -> tf.Tensor:
    """One operation, differentiable with respect to x and its weights.

    Args:
      x: [B, H, W, C_in].
      weights: its row of the stacked weights, with M channels and R units.
      mask: [M] 1 for the channels that it has; the gradient of the others' weights is 0.
      units: int32 scalar, its squeeze-and-excitation width; 0 for none.
      size: int32 scalar, number of its kernel size.
      form: what the block's operations have in common.

    Returns:
      [B, H/stride, W/stride, C].
    """

    @tf.custom_gradient
    def run(x, *flat):
        given = tf.nest.pack_sequence_as(weights, flat)
        y, kept = _sampled_forward(x, given, mask, units, size, form)

        def gradient(dy):
            dx, d_weights = _sampled_backward(dy, kept, given, mask, units, size, form)
            return dx, *tf.nest.flatten(d_weights)

        return y, gradient

    return run(x, *tf.nest.flatten(weights))


@traced_once
def _sampled_forward(x, weights, mask, units, size, form):
    own, selection = _own_part(weights, mask, units, size)
    return forward(x, own, form, selection)


@traced_once
def _sampled_backward(dy, kept, weights, mask, units, size, form):
    own, selection = _own_part(weights, mask, units, size)
    dx, gradient = backward(dy, kept, own, form, selection)
    # What batch norm sends back through a channel that is 0 has no meaning.
    gradient = gradient._replace(expand=gradient.expand * mask)
    if weights.gate:
        has_unit = _units(gradient.gate.reduce_bias, units)
        gate = gradient.gate._replace(reduce_bias=gradient.gate.reduce_bias * has_unit)
        gradient = gradient._replace(
            gate=gate._replace(reduce_kernel=gate.reduce_kernel * has_unit)
        )
    return dx, gradient


def _units(bias: tf.Tensor, units: tf.Tensor) -> tf.Tensor:
    """[R] 1 for the first `units`, else 0."""
    return tf.cast(tf.range(bias.shape[-1]) < units, bias.dtype)


def _own_part(weights: OperationWeights, mask, units, size):
    """A row of weights with zeros where the operation has no channel or unit."""
    own = weights._replace(expand=weights.expand * mask)
    if weights.gate:  # a unit that gets nothing gives nothing
        has_unit = _units(weights.gate.reduce_bias, units)
        gate = weights.gate._replace(
            reduce_kernel=weights.gate.reduce_kernel * has_unit,
            reduce_bias=weights.gate.reduce_bias * has_unit,
        )
        own = own._replace(gate=gate)
    return own, Selection(size, tf.cast(units > 0, mask.dtype))


def run_mixture(
    x: tf.Tensor, mix: tf.Tensor, stacks: OperationWeights, mask: tf.Tensor, form: Any
) -> tf.Tensor:
    """The sum of all operations' outputs times `mix`, differentiable with respect to x and `mix`.

    Weights stand still in an architecture step, so no gradient reaches them. Few operations run at
    a time, forward and backward, since each takes working memory.

    Args:
      x: [B, H, W, C_in].
      mix: [O].
      stacks: all operations' weights, rows as `form.rows` says.
      mask: [O, M] channels of every operation.
      form: `BlockForm`.

    Returns:
      [B, H/stride, W/stride, C].
    """

    @tf.custom_gradient
    def run(x, mix):
        total, kept = _mixture_forward(x, mix, stacks, mask, form)
        return total, lambda dy: _mixture_backward(dy, kept, mix, stacks, mask, form)

    return run(x, mix)


@traced_once
def _mixture_forward(x, mix, stacks, mask, form):
    kept, total, done = [], 0.0, [x] * _AT_ONCE
    for o, share in enumerate(tf.unstack(mix)):
        with tf.control_dependencies([done[-_AT_ONCE]]):
            y, own = forward(tf.identity(x), _masked(stacks, mask, form, o), form.operation)
        kept.append(own)
        done.append(y)
        total += share * y
    return total, kept


@traced_once
def _mixture_backward(dy, kept, mix, stacks, mask, form):
    dx, d_mix, done = 0.0, [], [dy] * _AT_ONCE
    for o, (own, share) in enumerate(zip(kept, tf.unstack(mix), strict=True)):
        weights = _masked(stacks, mask, form, o)
        with tf.control_dependencies([done[-_AT_ONCE]]):
            own_dx, _ = backward(
                share * tf.identity(dy), own, weights, form.operation, of_weights=False
            )
        done.append(own_dx)
        dx += own_dx
        d_mix.append(tf.reduce_sum(dy * own.y_3))
    return dx, tf.stack(d_mix)


def _masked(stacks, mask, form, o: int) -> OperationWeights:
    weights = operation_weights(stacks, form, o)
    return weights._replace(expand=weights.expand * mask[o, : weights.expand.shape[1]])


def operation_weights(stacks: OperationWeights, form: Any, operation: int) -> OperationWeights:
    """Weights of one operation, with all channels that it can have.

    Args:
      stacks: all operations' weights, rows as `form.rows` says.
      form: `BlockForm`.
      operation: number of the operation.
    """
    expand, depthwise, project, gate_row = (rows[operation] for rows in form.rows)
    middle, units = form.extent(operation), form.se_channels[operation]
    gate: Any = ()
    if units:
        reduce_kernel, reduce_bias, expand_kernel, expand_bias = stacks.gate
        gate = Gate(
            reduce_kernel[gate_row, :middle, :units],
            reduce_bias[gate_row, :units],
            expand_kernel[gate_row, :units, :middle],
            expand_bias[gate_row, :middle],
        )
    return OperationWeights(
        stacks.expand[expand, :, :middle],
        centre(stacks.depthwise[depthwise], form.kernel_sizes[operation])[:, :, :middle],
        stacks.project[project, :middle],
        gate,
    )
