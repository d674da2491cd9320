"""TensorFlow's graph rewriting (Grappler), which costs about a second for the graph of a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_DISABLED = "disable_meta_optimizer"


@contextlib.contextmanager
def graph_rewriting(on: bool) -> Iterator[None]:
    """Switches it on or off for the functions that are called inside.

    TensorFlow keeps the rewritten and the plain graph of a function apart and prepares each at its
    first call, so all calls of a function should be of one kind.
    """
    before = tf.config.optimizer.get_experimental_options().get(_DISABLED, False)
    tf.config.optimizer.set_experimental_options({_DISABLED: not on})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_DISABLED: before})


def pays(strategy: tf.distribute.Strategy) -> bool:
    """Whether to rewrite steps: on a CPU it makes none faster, elsewhere layouts matter."""
    devices = strategy.extended.worker_devices
    return any(tf.DeviceSpec.from_string(name).device_type != "CPU" for name in devices)
