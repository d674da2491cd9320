"""Exponential moving average of a model's weights."""

import math
from collections.abc import Iterable

import keras
import tensorflow as tf


class WeightAverage:
    """Moving average of trainable weights and of batch-norm statistics.

    average <- d * average + (1 - d) * variable, d = min(decay, (1 + updates) / (10 + updates)), so
    that short trainings are not averaged with their start. `use_ema` of a Keras optimizer leaves
    the batch-norm statistics out, and averaged kernels under statistics of other kernels do not fit
    together; so this averages every float variable it is given.

    Averages of a dtype are one vector, and so one operation: a network has hundreds of variables,
    and an operation for each of them is a good part of what is traced before the first step.

    Attributes:
      variables: the averages and the counter, for the checkpoint.
    """

    def __init__(self, variables: Iterable[keras.Variable], decay: float):
        """Starts at the current values.

        Args:
          variables: `model.variables`; those that are not float are left out.
          decay: largest d, in [0, 1).

        Raises:
          ValueError: `decay` is out of range.
        """
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1). Received: {decay}")
        self._decay = decay
        self._sources: dict[str, list[keras.Variable]] = {}
        for v in variables:
            if keras.backend.is_float_dtype(v.dtype):
                self._sources.setdefault(v.dtype, []).append(v)
        self._averages = {
            dtype: keras.Variable(
                _values(sources), dtype=dtype, trainable=False, name=f"average_{dtype}"
            )
            for dtype, sources in self._sources.items()
        }
        self._updates = keras.Variable(0, dtype="int32", trainable=False, name="average_updates")
        self.variables = [*self._averages.values(), self._updates]

    def update(self) -> None:
        """Moves the averages toward the variables; to be called after each optimizer step."""
        updates = tf.cast(self._updates.value, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + updates) / (10.0 + updates))
        for dtype, average in self._averages.items():
            # An assignment would be reduced over replicas, all of which hold the same.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.value.handle,
                alpha=tf.cast(1.0 - decay, dtype),
                delta=average.value - _values(self._sources[dtype]),
            )
        self._updates.assign_add(1)

    def swap(self) -> None:
        """Exchanges averages and variables; a second call restores both."""
        for dtype, average in self._averages.items():
            sources = self._sources[dtype]
            kept = _values(sources)
            parts = tf.split(average.value, [math.prod(v.shape) for v in sources])
            for source, part in zip(sources, parts, strict=True):
                source.assign(tf.reshape(part, source.shape))  # [values] -> its shape
            average.assign(kept)


def _values(variables: list[keras.Variable]) -> tf.Tensor:
    """All values of variables of one dtype, one after another: [values]."""
    flat = tf.constant([-1])
    return tf.concat([tf.reshape(v.value, flat) for v in variables], 0)
