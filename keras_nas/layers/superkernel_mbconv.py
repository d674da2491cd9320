"""An MBConv whose depthwise kernel holds all smaller ones (Single-Path NAS, section 3.1).

The kernel is the largest there is. Rings around its centre and groups of its channels are dropped
where their norm is below a threshold; if the first group of channels goes, so does the block. The
1x1 convolutions stay as wide as the largest expansion, so that a step costs what the largest
block's step costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.activations import activation
from keras_nas.layers.batch_norm import (
    FusedBatchNormalization,
    apply_statistics,
    normalize_batch,
)
from keras_nas.layers.superkernel import (
    BlockDecision,
    BlockGates,
    Formulation,
    gated,
    gated_projection,
    moved_where,
    nested,
    range_masks,
    ring_masks,
)
from keras_nas.layers.superkernel_squeeze_excite import SuperSqueezeExcite


class SuperMBConv(keras.layers.Layer):
    """MBConv with decided expansion, kernel size, squeeze-and-excitation, or none at all.

    Args:
      middle_channels: ascending, one for each of the E expansion ratios.
      kernel_sizes: ascending, K odd sizes.
      se_channels: [E][S] widths, see `SuperSqueezeExcite`.
      channels: output channels.
      stride: of the depthwise convolution.
      residual: whether the input is added to the output.
      skippable: whether the block may be dropped; needs the residual.
      activation_name: after expansion and depthwise convolution.
      momentum, epsilon: of every batch norm, in Keras' terms.
      formulation: of the decisions.

    Raises:
      ValueError: choices that are not ascending, or a skippable block without residual.
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
        skippable: bool,
        activation_name: str,
        momentum: float,
        epsilon: float,
        formulation: Formulation | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        for label, choices in (
            ("middle_channels", middle_channels),
            ("kernel_sizes", kernel_sizes),
        ):
            if not choices or list(choices) != sorted(set(choices)):
                raise ValueError(f"{label} should be ascending, received {list(choices)}.")
        if skippable and not residual:
            raise ValueError(
                "a block without residual cannot be skipped: nothing would come out of it. Leave "
                "skippable off."
            )
        self.middle_channels = tuple(middle_channels)
        self.kernel_sizes = tuple(kernel_sizes)
        self.channels = channels
        self.stride = stride
        self.residual = residual
        self.skippable = skippable
        self.act = activation(activation_name)
        self.formulation = formulation or Formulation()
        self.rings = ring_masks(kernel_sizes).astype(self.variable_dtype)  # [K, k, k]
        self.groups = range_masks(middle_channels).astype(self.variable_dtype)  # [E, M]
        self.expand_batch_norm, self.depthwise_batch_norm, self.project_batch_norm = (
            FusedBatchNormalization(
                momentum=momentum,
                epsilon=epsilon,
                dtype=self.dtype_policy,
                name=f"{part}_batch_norm",
            )
            for part in ("expand", "depthwise", "project")
        )
        self.gates_count = (len(kernel_sizes) - 1, len(middle_channels), len(se_channels[0]) - 1)
        self.squeeze_excite = None
        if np.max(se_channels):
            self.squeeze_excite = SuperSqueezeExcite(
                middle_channels[-1],
                se_channels,
                self.formulation,
                dtype=self.dtype_policy,
                name="squeeze_excite",
            )

    def build(self, input_shape):
        """Creates the weights of the largest configuration, and the thresholds, all 0."""
        widest, largest = self.middle_channels[-1], self.kernel_sizes[-1]

        def weight(name, shape, initializer="glorot_uniform"):
            return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

        self.expand_kernel = weight("expand_kernel", (1, 1, input_shape[-1], widest))
        # He's for the inputs that a depthwise filter sees; the authors' too.
        spread = keras.initializers.RandomNormal(stddev=(2 / largest**2) ** 0.5)
        self.depthwise_kernel = weight("depthwise", (largest, largest, widest, 1), spread)
        self.project_kernel = weight("project_kernel", (1, 1, widest, self.channels))
        self.thresholds = weight("thresholds", (sum(self.gates_count),), "zeros")
        if self.squeeze_excite is not None:
            self.squeeze_excite.build()
        for batch_norm in (self.expand_batch_norm, self.depthwise_batch_norm):
            batch_norm.build((*input_shape[:3], widest))
        self.project_batch_norm.build((*input_shape[:3], self.channels))
        self.built = True

    def decide(self, keep: BlockGates | None = None, training: bool = False) -> BlockDecision:
        """Norms of the groups against their thresholds, rings first.

        The norms of channels are of the kernel without the rings that were dropped, and those of
        squeeze-and-excitation of the channels that are left.

        Args:
          keep: 0 drops a group whatever its norm; for the subset dropout.
          training: whether a soft formulation mixes.
        """
        form = self.formulation
        thresholds = self._split(tf.convert_to_tensor(self.thresholds.value))
        if keep is None:
            keep = BlockGates(*(tf.ones_like(part) for part in thresholds))
        squares = tf.square(self.depthwise_kernel.value)[..., 0]  # [k, k, M]
        sums = tf.einsum("hwm,rhw,em->re", squares, self.rings, self.groups)  # [K, E]
        ring_sizes, group_sizes = self.rings.sum((1, 2)), self.groups.sum(1)  # [K] and [E]

        counts = ring_sizes[1:] * group_sizes.sum()
        kernel_norms = form.scaled_norm(tf.reduce_sum(sums[1:], 1), counts)  # [K - 1]
        kernel = form.gate(kernel_norms - thresholds.kernel, training) * keep.kernel
        scale = tf.stack(nested(tf.unstack(kernel), tf.ones((), kernel.dtype)))  # [K]
        left = tf.linalg.matvec(sums, tf.square(scale), transpose_a=True)  # [E]
        weights = tf.reduce_sum(tf.stop_gradient(scale) * ring_sizes) * group_sizes  # [E]
        expansion_norms = form.scaled_norm(left, weights)
        expansion = form.gate(expansion_norms - thresholds.expansion, training) * keep.expansion
        if not self.skippable:
            expansion = tf.concat([tf.ones(1, expansion.dtype), expansion[1:]], 0)

        se_norms = squeeze_excite = thresholds.squeeze_excite
        if self.gates_count[2] and self.squeeze_excite is not None:
            counts = self._counts(tf.stop_gradient(expansion))
            se_norms = self.squeeze_excite.norms(self._channel_gate(counts), _shares(counts))
            margins = se_norms - thresholds.squeeze_excite
            squeeze_excite = form.gate(margins, training) * keep.squeeze_excite
        return BlockDecision(
            BlockGates(kernel, expansion, squeeze_excite),
            BlockGates(kernel_norms, expansion_norms, se_norms),
            thresholds,
        )

    def _split(self, values: tf.Tensor) -> BlockGates:
        return BlockGates(*tf.split(values, self.gates_count))

    def _counts(self, expansion: tf.Tensor) -> tf.Tensor:
        """What counts of each group of channels, [E]."""
        return tf.stack(nested(tf.unstack(expansion)))

    def _channel_gate(self, counts: tf.Tensor) -> tf.Tensor:
        """What counts of every channel, [M]."""
        return tf.linalg.matvec(tf.constant(self.groups), counts, transpose_a=True)

    def _superkernel(self, kernel_gates: tf.Tensor, channel_gate: tf.Tensor) -> tf.Tensor:
        """The kernel [k, k, M, 1] without the rings and channels that were dropped."""
        scale = tf.stack(nested(tf.unstack(kernel_gates), tf.ones((), self.variable_dtype)))  # [K]
        ring_gate = tf.tensordot(scale, tf.constant(self.rings), 1)  # [k, k]
        mask = ring_gate[:, :, None, None] * channel_gate[:, None]  # [k, k, M, 1]
        return self._cast(self.depthwise_kernel.value * mask)

    def call(self, x, gates, training=False):
        """The block that `gates` choose.

        Args:
          x: [B, H, W, C_in].
          gates: `BlockGates`, from `decide` or given.
          training: whether batch norm uses the batch's statistics.

        Returns:
          [B, H/stride, W/stride, channels].
        """
        x = tf.cast(x, self.compute_dtype)
        soft = self.formulation.soft
        counts = self._counts(gates.expansion)
        channel_gate = self._channel_gate(counts)
        kernel = self._superkernel(gates.kernel, channel_gate)
        if not soft:
            counts, channel_gate = tf.stop_gradient(counts), tf.stop_gradient(channel_gate)
        expanded = tf.nn.conv2d(x, self._cast(self.expand_kernel.value), 1, "SAME")  # [B, H, W, M]
        expanded = self.act(_normalize(self.expand_batch_norm, expanded, None, training))
        z = tf.nn.depthwise_conv2d(expanded, kernel, (1, self.stride, self.stride, 1), "SAME")
        z = self.act(_normalize(self.depthwise_batch_norm, z, channel_gate, training))
        if self.squeeze_excite is not None:
            z = self.squeeze_excite(z, channel_gate, _shares(counts), gates.squeeze_excite)
        y = gated_projection(z, self._cast(self.project_kernel.value), channel_gate, soft)
        if not self.skippable:
            y = _normalize(self.project_batch_norm, y, None, training)
        else:
            y = _normalize(self.project_batch_norm, y, counts[0], training)
            y = gated(y, counts[0], soft)
        return x + y if self.residual else y

    def _cast(self, kernel: tf.Tensor) -> tf.Tensor:
        return tf.cast(kernel, self.compute_dtype)

    def gates_of(self, expansion: int, kernel: int, ratio: int) -> BlockGates:
        """Gates of one configuration by the numbers of its choices; expansion -1 skips."""
        levels = (kernel, expansion + 1, ratio)
        return BlockGates(
            *(
                tf.constant((np.arange(count) < level).astype(self.variable_dtype))
                for count, level in zip(self.gates_count, levels, strict=True)
            )
        )

    def choose(self, expansion: int, kernel: int, ratio: int) -> None:
        """Moves the thresholds so that `decide` opens the `gates_of` a configuration, every gate by
        a margin of 1."""
        gates = tf.concat(self.gates_of(expansion, kernel, ratio), 0)
        for _ in BlockGates._fields:  # the norms of each depend on the gates of those before it
            norms = tf.concat(self.decide().norms, 0)
            self.thresholds.assign(norms + 1.0 - 2.0 * gates)

    def extract(self, expansion: int, kernel: int, ratio: int) -> dict[str, list[np.ndarray]]:
        """Weights of one configuration, by the layer of a plain MBConv that they belong to.

        Args:
          expansion, kernel, ratio: numbers of its choices.

        Returns:
          Layer name (as in `mbconv`, without prefix) -> its weights in Keras' order.
        """
        middle, largest = self.middle_channels[expansion], self.kernel_sizes[-1]
        size = self.kernel_sizes[kernel]
        edge = (largest - size) // 2
        inner = slice(edge, edge + size)

        def batch_norm(layer, channels):
            return [weight[:channels] for weight in layer.get_weights()]

        weights = {
            "expand": [self.expand_kernel.numpy()[..., :middle]],
            "expand_batch_norm": batch_norm(self.expand_batch_norm, middle),
            "depthwise": [self.depthwise_kernel.numpy()[inner, inner, :middle]],
            "depthwise_batch_norm": batch_norm(self.depthwise_batch_norm, middle),
            "project": [self.project_kernel.numpy()[:, :, :middle]],
            "project_batch_norm": batch_norm(self.project_batch_norm, self.channels),
        }
        if self.squeeze_excite is not None:
            weights |= self.squeeze_excite.extract(expansion, ratio, middle)
        return weights


def _shares(counts: tf.Tensor) -> tf.Tensor:
    """The share of every expansion, [E], from what counts of each group."""
    return counts - tf.concat([counts[1:], tf.zeros(1, counts.dtype)], 0)


def _normalize(layer: FusedBatchNormalization, x, gate: tf.Tensor | None, training: bool):
    """Batch norm of `x` [B, H, W, C] whose offset stands still where `gate` is shut."""
    gamma, beta = layer.gamma.value, tf.convert_to_tensor(layer.beta.value)
    if gate is not None:
        beta = moved_where(beta, gate)
    if training:
        y, mean, variance = normalize_batch(x, gamma, beta, layer.epsilon, layer.moving_mean.value)
        layer.move_averages(mean, variance)
        return y
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    return apply_statistics(x, gamma, beta, mean, variance, layer.epsilon)
