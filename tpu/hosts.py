"""Several hosts that run one program: who they are, and agreeing on what to do.

Every host runs the whole program. The chief alone writes files; the others read what it wrote, in
a folder that all of them see, and never decide anything by a file or a signal of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf


def host_count(strategy: tf.distribute.Strategy) -> int:
    """How many hosts run this program."""
    return max(1, len(_tasks(strategy)))


def host_index(strategy: tf.distribute.Strategy) -> int:
    """This host's place in the order of replicas; 0 is the chief's."""
    tasks = _tasks(strategy)
    if not tasks:
        return 0
    resolver = strategy.cluster_resolver
    return tasks.index((resolver.task_type, resolver.task_id))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this host writes the files."""
    return host_index(strategy) == 0


def from_chief(strategy: tf.distribute.Strategy, value: int) -> int:
    """The chief's value, on every host; waits until all hosts ask for it."""
    return _sum_over_hosts(strategy, value if is_chief(strategy) else 0)


def on_any_host(strategy: tf.distribute.Strategy, value: bool) -> bool:
    """Whether `value` is true on at least one host; waits until all hosts ask for it."""
    return _sum_over_hosts(strategy, int(value)) > 0


def _sum_over_hosts(strategy: tf.distribute.Strategy, value: int) -> int:
    if host_count(strategy) == 1:
        return value
    total = _sum_over_replicas(strategy)(tf.constant(value, tf.int64))
    return int(total) // len(strategy.extended.worker_devices)


@functools.cache
def _sum_over_replicas(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiled once: hosts agree after every loop."""

    @tf.function(autograph=False)
    def total(own: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(own,)), axis=None)

    return total


def _tasks(strategy: tf.distribute.Strategy) -> list[tuple[str, int]]:
    """(job, number) of every host, in the order of their replicas; empty on one host."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return []
    spec = strategy.cluster_resolver.cluster_spec().as_dict()
    return [(job, i) for job in ("chief", "worker") for i in range(len(spec.get(job, ())))]
