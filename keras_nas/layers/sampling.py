"""Stateless sampling of architectures inside a compiled step.

Every function takes a `seed` ([2] integers, made by folding in the step): the same seed gives the
same sample, in another process as well, and on any number of replicas. All shapes are static, and
every operation runs on a TPU.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tpu.replicas import own_rows


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A new seed from a seed and an integer (step, block or stage)."""
    return tf.random.experimental.stateless_fold_in(seed, data)


def gumbel_one_hot(probabilities: tf.Tensor, images: int, seed: tf.Tensor) -> tf.Tensor:
    """One independent draw per image and row (HC eq. 4, with the sign the paper lost).

    Gumbel-max: argmax(log p - log(-log U)) is distributed as p; a probability of 0 is never drawn.

    Args:
      probabilities: [..., C], rows summing to 1.
      images: how many draws: the images of this replica.
      seed: [2].

    Returns:
      One-hot [images, ..., C] in the dtype of `probabilities`; an image's draw depends on its
      index in the global batch, not on the number of replicas.
    """
    return own_rows(lambda rows: _gumbel_one_hot(probabilities, rows, seed), images)


def shared_gumbel_one_hot(probabilities: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One draw per row for all images of all replicas: one-hot [..., C]; see `gumbel_one_hot`."""
    return _gumbel_one_hot(probabilities, 1, seed)[0]


def _gumbel_one_hot(probabilities: tf.Tensor, draws: int, seed: tf.Tensor) -> tf.Tensor:
    shape = (draws, *probabilities.shape)
    # Float32 noise: float64 is slow on a TPU. minval keeps log(0) away.
    uniform = tf.random.stateless_uniform(shape, seed, minval=1e-20)
    scores = tf.math.log(tf.cast(probabilities, tf.float32)) - tf.math.log(-tf.math.log(uniform))
    choice = tf.argmax(scores, axis=-1, output_type=tf.int32)  # [draws, ...]
    return tf.one_hot(choice, probabilities.shape[-1], dtype=probabilities.dtype)


def deal(
    members: np.ndarray, leaving: int, cells: int, seed: tf.Tensor
) -> tuple[tf.Tensor, np.ndarray]:
    """Shuffles every group of images and deals it evenly, as stratified sampling needs it.

    Args:
      members: [G, M] constant places of every group's images in the batch.
      leaving: how many images of a group leave first.
      cells: how many cells the rest of a group is dealt to, evenly.
      seed: [2].

    Returns:
      The new order, int32 [G * M]: those that leave, group by group, then the others, cell by cell
      and in a cell group by group; and the others' new `members`, [G, M - leaving], counted from
      the first of them.
    """
    groups, size = members.shape
    noise = own_rows(lambda rows: tf.random.stateless_uniform([rows, size], seed), groups)
    # A uniformly random permutation of each group, by sorting uniform numbers.
    dealt = tf.gather(tf.constant(members), tf.argsort(noise, axis=1), axis=1, batch_dims=1)
    left = tf.reshape(dealt[:, :leaving], [-1])  # [G * leaving]
    order = tf.concat([left, cell_major(dealt[:, leaving:], cells)], 0)  # [G * M]
    stay = size - leaving
    places = np.arange(groups * stay, dtype=np.int32).reshape(cells, groups, stay // cells)
    return order, places.transpose(1, 0, 2).reshape(groups, stay)


def cell_major(values: tf.Tensor, cells: int) -> tf.Tensor:
    """[G, M] values of the images of each group -> [G * M] in the order that `deal` gives them."""
    groups, size = values.shape
    by_cell = tf.reshape(values, [groups, cells, size // cells])  # [G, cells, M / cells]
    # As tf.transpose, which warns about integers on processors without AVX-512.
    return tf.reshape(tf.stack(tf.unstack(by_cell, axis=1)), [-1])  # [G * M]


def uniform_choices(groups: int, size: int, choices: int, seed: tf.Tensor) -> tf.Tensor:
    """An independent uniform number in 0..choices-1 for each image of each group, int32 [G, M]."""
    return own_rows(
        lambda rows: tf.random.stateless_uniform(
            [rows, size], seed, maxval=choices, dtype=tf.int32
        ),
        groups,
    )
