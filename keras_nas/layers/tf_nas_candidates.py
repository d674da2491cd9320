"""The operations of a block on stacked weights, each as one differentiable call.

Blocks of equal shape are traced once and called: a step over 18 blocks of 8 operations would else
have near a hundred thousand nodes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
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
from tpu.replicas import is_tpu_program, replica_count

_LARGE = 2**15
"""Elements that an image has in a tensor which keeps all cores busy."""


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
    y, kept = forward(x, own, form, selection)
    return y, kept._replace(y_1=None)


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

    Weights stand still in an architecture step, so no gradient reaches them. Of an operation
    nothing is kept: it runs again where its gradient is asked for. Few run at a time, forward and
    backward, since each takes working memory. Those that differ in their kernel size alone are
    traced once.

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
        total = _mixture_forward(x, mix, stacks, mask, form)
        return total, lambda dy: _mixture_backward(dy, x, mix, stacks, mask, form)

    return run(x, mix)


@traced_once
def _mixture_forward(x, mix, stacks, mask, form):
    def add(total, o, own):
        return total + mix[o] * _output(tf.identity(x), *own)

    height, width = (-(-side // form.operation.stride) for side in x.shape[1:3])
    shape = (tf.shape(x)[0], height, width, stacks.project.shape[-1])
    return _over_operations(add, tf.zeros(shape, x.dtype), x, stacks, mask, form)


@traced_once
def _mixture_backward(dy, x, mix, stacks, mask, form):
    def add(sums, o, own):
        dx, d_mix = sums
        own_dx, product = _input_gradient(tf.identity(dy), tf.identity(x), *own)
        return dx + mix[o] * own_dx, d_mix + product * tf.one_hot(o, mix.shape[0], dtype=mix.dtype)

    return _over_operations(add, (tf.zeros_like(x), tf.zeros_like(mix)), x, stacks, mask, form)


def _over_operations(add: Callable, sums: Any, x, stacks, mask, form: Any) -> Any:
    """Adds all operations' parts to `sums`: on a TPU those that are alike in one loop.

    Args:
      add: sums, operation, and what `_mixed` makes of it -> sums.
      sums: what to begin with.
      x, stacks, mask, form: of `run_mixture`.
    """
    if is_tpu_program():
        for group in form.alike:

            def body(i, sums, group=group):
                o = tf.gather(group, i)
                return i + 1, add(sums, o, _mixed_in_loop(stacks, mask, form, o, group))

            _, sums = tf.while_loop(
                lambda *_: True,
                body,
                (tf.constant(0), sums),
                parallel_iterations=1,
                maximum_iterations=len(group),
            )
        return sums
    at_once, done = _at_once(x, form), [sums]
    for o in range(len(form.kernel_sizes)):
        with tf.control_dependencies(tf.nest.flatten(done[max(o + 1 - at_once, 0)])):
            done.append(add(done[-1], o, _mixed(stacks, mask, form, o)))
    return done[-1]


@traced_once
def _output(x, weights, selection, form):
    return forward(x, weights, form, selection)[0]


@traced_once
def _input_gradient(dy, x, weights, selection, form):
    """Gradient of x, and the sum of output times `dy`."""
    y, kept = forward(x, weights, form, selection)
    dx, _ = backward(dy, kept, weights, form, selection, of_weights=False)
    return dx, tf.reduce_sum(dy * y)


def _at_once(x: tf.Tensor, form: Any) -> int:
    """Operations of a mixture that run at the same time: a large one keeps all cores busy."""
    return 1 if math.prod(x.shape[1:-1]) * form.widest > _LARGE else 2


_Mixed = tuple[OperationWeights, Selection, OperationForm]


def _mixed(stacks, mask, form, o: int) -> _Mixed:
    """Weights of an operation without the channels that it has not, with the largest kernel, and
    what runs it."""
    weights = _rows(stacks, [rows[o] for rows in form.rows], form, o)
    weights = weights._replace(expand=weights.expand * mask[o, : form.extent(o)])
    return weights, Selection(tf.constant(form.size_numbers[o]), None), form.operation


def _mixed_in_loop(stacks, mask, form, o, group) -> _Mixed:
    """`_mixed` of any operation of a group: all get squeeze-and-excitation where one has it, and
    the selection says which."""
    like = max(group, key=lambda operation: form.se_channels[operation])
    weights = _rows(stacks, [tf.gather(rows, o) for rows in form.rows], form, like)
    weights = weights._replace(expand=weights.expand * mask[o, : form.extent(like)])
    gated = tf.cast(tf.gather(form.se_channels, o) > 0, mask.dtype)
    own = dataclasses.replace(form.operation, kernel_sizes=(form.kernel_sizes[like],))
    return weights, Selection(tf.constant(0), gated), own


def operation_weights(stacks: OperationWeights, form: Any, operation: int) -> OperationWeights:
    """Weights of one operation, with all channels that it can have.

    Args:
      stacks: all operations' weights, rows as `form.rows` says.
      form: `BlockForm`.
      operation: number of the operation.
    """
    weights = _rows(stacks, [rows[operation] for rows in form.rows], form, operation)
    return weights._replace(depthwise=centre(weights.depthwise, form.kernel_sizes[operation]))


def _rows(stacks: OperationWeights, rows: Sequence[Any], form: Any, like: int) -> OperationWeights:
    """Rows of the stacks, as wide as the operation `like` can be, with the largest kernel."""
    expand, depthwise, project, gate_row = rows
    middle, units = slice(form.extent(like)), slice(form.se_channels[like])
    every = slice(None)
    gate: Any = ()
    if form.se_channels[like]:
        parts = ((middle, units), (units,), (units, middle), (middle,))
        gate = Gate(*(_part(s, gate_row, *own) for s, own in zip(stacks.gate, parts, strict=True)))
    return OperationWeights(
        _part(stacks.expand, expand, every, middle),
        _part(stacks.depthwise, depthwise, every, every, middle),
        _part(stacks.project, project, middle),
        gate,
    )


def _part(stack: tf.Tensor, row: Any, *slices: slice) -> tf.Tensor:
    """A part of a row; in two operations where the row's number is a tensor, as TensorFlow else
    forgets the shape."""
    return stack[(row, *slices)] if isinstance(row, int) else tf.gather(stack, row)[slices]
