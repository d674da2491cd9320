"""Cutting a host's batches into the shares of its replicas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf


def divided(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Iterable[Any]:
    """Gives every replica of this host its share of each batch: equal, and in order.

    Replica r of R on this host has the examples r * N .. (r + 1) * N - 1 of R * N. Hosts come in
    the order of their replicas, each with its own share of the global batch as `dataset`.

    Args:
        dataset: Batches of this host.
        strategy: Whose replicas share them.

    Returns:
        A distributed data set, to iterate over or to make an iterator of.

    Raises:
        ValueError: A batch cannot be divided evenly, or its size is not known.
    """
    if strategy.num_replicas_in_sync == 1:
        return strategy.experimental_distribute_dataset(dataset)
    replicas = len(strategy.extended.worker_devices)

    def cut(part: tf.Tensor) -> tf.Tensor:
        return tf.reshape(part, [replicas, part.shape[0] // replicas, *part.shape[1:]])

    for spec in tf.nest.flatten(dataset.element_spec):
        size = spec.shape[0] if spec.shape.rank else None
        if size is None or size % replicas:
            raise ValueError(
                f"A batch of {size or 'unknown'} examples cannot be divided evenly among "
                f"{replicas} replicas: choose a batch size that divides by their number, or run "
                "on fewer devices (num_devices)."
            )

    # Converting by AutoGraph takes longer than tracing.
    @tf.autograph.experimental.do_not_convert
    def cut_all(*parts: tf.Tensor) -> Any:
        return tf.nest.map_structure(cut, parts if len(parts) > 1 else parts[0])

    cut_up = dataset.map(cut_all)
    shares = cut_up.unbatch().prefetch(2 * replicas)
    return strategy.distribute_datasets_from_function(lambda _: shares)
