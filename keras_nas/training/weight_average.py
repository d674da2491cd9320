"""Exponential moving average of a model's weights."""

from collections.abc import Iterable

import keras
import tensorflow as tf


class WeightAverage:
    """Moving average of trainable weights and of batch-norm statistics.

    average <- d * average + (1 - d) * variable, d = min(decay, (1 + updates) / (10 + updates)), so
    that short trainings are not averaged with their start. `use_ema` of a Keras optimizer leaves
    the batch-norm statistics out, and averaged kernels under statistics of other kernels do not fit
    together; so this averages every float variable it is given.

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
        self._sources = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
        # A tensor, since a Keras variable made of a TensorFlow variable would be that variable.
        self._averages = [
            keras.Variable(
                tf.identity(v.value), dtype=v.dtype, trainable=False, name=f"{v.name}_average"
            )
            for v in self._sources
        ]
        self._updates = keras.Variable(0, dtype="int32", trainable=False, name="average_updates")
        self.variables = [*self._averages, self._updates]

    def update(self) -> None:
        """Moves the averages toward the variables; to be called after each optimizer step."""
        updates = tf.cast(self._updates.value, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + updates) / (10.0 + updates))
        dtypes = dict.fromkeys(average.dtype for average in self._averages)
        shares = {dtype: tf.cast(1.0 - decay, dtype) for dtype in dtypes}
        for average, source in zip(self._averages, self._sources, strict=True):
            # One operation less to trace than assign_add, for each of hundreds of variables.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.value.handle,
                alpha=shares[average.dtype],
                delta=average.value - source.value,
            )
        self._updates.assign_add(1)

    def swap(self) -> None:
        """Exchanges averages and variables; a second call restores both."""
        for average, source in zip(self._averages, self._sources, strict=True):
            kept = tf.identity(source.value)
            source.assign(average.value)
            average.assign(kept)
