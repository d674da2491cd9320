"""Batch norm in one fused operation.

Keras computes batch norm in training from separate mean, variance and affine operations; the fused
kernel reads the activations fewer times and makes a whole training step of these memory-bound
networks 1.2 times faster on a CPU (benchmarks/one_shot_step.py).
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tpu.replicas import mean_over_replicas, replica_count


def normalize_batch(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float,
    near: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises with the batch's own statistics: of the global batch, on several replicas.

    Args:
      x: [B, H, W, C] floating point.
      gamma, beta: [C] scale and offset, float32 (float64 for a float64 `x`).
      epsilon: added to the variance.
      near: [C] about what the mean is, as the running one. Changes nothing but rounding, and on
        several replicas saves a pass over `x`.

    Returns:
      The result [B, H, W, C], the batch's mean [C], and its variance [C] (over B*H*W, without
      Bessel's correction, as in Keras).
    """
    if x.dtype == tf.float64 or replica_count() > 1:  # no fused kernel
        exact = tf.cast(x, gamma.dtype)
        mean, variance = _global_moments(exact, near)
        y = tf.nn.batch_normalization(exact, mean, variance, beta, gamma, epsilon)
        return tf.cast(y, x.dtype), mean, variance
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, epsilon=epsilon, is_training=True
    )
    return y, mean, variance * _share_without_bessel(x)


def _share_without_bessel(x: tf.Tensor) -> float | tf.Tensor:
    """Variance over the values of a channel of [B, H, W, C] / that with Bessel's correction."""
    if None not in x.shape:  # a number, where there would be seven operations to trace
        count = math.prod(x.shape[:-1])
        return max(count - 1.0, 1.0) / count
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    return tf.maximum(count - 1.0, 1.0) / count


def _global_moments(x: tf.Tensor, near: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance [C] of [B, H, W, C] over all replicas, which have equal shares.

    One reduction over replicas: of the mean and the mean square of the distances from `near`. Both
    come from one pass over `x`, which XLA joins with the convolution that makes it.
    """
    if near is None:  # from 0, where the variance would lose digits: it is taken in a second pass
        near = 0.0
        shift, variance = tf.nn.moments(x, (0, 1, 2))  # [C]
        square = variance + tf.square(shift)
    else:
        distance = x - near
        shift = tf.reduce_mean(distance, (0, 1, 2))  # [C]
        square = tf.reduce_mean(tf.square(distance), (0, 1, 2))
    shift, square = tf.unstack(mean_over_replicas(tf.stack([shift, square])))
    return near + shift, tf.maximum(square - tf.square(shift), 0.0)


def apply_statistics(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    """Normalises with given statistics: one multiplication and one addition an element."""
    scale = gamma * tf.math.rsqrt(variance + epsilon)  # [C]
    offset = beta - mean * scale  # [C]
    return x * tf.cast(scale, x.dtype) + tf.cast(offset, x.dtype)


@keras.saving.register_keras_serializable("keras_nas")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis of [B, H, W, C], computed fused.

    Same weights and result; weights move between the two with `get_weights` and `set_weights`.
    Same arguments, but those that switch scale or offset off, or renormalise. On several replicas
    the statistics are always those of the global batch, so `synchronized` is refused too.
    """

    def build(self, input_shape):
        """Creates scale, offset and running statistics.

        Raises:
          ValueError: the input is not [B, H, W, C], or an argument asks for what is not computed.
        """
        if len(input_shape) != 4 or self.axis not in (-1, 3):
            raise ValueError(
                f"{self.name} normalises the last axis of [B, H, W, C], received input of shape "
                f"{tuple(input_shape)} and axis {self.axis}. Use keras.layers.BatchNormalization."
            )
        if not (self.scale and self.center) or self.renorm or self.synchronized:
            raise ValueError(
                f"{self.name} has scale and offset and neither renorm nor synchronized, received "
                f"scale={self.scale}, center={self.center}, renorm={self.renorm}, "
                f"synchronized={self.synchronized}. Use keras.layers.BatchNormalization."
            )
        super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        """Normalises `inputs` [B, H, W, C]; in training also moves the running statistics."""
        if not (training and self.trainable):
            return apply_statistics(
                inputs,
                self.gamma.value,
                self.beta.value,
                self.moving_mean.value,
                self.moving_variance.value,
                self.epsilon,
            )
        y, mean, variance = normalize_batch(
            inputs, self.gamma.value, self.beta.value, self.epsilon, self.moving_mean.value
        )
        self.move_averages(mean, variance)
        return y

    def move_averages(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Moves the running statistics toward a batch's `mean` and `variance`, each [C].

        All replicas move their own: the batch's are the same on all of them. Outside of replicas,
        where statistics are re-estimated, all move together.
        """
        for average, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            share, delta = 1.0 - self.momentum, average.value - now
            if tf.distribute.in_cross_replica_context():
                average.assign(average.value - share * delta)
            else:
                # Half the operations of an assignment to trace, and no reduction over replicas.
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=average.value.handle,
                    alpha=tf.constant(share, average.dtype),
                    delta=delta,
                )
