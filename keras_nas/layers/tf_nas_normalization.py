"""Batch norm of a TF-NAS search: always the batch's own statistics, nothing learnt.

While operations compete, a scale would be a second importance beside the architecture's
probabilities, and running statistics would mix those of all networks that were sampled (TF-NAS,
arXiv 2008.05314, section 4.1). On several replicas the statistics are those of the global batch.

The gradient needs the normalised result and not the input, so that of the two only one is kept.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_nas.layers.batch_norm import normalize_batch
from tpu.replicas import mean_over_replicas, replica_count

_EPSILON = 1e-5


def normalize(x: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Normalises `x` [B, H, W, C] with the mean and variance of each channel in the batch."""

    @tf.custom_gradient
    def run(x):
        y, _, inverse_deviation = normalize_with_statistics(x, epsilon)
        return y, lambda dy: normalize_gradient(dy, y, inverse_deviation)

    return run(x)


def normalize_with_statistics(
    x: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises `x` [B, H, W, C] = y / inverse_deviation + mean.

    Returns:
      y [B, H, W, C], the mean [C] and 1 / sqrt(variance + epsilon) [C], float32 (float64 for a
      float64 `x`).
    """
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    ones, zeros = tf.ones(x.shape[-1:], dtype), tf.zeros(x.shape[-1:], dtype)
    if dtype == tf.float64 or replica_count() > 1:
        y, mean, variance = normalize_batch(x, ones, zeros, epsilon)
        return y, mean, tf.math.rsqrt(variance + epsilon)
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, ones, zeros, epsilon=epsilon, is_training=True
    )
    # The variance that comes back has Bessel's correction, the one that was divided by has not.
    count = tf.cast(tf.size(x) // x.shape[-1], dtype)
    return y, mean, tf.math.rsqrt(variance * (tf.maximum(count - 1.0, 1.0) / count) + epsilon)


def normalize_gradient(dy: tf.Tensor, y: tf.Tensor, inverse_deviation: tf.Tensor) -> tf.Tensor:
    """The gradient that reaches x, from the one that reaches y = normalize(x).

    dx = inverse_deviation * (dy - mean(dy) - y * mean(dy * y)), the means over the global batch.

    Args:
      dy, y: [B, H, W, C].
      inverse_deviation: [C].
    """
    if y.dtype == tf.float64 or replica_count() > 1:
        sums = [tf.cast(value, inverse_deviation.dtype) for value in (dy, dy * y)]
        own = tf.stack([tf.reduce_mean(value, (0, 1, 2)) for value in sums])  # [2, C]
        mean_dy, mean_product = tf.unstack(tf.cast(mean_over_replicas(own), y.dtype))
        return tf.cast(inverse_deviation, y.dtype) * (dy - mean_dy - y * mean_product)
    # The same in one kernel: the gradient of a batch norm whose input y has mean 0 and variance 1.
    zeros = tf.zeros_like(inverse_deviation)
    return tf.raw_ops.FusedBatchNormGradV2(
        y_backprop=dy,
        x=y,
        scale=inverse_deviation,
        reserve_space_1=zeros,
        reserve_space_2=zeros + (1.0 - _EPSILON),
        epsilon=_EPSILON,
        is_training=True,
    ).x_backprop


class BatchStatisticsNormalization(keras.layers.Layer):
    """`normalize` as a layer, for the parts of a supernet that are not searched.

    Args:
      epsilon: added to the variance.
    """

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def call(self, x):
        """[B, H, W, C] -> [B, H, W, C]."""
        return normalize(x, self.epsilon)
