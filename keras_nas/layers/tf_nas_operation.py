"""One candidate operation of TF-NAS, an MBConv without learnt batch norm, and its gradient.

    y_1 = normalize(expand(x))    y_2 = normalize(depthwise(act(y_1)))
    operation(x) = normalize(project(act(y_2) * gate(mean(act(y_2)))))

The gradient is written out, because it can then be had for little memory. Of all that lies between
input and output only y_2 needs to be kept: y_1 comes back from x in one convolution that has the
batch's mean and deviation folded in, and batch norm's gradient is a function of its result
(`normalize_gradient`). Automatic differentiation keeps five such tensors.

A channel is left out by a zero column in the expansion: batch norm maps a channel of zeros to
zeros, so does every activation here, and what follows adds nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.activations import activation
from keras_nas.layers.tf_nas_normalization import normalize_gradient, normalize_with_statistics
from tpu.replicas import is_tpu_program


class Gate(NamedTuple):
    """Weights of squeeze-and-excitation: [M, R], [R], [R, M] and [M]."""

    reduce_kernel: Any
    reduce_bias: Any
    expand_kernel: Any
    expand_bias: Any


class OperationWeights(NamedTuple):
    """Weights of one operation.

    Attributes:
      expand: [C_in, M].
      depthwise: [K, K, M, 1].
      project: [M, C].
      gate: of squeeze-and-excitation; empty for none.
    """

    expand: Any
    depthwise: Any
    project: Any
    gate: Any = ()


class Selection(NamedTuple):
    """Which operation of a block runs, where that is decided in the compiled step.

    Attributes:
      size: int32 scalar, index of its kernel size; its kernel is the centre of the largest one.
      gated: scalar 1 where it has squeeze-and-excitation, else 0; None where its weights tell.
    """

    size: Any
    gated: Any


@dataclasses.dataclass(frozen=True)
class OperationForm:
    """What the operations of a block have in common.

    Attributes:
      stride: of the depthwise convolution.
      activation_name: after expansion and depthwise convolution.
      se_activation: inside squeeze-and-excitation, and of its gate (Keras' names).
      epsilon: of batch norm.
      kernel_sizes: ascending, what the number in a `Selection` refers to.
    """

    stride: int
    activation_name: str
    se_activation: tuple[str, str]
    epsilon: float
    kernel_sizes: tuple[int, ...] = ()

    def act(self, y: tf.Tensor) -> tf.Tensor:
        """The block's activation."""
        return activation(self.activation_name)(y)

    def act_gradient(self, dy: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The gradient that reaches y, from the one that reaches act(y)."""
        if self.activation_name == "relu":  # without the result, which there is no other use for
            return tf.raw_ops.ReluGrad(gradients=dy, features=y)
        with tf.GradientTape() as tape:
            tape.watch(y)
            result = self.act(y)
        return tape.gradient(result, y, dy)

    def gate(self, pooled: tf.Tensor, weights: Gate, gated: tf.Tensor | None = None) -> tf.Tensor:
        """Squeeze-and-excitation's factor of every channel.

        Args:
          pooled: [B, M] means over height and width.
          weights: of the two dense layers.
          gated: see `Selection`; 0 makes all factors 1.

        Returns:
          [B, M].
        """
        inside, outside = map(keras.activations.get, self.se_activation)
        hidden = inside(tf.matmul(pooled, weights.reduce_kernel) + weights.reduce_bias)
        factor = outside(tf.matmul(hidden, weights.expand_kernel) + weights.expand_bias)
        return factor if gated is None else 1.0 + gated * (factor - 1.0)

    def depthwise(
        self, x: tf.Tensor, kernel: tf.Tensor, selection: Selection | None = None
    ) -> tf.Tensor:
        """Depthwise convolution of [B, H, W, M] with [K, K, M, 1], or with its selected centre."""
        strides = (1, self.stride, self.stride, 1)
        return self._selected(
            lambda own: tf.nn.depthwise_conv2d(x, own, strides, "SAME"), kernel, selection
        )

    def depthwise_gradient(
        self, dy: tf.Tensor, x: tf.Tensor, kernel: tf.Tensor, selection: Selection | None
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """Gradients of `depthwise` from `dy`: of x, of which the shape alone is used, and, given
        the values that x had, of the kernel."""
        strides = (1, self.stride, self.stride, 1)

        def input_gradient(own):
            return tf.nn.depthwise_conv2d_backprop_input(x.shape, own, dy, strides, "SAME")

        def kernel_gradient(own, values):
            edge = (kernel.shape[0] - own.shape[0]) // 2
            found = tf.nn.depthwise_conv2d_backprop_filter(values, own.shape, dy, strides, "SAME")
            return tf.pad(found, ((edge, edge), (edge, edge), (0, 0), (0, 0)))

        def of_kernel(values):
            found = self._selected(lambda own: kernel_gradient(own, values), kernel, selection)
            return found if selection is None else found * self._inside(kernel, selection)

        return self._selected(input_gradient, kernel, selection), of_kernel

    def _selected(self, branch: Callable[[tf.Tensor], tf.Tensor], kernel, selection) -> tf.Tensor:
        """`branch` of the kernel that is selected: of its own size, so that it costs what it has
        to. On a TPU of the largest size with zeros around it, which its compiler rates cheaper
        than a branch of the program for each size (docs/tpu.md)."""
        if selection is None:
            return branch(kernel)
        if len(self.kernel_sizes) == 1:
            return branch(centre(kernel, self.kernel_sizes[0]))
        if is_tpu_program():
            return branch(kernel * self._inside(kernel, selection))
        branches = [functools.partial(branch, centre(kernel, size)) for size in self.kernel_sizes]
        return tf.switch_case(selection.size, branches)

    def _inside(self, kernel: tf.Tensor, selection: Selection) -> tf.Tensor:
        """[K, K, 1, 1] 1 in the selected kernel, 0 around it."""
        edges = [(kernel.shape[0] - size) // 2 for size in self.kernel_sizes]
        masks = np.zeros((len(edges), *kernel.shape[:2], 1, 1), np.float32)
        for mask, edge in zip(masks, edges, strict=True):
            mask[edge : len(mask) - edge, edge : len(mask) - edge] = 1
        return tf.cast(tf.gather(masks, selection.size), kernel.dtype)


def centre(kernel: tf.Tensor, size: int) -> tf.Tensor:
    """The middle [size, size, M, 1] of a kernel [K, K, M, 1]."""
    edge = (kernel.shape[0] - size) // 2
    return kernel[edge : edge + size, edge : edge + size] if edge else kernel


class Kept(NamedTuple):
    """What the gradient of an operation needs: x is [B, H, W, C_in], the rest after the names."""

    x: Any
    mean_1: Any  # [M]
    inverse_1: Any  # [M]
    y_2: Any  # [B, H', W', M]
    inverse_2: Any  # [M]
    y_3: Any  # [B, H', W', C]
    inverse_3: Any  # [C]
    y_1: Any = None  # [B, H, W, M], where it need not come back from x


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1 convolution of [B, H, W, C] with [C, D]."""
    return tf.nn.conv2d(x, kernel[None, None], 1, "VALID")


def forward(
    x: tf.Tensor,
    weights: OperationWeights,
    form: OperationForm,
    selection: Selection | None = None,
) -> tuple[tf.Tensor, Kept]:
    """The operation's output [B, H', W', C] and all that `backward` can use."""
    y_1, mean_1, inverse_1 = normalize_with_statistics(pointwise(x, weights.expand), form.epsilon)
    y = form.depthwise(form.act(y_1), weights.depthwise, selection)
    y_2, _, inverse_2 = normalize_with_statistics(y, form.epsilon)
    z = form.act(y_2)
    if weights.gate:
        gated = selection.gated if selection else None
        factor = form.gate(tf.reduce_mean(z, (1, 2)), weights.gate, gated)
        z *= factor[:, None, None, :]  # [B, H', W', M]
    y_3, _, inverse_3 = normalize_with_statistics(pointwise(z, weights.project), form.epsilon)
    return y_3, Kept(x, mean_1, inverse_1, y_2, inverse_2, y_3, inverse_3, y_1)


def backward(
    dy: tf.Tensor,
    kept: Kept,
    weights: OperationWeights,
    form: OperationForm,
    selection: Selection | None = None,
    *,
    of_weights: bool = True,
) -> tuple[tf.Tensor, Any]:
    """Gradients with respect to x and, if wanted, the weights, from `dy` [B, H', W', C]."""
    # Not before the gradient is here, or memory would be taken all the time from `forward` on.
    with tf.control_dependencies([dy]):
        x, y_2 = tf.identity(kept.x), tf.identity(kept.y_2)
    d_projected = normalize_gradient(dy, kept.y_3, kept.inverse_3)
    dz = pointwise(d_projected, tf.transpose(weights.project))  # [B, H', W', M]
    if of_weights or weights.gate:
        z, d_gate = form.act(y_2), ()
    if weights.gate:
        gated = selection.gated if selection else None
        z, dz, d_gate = _gate_backward(z, dz, weights.gate, form, gated, of_weights)
    d_convolved = normalize_gradient(form.act_gradient(dz, y_2), y_2, kept.inverse_2)

    y_1 = kept.y_1  # [B, H, W, M]
    if y_1 is None:
        inverse = tf.cast(kept.inverse_1, x.dtype)
        offset = tf.cast(kept.mean_1 * kept.inverse_1, x.dtype)
        y_1 = tf.nn.bias_add(pointwise(x, weights.expand * inverse), -offset)
    d_activated, kernel_gradient = form.depthwise_gradient(
        d_convolved, y_1, weights.depthwise, selection
    )
    d_expanded = normalize_gradient(form.act_gradient(d_activated, y_1), y_1, kept.inverse_1)
    dx = pointwise(d_expanded, tf.transpose(weights.expand))
    if not of_weights:
        return dx, None
    return dx, OperationWeights(
        _pointwise_kernel_gradient(x, d_expanded),
        kernel_gradient(form.act(y_1)),
        _pointwise_kernel_gradient(z, d_projected),
        d_gate,
    )


def _gate_backward(z, d_product, weights: Gate, form: OperationForm, gated, of_weights: bool):
    """z * factor, and the gradients of z and of the gate's weights from the one of z * factor."""
    pooled = tf.reduce_mean(z, (1, 2))  # [B, M]
    sources = [pooled, *weights] if of_weights else [pooled]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        factor = form.gate(pooled, weights, gated)
    d_factor = tf.reduce_sum(d_product * z, (1, 2))  # [B, M]
    d_pooled, *d_weights = tape.gradient(factor, sources, d_factor)
    d_mean = d_pooled / tf.cast(z.shape[1] * z.shape[2], z.dtype)
    dz = d_product * factor[:, None, None, :] + d_mean[:, None, None, :]  # [B, H', W', M]
    return z * factor[:, None, None, :], dz, Gate(*d_weights) if of_weights else ()


def _pointwise_kernel_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Gradient [C, D] of the kernel of `pointwise`, from x [B, H, W, C] and dy [B, H, W, D]."""
    rows = tf.reshape(x, [-1, x.shape[-1]])  # [B * H * W, C]
    return tf.matmul(rows, tf.reshape(dy, [-1, dy.shape[-1]]), transpose_a=True)
