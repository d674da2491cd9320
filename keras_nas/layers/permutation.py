"""Reordering the images of a batch inside a compiled step."""

from __future__ import annotations

import tensorflow as tf


@tf.custom_gradient
def permuted(x: tf.Tensor, order: tf.Tensor):
    """`x[order]` along the first axis, for a permutation.

    The gradient of `tf.gather` allows for indices that repeat: it adds up in a scatter, in XLA a
    loop, and behind a concatenation its shape is dynamic. A permutation's is its inverse.

    Args:
      x: [B, ...].
      order: int32 [B], each of 0..B-1 once.

    Returns:
      [B, ...].
    """

    def gradient(upstream: tf.Tensor):
        return tf.gather(upstream, tf.argsort(order)), None

    return tf.gather(x, order), gradient
