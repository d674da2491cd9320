"""Stateless sampling of architectures inside a compiled step.

Every function takes a `seed` ([2] integers, made by folding in the step): the same seed gives the
same sample, in another process as well. All shapes are static, and every operation runs on a TPU.
"""

from __future__ import annotations

import tensorflow as tf


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A new seed from a seed and an integer (step, block or stage)."""
    return tf.random.experimental.stateless_fold_in(seed, data)


def random_permutation(size: int, seed: tf.Tensor) -> tf.Tensor:
    """A uniformly random permutation of 0..size-1, int32 [size] (by sorting uniform numbers)."""
    return tf.argsort(tf.random.stateless_uniform([size], seed))


def gumbel_one_hot(probabilities: tf.Tensor, images: int, seed: tf.Tensor) -> tf.Tensor:
    """One independent draw per image and row (HC eq. 4, with the sign the paper lost).

    Gumbel-max: argmax(log p - log(-log U)) is distributed as p; a probability of 0 is never drawn.

    Args:
      probabilities: [..., C], rows summing to 1.
      images: how many draws.
      seed: [2].

    Returns:
      One-hot [images, ..., C] in the dtype of `probabilities`.
    """
    shape = (images, *probabilities.shape)
    # Float32 noise: float64 is slow on a TPU. minval keeps log(0) away.
    uniform = tf.random.stateless_uniform(shape, seed, minval=1e-20)
    scores = tf.math.log(tf.cast(probabilities, tf.float32)) - tf.math.log(-tf.math.log(uniform))
    choice = tf.argmax(scores, axis=-1, output_type=tf.int32)  # [images, ...]
    return tf.one_hot(choice, probabilities.shape[-1], dtype=probabilities.dtype)
