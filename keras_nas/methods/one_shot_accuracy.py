"""Accuracy of many architectures with one-shot weights, by one program that is compiled once.

An architecture is a few numbers that the supernet takes beside images (a one-hot alpha and beta, or
the gates of superkernels), so that no network is built for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.data.examples import Examples
from keras_nas.methods.classification import evaluation_step
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet, reestimate_batch_norm
from keras_nas.models.batch_norm_statistics import batch_norm_batches
from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.solvers.network_sampling import Choice
from tpu.evaluation import EXAMPLES, evaluator


def one_shot_accuracy(
    supernet: Supernet,
    examples: Examples,
    runtime: Runtime,
    batch_size: int,
    *,
    batch_norm_images: int,
    held_out_images: int,
) -> Callable[..., float]:
    """`accuracy_of_choices` of a HardCoRe-NAS supernet, a function of depth entries [S] with
    configurations [B]."""
    space = supernet.space
    with runtime.strategy.scope():
        alpha = tf.Variable(tf.zeros([len(space.stage_of_block), len(space.configurations)]))
        beta = tf.Variable(tf.zeros([len(space.depths), len(space.depths[0])]))

    def forward(images, training=False):
        count = tf.shape(images)[0]
        paths = (tf.tile(path[None], [count, 1, 1]) for path in (alpha, beta))  # [N, B, C]
        return supernet(images, *paths, training=training)

    def choose(choice: Choice) -> None:
        depth, configuration = choice
        alpha.assign(np.eye(alpha.shape[1], dtype=np.float32)[configuration])
        beta.assign(np.eye(beta.shape[1], dtype=np.float32)[depth])

    return accuracy_of_choices(
        supernet,
        forward,
        choose,
        examples,
        runtime,
        batch_size,
        batch_norm_images=batch_norm_images,
        held_out_images=held_out_images,
    )


def configuration_accuracy(
    supernet: SinglePathSupernet | MultiPathSupernet,
    examples: Examples,
    runtime: Runtime,
    batch_size: int,
    *,
    batch_norm_images: int,
    held_out_images: int | None = None,
) -> Callable[..., float]:
    """`accuracy_of_choices` of a supernet of Single-Path NAS' formulations, a function of
    configurations [B] or `SKIP`."""
    with runtime.strategy.scope():
        selected = tf.nest.map_structure(tf.Variable, supernet.selection(supernet.configurations()))

    def forward(images, training=False):
        selection = tf.nest.map_structure(tf.convert_to_tensor, selected)
        return supernet(images, selection, training=training)

    def choose(configurations: Sequence[int] | np.ndarray) -> None:
        chosen = supernet.selection(configurations)
        tf.nest.map_structure(lambda variable, value: variable.assign(value), selected, chosen)

    return accuracy_of_choices(
        supernet,
        forward,
        choose,
        examples,
        runtime,
        batch_size,
        batch_norm_images=batch_norm_images,
        held_out_images=held_out_images,
    )


def accuracy_of_choices(
    supernet: keras.Model,
    forward: Callable[..., tf.Tensor],
    choose: Callable[[Any], None],
    examples: Examples,
    runtime: Runtime,
    batch_size: int,
    *,
    batch_norm_images: int,
    held_out_images: int | None = None,
) -> Callable[..., float]:
    """A function from an architecture to its accuracy with its own batch-norm statistics.

    Equal to building the network with the supernet's `extract`, re-estimating its batch norm and
    evaluating it, without tracing anything again for another architecture.

    Args:
      supernet: created under the runtime's strategy; its batch-norm statistics become those of the
        architecture that was evaluated last.
      forward: images and `training` -> logits of the architecture chosen last.
      choose: turns the supernet to an architecture, by assigning variables.
      examples: images.
      runtime: where.
      batch_size: images in a step of evaluation.
      batch_norm_images: fitted images that statistics are estimated on.
      held_out_images: so many held-out images, at most, are evaluated on; None is all.

    Returns:
      A function of an architecture, as `choose` takes it, and of `test`: whether its accuracy is
      that on all test images instead.
    """
    in_training = tf.function(lambda images: forward(images, training=True), autograph=False)
    batches = batch_norm_batches(examples.sample(batch_norm_images))
    examples = dataclasses.replace(examples, held_out=examples.held_out[:held_out_images])
    own_batch = batch_size // examples.host[1]
    totals = evaluator(
        evaluation_step(forward), runtime.strategy, own_batch, "config.evaluation_batch_size"
    )

    def accuracy(choice: Any, *, test: bool = False) -> float:
        choose(choice)
        reestimate_batch_norm(supernet, in_training, batches)
        sums = totals(examples.evaluation(batch_size, held_out=not test))
        return sums["correct"] / sums[EXAMPLES]

    return accuracy
