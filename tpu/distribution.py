"""Cutting a host's batches into the shares of its replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf


def divided(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Iterable[Any]:
    """Gives every replica of this host its share of each batch: equal, and in order.

    Replica r of R on this host has the examples r * N .. (r + 1) * N - 1 of R * N. Hosts that each
    run the program come in the order of their replicas, with their own shares of the global batch
    as `dataset`. A TPU on other hosts is driven, and gets its images, from this one.

    Args:
        dataset: Batches of this host.
        strategy: Whose replicas share them.

    Returns:
        A distributed data set, to iterate over or to make an iterator of.

    Raises:
        ValueError: A batch cannot be divided evenly, or its size is not known.
    """
    elsewhere = _is_elsewhere(strategy)
    if strategy.num_replicas_in_sync == 1 and not elsewhere:
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
    if elsewhere:
        return _SentFromHere(cut_up, strategy)
    shares = cut_up.unbatch().prefetch(2 * replicas)
    return strategy.distribute_datasets_from_function(lambda _: shares)


class _SentFromHere(Iterator[Any]):
    """Batches of this host, whose shares go over the network to a TPU's hosts with every step.

    A distributed data set would be built on those hosts. They run TensorFlow's server and no
    Python, so they cannot read an image.
    """

    def __init__(self, cut_up: tf.data.Dataset, strategy: tf.distribute.Strategy) -> None:
        self._batches = iter(cut_up.prefetch(2))
        self._strategy = strategy

    def __next__(self) -> Any:
        batch = next(self._batches)  # of tensors [R, N, ...]
        parts = [tf.unstack(part) for part in tf.nest.flatten(batch)]

        def share(context: tf.distribute.experimental.ValueContext) -> Any:
            own = [part[context.replica_id_in_sync_group] for part in parts]
            return tf.nest.pack_sequence_as(batch, own)

        return self._strategy.experimental_distribute_values_from_function(share)


def _is_elsewhere(strategy: tf.distribute.Strategy) -> bool:
    """Whether a TPU's hosts are other processes than this one."""
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        return False
    return tf.DeviceSpec.from_string(strategy.extended.worker_devices[0]).job != "localhost"
