"""Reordering the images of a batch inside a compiled step."""

from __future__ import annotations

import tensorflow as tf


@tf.custom_gradient
def permuted(x: tf.Tensor, order: tf.Tensor):
    """`x[order]` along the first axis, for a permutation.

    The gradient of `tf.gather` allows for indices that repeat: it adds up in a scatter, in XLA a
    loop, and behind a concatenation its shape is dynamic. A permutation's is its inverse.

    In bfloat16, the dtype of accelerators with matrix units, images are reordered by a product with
    a permutation matrix, which is exact there: a TPU is rated to need 0.6 of the cycles of a gather
    and its gradient (docs/tpu.md). In float32 a TPU would round the product.

    Args:
      x: [B, ...], B static.
      order: int32 [B], each of 0..B-1 once.

    Returns:
      [B, ...].
    """

    def gradient(upstream: tf.Tensor):
        return _reordered(upstream, tf.argsort(order)), None

    return _reordered(x, order), gradient


def _reordered(x: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    if x.dtype != tf.bfloat16:
        return tf.gather(x, order)
    matrix = tf.one_hot(order, x.shape[0], dtype=x.dtype)  # [B, B]
    return tf.reshape(tf.matmul(matrix, tf.reshape(x, [x.shape[0], -1])), x.shape)
