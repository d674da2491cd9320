"""A block that is twelve blocks at once, in closed form.

An elastic MBConv holds every configuration (expansion ratio e, kernel size k, ratio s of
squeeze-and-excitation) of one block in shared weights. Width mask, configuration weight and
squeeze-and-excitation factor all act per image and channel, so the weighted sum over all
configurations needs one expansion, one depthwise convolution a kernel size and one projection:

    z_k = act(BN_k(depthwise_k(act(BN(expand(x))))))
    g_k[image, channel] = sum_{e,s} w[e,k,s] * mask_e[channel] * (se_{e,k,s}[image, channel] or 1)
    y = BN(project(sum_k z_k * g_k))

With one-hot weights this is exactly one configuration; in inference mode, with weights that sum to
1, it is exactly the mixture of the configurations' inputs to the shared batch norm.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.activations import activation
from keras_nas.layers.batch_norm import FusedBatchNormalization


class ElasticMBConv(keras.layers.Layer):
    """MBConv with elastic expansion ratio, kernel size and squeeze-and-excitation (HC section 3.1).

    Configurations are the product of expansion, kernel and squeeze-and-excitation choices.
    Kernel sizes own separate depthwise kernels, batch norms and squeeze-and-excitation weights;
    expansion ratios take the first channels of the same weights, and the bottleneck's first units.

    Args:
      middle_channels: ascending, one for each of the E expansion ratios.
      kernel_sizes: ascending, K of them.
      se_channels: [E][S] bottleneck width of each expansion's squeeze-and-excitation choices,
        ascending; 0 means none and can only be the first.
      channels: output channels.
      stride: of the depthwise convolution.
      residual: whether the input is added to the output.
      activation_name: after expansion and depthwise convolution.
      momentum, epsilon: of every batch norm, in Keras' terms.

    Raises:
      ValueError: choices that are not ascending, or bottleneck widths of another shape.
    """

    def __init__(
        self,
        *,
        middle_channels: Sequence[int],
        kernel_sizes: Sequence[int],
        se_channels: Sequence[Sequence[int]],
        channels: int,
        stride: int,
        residual: bool,
        activation_name: str,
        momentum: float,
        epsilon: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for label, choices in (
            ("middle_channels", middle_channels),
            ("kernel_sizes", kernel_sizes),
        ):
            if not choices or list(choices) != sorted(set(choices)):
                raise ValueError(f"{label} should be ascending, received {list(choices)}.")
        if len(se_channels) != len(middle_channels) or len({len(row) for row in se_channels}) != 1:
            raise ValueError(
                f"se_channels should have a row of equal length for each of the "
                f"{len(middle_channels)} expansions, received {se_channels}."
            )
        if any(0 in row[1:] for row in se_channels):
            raise ValueError(f"only the first of se_channels can be 0, received {se_channels}.")
        self.middle_channels = tuple(middle_channels)
        self.kernel_sizes = tuple(kernel_sizes)
        self.se_channels = tuple(map(tuple, se_channels))
        self.channels = channels
        self.stride = stride
        self.residual = residual
        self.activation_name = activation_name
        self.act = activation(activation_name)
        self.momentum = momentum
        self.epsilon = epsilon

        def batch_norm(name):
            return FusedBatchNormalization(
                momentum=momentum, epsilon=epsilon, dtype=self.dtype_policy, name=name
            )

        self.expand_batch_norm = batch_norm("expand_batch_norm")
        self.depthwise_batch_norms = [batch_norm(f"depthwise_batch_norm_{k}") for k in kernel_sizes]
        self.project_batch_norm = batch_norm("project_batch_norm")

    @property
    def widest(self) -> int:
        """Middle channels of the largest expansion."""
        return self.middle_channels[-1]

    @property
    def bottleneck(self) -> int:
        """Largest squeeze-and-excitation width; 0 where no choice has one."""
        return max(max(row) for row in self.se_channels)

    def build(self, input_shape):
        """Creates the weights of the largest configuration, and one set a kernel size."""
        widest, bottleneck, sizes = self.widest, self.bottleneck, self.kernel_sizes
        middle = (*input_shape[:3], widest)

        def weight(name, shape, initializer="glorot_uniform"):
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.expand_kernel = weight("expand_kernel", (1, 1, input_shape[-1], widest))
        self.depthwise_kernels = [weight(f"depthwise_{k}", (k, k, widest, 1)) for k in sizes]
        self.project_kernel = weight("project_kernel", (1, 1, widest, self.channels))
        self.se_weights = []
        if bottleneck:
            self.se_weights = [
                {
                    "reduce_kernel": weight(f"se_reduce_kernel_{k}", (widest, bottleneck)),
                    "reduce_bias": weight(f"se_reduce_bias_{k}", (bottleneck,), "zeros"),
                    "expand_kernel": weight(f"se_expand_kernel_{k}", (bottleneck, widest)),
                    "expand_bias": weight(f"se_expand_bias_{k}", (widest,), "zeros"),
                }
                for k in sizes
            ]
        for batch_norm in (self.expand_batch_norm, *self.depthwise_batch_norms):
            batch_norm.build(middle)
        self.project_batch_norm.build((*input_shape[:3], self.channels))

    def call(self, x, weights, training=False):
        """The weighted sum over all configurations.

        Args:
          x: [B, H, W, C_in].
          weights: [B, C] weight of every configuration, per image.
          training: whether batch norm uses the batch's statistics (of the mixed batch).

        Returns:
          [B, H/stride, W/stride, channels].
        """
        choices = (len(self.middle_channels), len(self.kernel_sizes), len(self.se_channels[0]))
        w = tf.cast(tf.reshape(weights, (-1, *choices)), x.dtype)  # [B, E, K, S]
        expanded = tf.nn.conv2d(x, self.expand_kernel, 1, "SAME")  # [B, H, W, M]
        expanded = self.act(self.expand_batch_norm(expanded, training=training))
        mixed = 0.0
        for k, batch_norm in enumerate(self.depthwise_batch_norms):
            z = self.depthwise(expanded, self.depthwise_kernels[k].value)
            z = self.act(batch_norm(z, training=training))
            gate = self.gate(tf.reduce_mean(z, (1, 2)), w[:, :, k], k)
            mixed += z * gate[:, None, None, :]  # [B, H, W, M]
        y = tf.nn.conv2d(mixed, self.project_kernel, 1, "SAME")
        y = self.project_batch_norm(y, training=training)
        return x + y if self.residual else y

    def depthwise(self, x, kernel):
        """Depthwise convolution of `x` [B, H, W, C] with `kernel` [k, k, C, 1]."""
        return tf.nn.depthwise_conv2d(x, kernel, (1, self.stride, self.stride, 1), "SAME")

    def gate(self, pooled, w, k: int):
        """g_k of the closed form.

        Args:
          pooled: [B, M] spatial mean of z_k.
          w: [B, E, S] weights of the configurations with kernel choice `k`.
          k: index of the kernel size.

        Returns:
          [B, M].
        """
        channels = tf.range(self.widest)
        mask = tf.cast(channels < tf.constant(self.middle_channels)[:, None], w.dtype)  # [E, M]
        squeezing = [s for s, units in enumerate(self.se_channels[0]) if units]
        # Without squeeze-and-excitation (choice 0) the factor is 1.
        total = 0.0 if 0 in squeezing else tf.matmul(w[:, :, 0], mask)  # [B, M]
        if squeezing:
            sums = self._squeeze(pooled, k)  # [E, B, R]
        for s in squeezing:
            excite = self._excite(sums, s, k) * mask[:, None, :]  # [E, B, M]
            total += tf.einsum("be,ebm->bm", w[:, :, s], excite)
        return total

    def _squeeze(self, pooled, k: int):
        """[B, M] -> [E, B, R]: what the bottleneck's units receive from an expansion's channels."""
        edges = (0, *self.middle_channels)
        widths = [last - first for first, last in itertools.pairwise(edges)]
        pieces = zip(
            tf.split(pooled, widths, axis=1),
            tf.split(self.se_weights[k]["reduce_kernel"].value, widths),
            strict=True,
        )
        return tf.stack(list(itertools.accumulate(tf.matmul(p, kernel) for p, kernel in pieces)))

    def _excite(self, sums, s: int, k: int):
        """[E, B, R] sums -> [E, B, M] gates, through each expansion's own first units."""
        se = self.se_weights[k]
        widths = tf.constant([row[s] for row in self.se_channels])  # [E]
        units = tf.cast(tf.range(self.bottleneck) < widths[:, None], sums.dtype)  # [E, R]
        hidden = tf.nn.relu(sums + se["reduce_bias"].value) * units[:, None, :]
        gate = tf.tensordot(hidden, se["expand_kernel"].value, 1) + se["expand_bias"].value
        return keras.ops.hard_sigmoid(gate)

    def initialize(self, weights: dict[str, list[np.ndarray]]) -> None:
        """Starts every configuration from the weights of the heaviest one.

        Smaller kernels start as the centre of the largest; expansions share their first channels;
        batch norms and squeeze-and-excitation are copied to every kernel size.

        Args:
          weights: as `extract` gives them for the heaviest configuration.
        """
        self.expand_kernel.assign(weights["expand"][0])
        self.expand_batch_norm.set_weights(weights["expand_batch_norm"])
        largest = weights["depthwise"][0]
        for kernel, size in zip(self.depthwise_kernels, self.kernel_sizes, strict=True):
            edge = (self.kernel_sizes[-1] - size) // 2
            kernel.assign(largest[edge : edge + size, edge : edge + size])
        for batch_norm in self.depthwise_batch_norms:
            batch_norm.set_weights(weights["depthwise_batch_norm"])
        for se in self.se_weights:
            for name, value in zip(se, (*weights["se_reduce"], *weights["se_expand"]), strict=True):
                se[name].assign(value)
        self.project_kernel.assign(weights["project"][0])
        self.project_batch_norm.set_weights(weights["project_batch_norm"])

    def extract(self, e: int, k: int, s: int) -> dict[str, list[np.ndarray]]:
        """Weights of one configuration, by the layer of a plain MBConv that they belong to.

        Args:
          e, k, s: indices of expansion, kernel size and squeeze-and-excitation choice.

        Returns:
          Layer name (as in `mbconv`, without prefix) -> its weights in Keras' order.
        """
        middle, units = self.middle_channels[e], self.se_channels[e][s]

        def batch_norm(layer, channels):
            return [weight[:channels] for weight in layer.get_weights()]

        weights = {
            "expand": [self.expand_kernel.numpy()[..., :middle]],
            "expand_batch_norm": batch_norm(self.expand_batch_norm, middle),
            "depthwise": [self.depthwise_kernels[k].numpy()[:, :, :middle]],
            "depthwise_batch_norm": batch_norm(self.depthwise_batch_norms[k], middle),
            "project": [self.project_kernel.numpy()[:, :, :middle]],
            "project_batch_norm": batch_norm(self.project_batch_norm, self.channels),
        }
        if units:
            se = {name: weight.numpy() for name, weight in self.se_weights[k].items()}
            weights["se_reduce"] = [se["reduce_kernel"][:middle, :units], se["reduce_bias"][:units]]
            weights["se_expand"] = [
                se["expand_kernel"][:units, :middle],
                se["expand_bias"][:middle],
            ]
        return weights
