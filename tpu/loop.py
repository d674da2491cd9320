"""Many training steps inside one compiled call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tpu.phase import RESERVED_METRICS, Metrics, Phase


class DivergedError(ValueError):
    """The loss is NaN or infinite."""


class CompiledLoop:
    """`loop(first_step, length)` runs steps in one compiled call and returns their mean metrics.

    Traced once for the phase: the first step and the length are tensors.

    Args:
        phase: Whose steps run.
        strategy: Where they run.
        start: The step at which the data begin; the calls follow one another from there.

    Raises:
        ValueError: The data end before the phase does (at once if the data set tells its length,
            else when they have ended), or the step's metrics break the contract.
        DivergedError: The loss is not finite.
    """

    def __init__(self, phase: Phase, strategy: tf.distribute.Strategy, start: int) -> None:
        self._phase = phase
        self._strategy = strategy
        dataset = phase.dataset(start)
        batches = int(dataset.cardinality())
        if 0 <= batches < phase.steps - start:
            raise self._data_ended(f"has {batches} batches from step {start} on")
        self._batches = iter(strategy.experimental_distribute_dataset(dataset))
        self._names: list[str] = []
        # XLA does not know iterators, so it gets the step and not the loop.
        # The step is plain TensorFlow: converting all it calls would take longer than tracing it.
        self._step = tf.autograph.experimental.do_not_convert(phase.step)
        if phase.jit_compile:
            self._step = tf.function(phase.step, jit_compile=True, autograph=False)
        self._loop = tf.function(self._run)

    def __call__(self, first_step: int, length: int) -> Metrics:
        bounds = (tf.constant(first_step, tf.int64), tf.constant(length, tf.int64))
        try:
            rows = self._loop(self._batches, *bounds).numpy()  # [length, metrics]
        except tf.errors.OutOfRangeError as error:
            last = first_step + length - 1
            raise self._data_ended(f"ended between steps {first_step} and {last}") from error
        losses = rows[:, self._names.index("loss")]  # [length]
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            raise DivergedError(
                f"Phase '{self._phase.name}': the loss is {losses[bad[0]]} at step "
                f"{first_step + bad[0]}; nothing of it was saved. Lower the learning rate or "
                "check the data."
            )
        return dict(zip(self._names, rows.mean(axis=0).tolist(), strict=True))

    def _run(self, batches: Iterator[Any], first_step: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        rows = tf.TensorArray(tf.float64, size=tf.cast(length, tf.int32))
        for i in tf.range(length):
            metrics = self._strategy.run(self._step, args=(next(batches), first_step + i))
            rows = rows.write(tf.cast(i, tf.int32), self._row(metrics))
        return rows.stack()  # [length, metrics]

    @tf.autograph.experimental.do_not_convert
    def _row(self, metrics: dict[str, tf.Tensor]) -> tf.Tensor:
        """One step's metrics, [metrics] in float64 so that counts stay exact; notes their order."""
        if "loss" not in metrics or not RESERVED_METRICS.isdisjoint(metrics):
            raise ValueError(
                f"Phase '{self._phase.name}': the step must return a metric 'loss' and none of "
                f"{sorted(RESERVED_METRICS)}, received {sorted(metrics)}."
            )
        self._names = sorted(metrics)
        means = [self._strategy.reduce("MEAN", metrics[n], axis=None) for n in self._names]
        for name, mean in zip(self._names, means, strict=True):
            if mean.shape.rank != 0:
                raise ValueError(
                    f"Phase '{self._phase.name}': metric '{name}' must be a scalar, "
                    f"received shape {mean.shape}."
                )
        return tf.stack([tf.cast(mean, tf.float64) for mean in means])  # [metrics]

    def _data_ended(self, reason: str) -> ValueError:
        return ValueError(
            f"Phase '{self._phase.name}' of {self._phase.steps} steps: its data set {reason}. "
            "Repeat the data set or run fewer steps."
        )
