"""What a step needs to know of the replicas that share a batch.

A global batch is cut into equal shares in order: replica r of R has the images r * N .. (r + 1) * N
- 1 of R * N. These functions, called inside a step, make it compute the same whatever R is:

- noise that every image has for itself: `own_rows`, one row an image of the global batch;
- noise of the whole batch: any stateless function of seed and step, the same on every replica;
- what is summed or averaged over images, outside of a loss: `mean_over_replicas`.

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
