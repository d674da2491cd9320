"""What a step needs to know of the replicas that share a batch.

A global batch is cut into equal shares in order: replica r of R has the images r * N .. (r + 1) * N
- 1 of R * N. These functions, called inside a step, make it compute the same whatever R is:

- noise that every image has for itself: `own_rows`, one row an image of the global batch;
- noise of the whole batch: any stateless function of seed and step, the same on every replica;
- what is summed or averaged over images, outside of a loss: `mean_over_replicas`;
- what a step does several times: `in_turn`.

Outside of a step there is one replica. Needs nothing of the engine, so that layers can use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def replica_count() -> int:
    """How many replicas share the global batch."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def is_tpu_program() -> bool:
    """Whether the step becomes a program for a TPU: compiled as a whole, with nothing called."""
    strategy = tf.distribute.get_strategy()
    mirrored = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    several = replica_count() > 1 and not isinstance(strategy, mirrored)  # tpu.aot's stand-in
    return several or isinstance(strategy, tf.distribute.TPUStrategy)


def own_rows(draw: Callable[[int], tf.Tensor], count: int) -> tf.Tensor:
    """Draws for the global batch and returns what belongs to this replica's images.

    All replicas draw the same numbers and each takes its rows, so that a row is a function of the
    seed and of its image's index in the global batch. That costs little: an image's noise is far
    smaller than the image.

    Args:
        draw: Number of rows -> a tensor with as many rows, from a stateless generator.
        count: Rows of this replica, the same on all of them: images, or groups of images.

    Returns:
        The rows [count, ...] of this replica.
    """
    replicas = replica_count()
    rows = draw(count * replicas)  # [R * count, ...]
    if replicas == 1:
        return rows
    replica = tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)
    begin = tf.concat([[replica * count], tf.zeros([rows.shape.rank - 1], replica.dtype)], 0)
    return tf.slice(rows, begin, [count, *rows.shape[1:]])


def mean_over_replicas(values: Any) -> Any:
    """The mean over replicas of a tensor, or of each in a structure of them, in one reduction."""
    if replica_count() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def in_turn(function: Callable[[Any], Any], rows: Any, result: Any) -> Any:
    """A function of every row, one after another: in a loop on a TPU, whose program is as long as
    what it does, and which can reduce over replicas inside of one.

    Args:
        function: A structure of tensors -> a structure of tensors.
        rows: A structure of tensors [N, ...], N known, whose rows the function gets.
        result: The `tf.TensorSpec`s of what the function returns.

    Returns:
        What the function returns, as tensors [N, ...].
    """
    flat = tf.nest.flatten(rows)
    if flat[0].shape[0] > 1 and is_tpu_program():
        return tf.map_fn(function, rows, parallel_iterations=1, fn_output_signature=result)
    found = [
        function(tf.nest.pack_sequence_as(rows, row))
        for row in zip(*map(tf.unstack, flat), strict=True)
    ]
    return tf.nest.map_structure(lambda *parts: tf.stack(parts), *found)
