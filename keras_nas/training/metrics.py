"""Counts of correct answers; sums, so that they add over batches and replicas."""

import tensorflow as tf


def correct(labels: tf.Tensor, logits: tf.Tensor, k: int = 1) -> tf.Tensor:
    """Whether each label is among the k largest logits.

    Args:
      labels: int32 `[B]`.
      logits: `[B, classes]`.
      k: 1 for accuracy, 5 for top-5 accuracy.

    Returns:
      float32 `[B]`, 1 or 0; its mean is the accuracy. Logits that are not finite count as wrong.
    """
    return tf.cast(tf.math.in_top_k(labels, tf.cast(logits, tf.float32), k), tf.float32)
