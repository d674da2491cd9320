"""Accuracy of many architectures with one-shot weights, by one program that is compiled once.

An architecture is a one-hot alpha and beta of the supernet, so that no network is built for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_nas.data.examples import Examples
from keras_nas.methods.classification import evaluation_step
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet, reestimate_batch_norm
from keras_nas.solvers.network_sampling import Choice
from tpu.evaluation import EXAMPLES, evaluator

BATCH_NORM_BATCH = 128
"""Images in a batch whose statistics are averaged."""


def one_shot_accuracy(
    supernet: Supernet,
    examples: Examples,
    runtime: Runtime,
    batch_size: int,
    *,
    batch_norm_images: int,
    held_out_images: int,
) -> Callable[..., float]:
    """A function from an architecture to its accuracy with its own batch-norm statistics.

    Equal to building the network with `Supernet.extract`, re-estimating its batch norm and
    evaluating it, without tracing anything again for another architecture.

    Args:
      supernet: w*, created under the runtime's strategy; its batch-norm statistics become those of
        the architecture that was evaluated last.
      examples: images.
      runtime: where.
      batch_size: images in a step of evaluation.
      batch_norm_images: fitted images that statistics are estimated on.
      held_out_images: so many held-out images, at most, are evaluated on.

    Returns:
      A function of depth entries [S] with configurations [B], and of `test`: whether its accuracy
      is that on all test images instead.
    """
    space = supernet.space
    with runtime.strategy.scope():
        alpha = tf.Variable(tf.zeros([len(space.stage_of_block), len(space.configurations)]))
        beta = tf.Variable(tf.zeros([len(space.depths), len(space.depths[0])]))

    def forward(images, training=False):
        count = tf.shape(images)[0]
        paths = (tf.tile(path[None], [count, 1, 1]) for path in (alpha, beta))  # [N, B, C]
        return supernet(images, *paths, training=training)

    in_training = tf.function(lambda images: forward(images, training=True), autograph=False)
    images = examples.sample(batch_norm_images)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(
        BATCH_NORM_BATCH, drop_remainder=len(images) >= BATCH_NORM_BATCH
    )
    examples = dataclasses.replace(examples, held_out=examples.held_out[:held_out_images])
    own_batch = batch_size // examples.host[1]
    totals = evaluator(evaluation_step(forward), runtime.strategy, own_batch)

    def accuracy(choice: Choice, *, test: bool = False) -> float:
        depth, configuration = choice
        alpha.assign(np.eye(alpha.shape[1], dtype=np.float32)[configuration])
        beta.assign(np.eye(beta.shape[1], dtype=np.float32)[depth])
        reestimate_batch_norm(supernet, in_training, batches)
        sums = totals(examples.evaluation(batch_size, held_out=not test))
        return sums["correct"] / sums[EXAMPLES]

    return accuracy
