"""One-shot weights of superkernels: every step trains one network, drawn uniformly.

With them random search evaluates networks of a single path's space, and kernels that are subsets
of others are compared with kernels trained alone.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.superkernel import BlockGates
from keras_nas.methods import supernet_training
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.supernet_training import Step, train_supernet
from keras_nas.models.single_path_supernet import SinglePathSupernet, unstacked
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import (
    SKIP,
    gate_shapes,
    gates_of_configurations,
    skippable,
)
from keras_nas.training.rmsprop import L2RMSprop
from keras_nas.training.weight_average import WeightAverage
from tpu.phase import Metrics


def train_one_shot(
    space: SearchSpace, examples: Examples, settings: SinglePathConfig, runtime: Runtime
) -> tuple[SinglePathSupernet, list[Metrics]]:
    """Trains a single path's weights by uniform sampling, with the schedule of a search.

    Args:
      space: the search space.
      examples: the fitted images are trained on.
      settings: how; runtime and decisions play no part.
      runtime: where.

    Returns:
      The supernet and the history.

    Raises:
      ValueError: a batch that the devices cannot share.
    """
    return train_supernet(
        lambda: SinglePathSupernet(space, examples.source.classes),
        functools.partial(training_step, settings=settings),
        examples,
        settings,
        runtime,
    )


def training_step(
    supernet: SinglePathSupernet,
    optimizer: L2RMSprop,
    warmup_steps: int,
    seed: tf.Tensor,
    average: WeightAverage | None = None,
    *,
    settings: SinglePathConfig,
) -> Step:
    """The step of the phase: CE of a network that is drawn, with L2 in the optimizer.

    Args:
      supernet, optimizer, average: what it changes.
      warmup_steps: no step differs from another.
      seed: [2].
      settings: label smoothing.
    """

    def forward(images, step_seed, warming_up):
        del warming_up
        gates = unstacked(uniform_gates(supernet.space, step_seed))
        return supernet(images, gates, training=True), (0.0, {})

    return supernet_training.training_step(
        forward, supernet, optimizer, settings, warmup_steps, seed, average
    )


def uniform_gates(space: SearchSpace, seed: tf.Tensor) -> BlockGates:
    """Gates of a network whose blocks are uniform over their configurations, and skipping where
    they may be: one draw for the whole batch on all replicas.

    Args:
      space: the search space.
      seed: [2].

    Returns:
      [B, K - 1], [B, E] and [B, S - 1] of 0 and 1.
    """
    may_skip, count = skippable(space), len(space.configurations)
    choices = tf.constant(count + may_skip, tf.float32)
    draws = tf.random.stateless_uniform((len(may_skip),), seed) * choices
    # Rounding may reach the end of the range.
    drawn = tf.minimum(tf.cast(draws, tf.int32), tf.cast(choices, tf.int32) - 1)  # [B]
    tables, one_hot = gate_tables(space), tf.one_hot(drawn, count + 1)  # [B, C + 1]
    return BlockGates(
        *(tf.einsum("bc,bcn->bn", one_hot, tables[field]) for field in BlockGates._fields)
    )


def gate_tables(space: SearchSpace) -> dict[str, np.ndarray]:
    """Gates of every configuration of every block, and last of skipping, where it may be: float32
    [B, C + 1, n] by field."""
    may_skip, count = skippable(space), len(space.configurations)
    rows = [gates_of_configurations(space, [c] * len(may_skip)) for c in range(count)] + [
        gates_of_configurations(space, np.where(may_skip, SKIP, 0))
    ]
    return {
        field: np.stack([getattr(row, field) for row in rows], 1).astype(np.float32)
        for field in gate_shapes(space)
    }
