"""Squeeze-and-excitation whose bottleneck holds the smaller ones (Single-Path NAS, eq. 4).

The units of a smaller ratio are the first ones. Each next group of units is kept where the norm of
its weights from the block's channels reaches its threshold; where the first group is dropped, the
channels pass as they are: 1 + d * (gate - 1) with d the first decision. (Eq. 17 prints the wrong
group; it is the first one that switches squeeze-and-excitation off.)
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.superkernel import Formulation, gated, moved_where, nested


class SuperSqueezeExcite(keras.layers.Layer):
    """Squeeze-and-excitation with S ratios, one of which is decided.

    How wide a ratio is depends on the block's expansion, as in the network that is derived.

    Args:
      channels: of the input at the largest expansion, M.
      widths: [E][S] ascending bottleneck widths of each expansion; 0 means none and can only be the
        first.
      formulation: of the decisions.

    Raises:
      ValueError: widths that are not ascending, or with another number of choices each.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[Sequence[int]],
        formulation: Formulation,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        rows = [tuple(row) for row in widths]
        if len({len(row) for row in rows}) != 1 or any(
            list(row) != sorted(row) or 0 in row[1:] for row in rows
        ):
            raise ValueError(
                "squeeze-and-excitation widths should be ascending rows of equal length, 0 at most "
                f"in front, received {rows}."
            )
        self.channels = channels
        self.widths = np.array(rows)
        self.formulation = formulation
        self.units = int(self.widths.max())

    def build(self, input_shape=None):
        """Creates the weights of the widest bottleneck."""

        def weight(name, shape, initializer="glorot_uniform"):
            return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False)

        self.reduce_kernel = weight("reduce_kernel", (self.channels, self.units))
        self.reduce_bias = weight("reduce_bias", (self.units,), "zeros")
        self.expand_kernel = weight("expand_kernel", (self.units, self.channels))
        self.expand_bias = weight("expand_bias", (self.channels,), "zeros")
        self.built = True

    def unit_groups(self, expansion: tf.Tensor) -> list[tf.Tensor]:
        """Which units each ratio adds, S of [R].

        Args:
          expansion: [E] share of every expansion, one-hot where it is decided.
        """
        below = np.arange(self.units) < self.widths[:, :, None]  # [E, S, R]
        groups = np.diff(below.astype(self.variable_dtype), axis=1, prepend=0)
        return tf.unstack(
            tf.tensordot(expansion, tf.constant(groups, expansion.dtype), 1)
        )  # S of [R]

    def norms(self, channel_gate: tf.Tensor, expansion: tf.Tensor) -> tf.Tensor:
        """Scaled norms [S - 1] of the groups of units, over the channels that the block has.

        Args:
          channel_gate: [M] which channels these are.
          expansion: see `unit_groups`.
        """
        squares = tf.square(self.reduce_kernel.value)  # [M, R]
        sums = tf.linalg.matvec(squares, channel_gate, transpose_a=True)  # [R]
        rows = tf.reduce_sum(channel_gate)
        found = []
        for group in self.unit_groups(expansion)[1:]:
            # A group has no weights where its block is skipped.
            count = tf.maximum(rows * tf.reduce_sum(group), 1.0)
            found.append(self.formulation.scaled_norm(tf.reduce_sum(sums * group), count))
        return tf.stack(found)

    def call(self, x, channel_gate, expansion, gates):
        """Scales the channels of an image.

        Args:
          x: [B, H, W, M].
          channel_gate: [M] which of them the block has.
          expansion: see `unit_groups`.
          gates: [S - 1] decisions.

        Returns:
          [B, H, W, M].
        """
        soft, dtype = self.formulation.soft, x.dtype
        on, *counts = nested(tf.unstack(gates), tf.ones((), gates.dtype))
        first, *others = self.unit_groups(expansion)
        unit_gate = on * first
        for count, group in zip(counts, others, strict=True):
            unit_gate += count * group  # [R]
        switch = counts[0] if not self.widths[0, 0] else on
        extra_units, extra_switch = unit_gate, switch
        if not soft:
            extra_units, extra_switch = tf.stop_gradient(unit_gate), tf.stop_gradient(switch)

        pooled = tf.reduce_mean(x, (1, 2)) * tf.cast(channel_gate, dtype)  # [B, M]
        hidden = tf.matmul(pooled, tf.cast(self.reduce_kernel.value * unit_gate, dtype))  # [B, R]
        bias = moved_where(self.reduce_bias.value, extra_units)
        hidden = gated(tf.nn.relu(hidden + tf.cast(bias, dtype)), extra_units, soft)
        gate = tf.matmul(hidden, tf.cast(self.expand_kernel.value, dtype))  # [B, M]
        gate += tf.cast(moved_where(self.expand_bias.value, extra_switch), dtype)
        factor = 1.0 + gated(keras.ops.hard_sigmoid(gate) - 1.0, extra_switch, soft)
        return x * factor[:, None, None, :]

    def extract(self, expansion: int, ratio: int, middle: int) -> dict[str, list[np.ndarray]]:
        """Weights of one choice at `middle` channels, by the layers of `squeeze_excite`; empty
        where it is none."""
        units = self.widths[expansion, ratio]
        if not units:
            return {}
        return {
            "se_reduce": [
                self.reduce_kernel.numpy()[:middle, :units],
                self.reduce_bias.numpy()[:units],
            ],
            "se_expand": [
                self.expand_kernel.numpy()[:units, :middle],
                self.expand_bias.numpy()[:middle],
            ],
        }
