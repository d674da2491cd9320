"""Batch-norm re-estimation: statistics that belong to the weights a network now has.

Architectures in a one-shot network share batch norms, so an extracted network's running statistics
are those of a mixture. A few batches put them right without any training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_BATCH = 128
_NOT_RUN = -(2.0**-100)
"""Running variance that no pass can leave behind: the next one is at least this times momentum."""


def reestimate_batch_norm(
    model: keras.Model, forward: Callable[[Any], Any], batches: Iterable[Any]
) -> None:
    """Sets every running mean and variance to the average of the batches' own mean and variance.

    Batch norms that `forward` does not run, or that are frozen, keep their statistics; so does
    everything else in the model, the state of its random generators included.

    Args:
      model: a plain network or a `Supernet`.
      forward: runs `model` on a batch with `training=True`; compiled here, once a batch shape,
        unless it is a `tf.function` already.
      batches: what `forward` takes, one after the other.

    Raises:
      ValueError: there is no batch. The model is as it was.
    """
    layers = [
        layer
        for layer in model._flatten_layers()  # the only list that reaches layers inside layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    compiled = forward
    if not isinstance(forward, tf.types.experimental.PolymorphicFunction):
        compiled = tf.function(forward, autograph=False)
    kept = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    collected: list[list[np.ndarray]] = [[] for _ in layers]
    received = 0
    try:
        for batch in batches:
            for layer in layers:
                layer.moving_mean.assign(tf.zeros_like(layer.moving_mean))
                layer.moving_variance.assign(tf.fill(layer.moving_variance.shape, _NOT_RUN))
            compiled(batch)
            for layer, statistics in zip(layers, collected, strict=True):
                if np.any(layer.moving_variance.numpy() != _NOT_RUN):
                    statistics.append(_batch_statistics(layer))
            received += 1
    finally:
        for variable, value in kept:
            variable.assign(value)
    if not received:
        raise ValueError("batch-norm re-estimation needs at least one batch, received none.")
    for layer, statistics in zip(layers, collected, strict=True):
        if statistics:
            mean, variance = np.mean(statistics, axis=0)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)


def batch_norm_batches(images: tf.Tensor) -> tf.data.Dataset:
    """Images [n, H, W, 3] in the batches that statistics are averaged over."""
    return tf.data.Dataset.from_tensor_slices(images).batch(
        _BATCH, drop_remainder=len(images) >= _BATCH
    )


def _batch_statistics(layer: keras.layers.BatchNormalization) -> np.ndarray:
    """Mean and variance [2, C] of the batch that moved the running statistics away from 0.

    The pass left (1 - momentum) times them behind, whatever the momentum: so a `forward` that was
    compiled before works as well.
    """
    moved = np.stack([layer.moving_mean.numpy(), layer.moving_variance.numpy()])  # [2, C]
    moved[1] = np.maximum(moved[1], 0.0)
    return moved.astype(np.float64) / (1.0 - layer.momentum)
