"""Many training steps inside one compiled call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tpu.distribution import divided
from tpu.host_memory import keep_freed_memory
from tpu.phase import RESERVED_METRICS, Metrics, Phase


class DivergedError(ValueError):
    """The loss, another metric such as the gradient's norm, or a variable is NaN or infinite."""


class CompiledLoop:
    """`loop(first_step, length)` runs steps in one compiled call and returns their mean metrics.

    Traced once for the phase: the first step and the length are tensors.

    Args:
        phase: Whose steps run.
        strategy: Where they run.
        start: The step at which the data begin; the calls follow one another from there.

    Attributes:
        batch_size: Examples in a step, over all replicas; None if the data set does not tell.

    Raises:
        ValueError: The data end before the phase does (at once if the data set tells its length,
            else when they have ended), or the step's metrics break the contract.
        DivergedError: A metric is not finite; the message says which, and the step.
    """

    def __init__(self, phase: Phase, strategy: tf.distribute.Strategy, start: int) -> None:
        self._phase = phase
        self._strategy = strategy
        dataset = phase.dataset(start)
        batches = int(dataset.cardinality())
        if 0 <= batches < phase.steps - start:
            raise self._data_ended(f"has {batches} batches from step {start} on")
        shape = tf.nest.flatten(dataset.element_spec)[0].shape
        self.batch_size: int | None = shape[0] if shape.rank else None
        self._batches = iter(divided(dataset, strategy))
        keep_freed_memory()
        self._names: list[str] = []
        # XLA does not know iterators, so it gets the step and not the loop.
        self._step = self._row
        if phase.jit_compile:
            self._step = tf.function(self._row, jit_compile=True, autograph=False)
        # Plain TensorFlow: converting all that is called would take longer than tracing it.
        self._loop = tf.function(self._run, autograph=False)

    def __call__(self, first_step: int, length: int) -> Metrics:
        bounds = (tf.constant(first_step, tf.int64), tf.constant(length, tf.int64))
        try:
            rows = self._loop(self._batches, *bounds).numpy()  # [length, metrics]
        except tf.errors.OutOfRangeError as error:
            last = first_step + length - 1
            raise self._data_ended(f"ended between steps {first_step} and {last}") from error
        finite = np.isfinite(rows)
        if not finite.all():
            i = int(np.argmin(finite.all(axis=1)))
            bad = dict(zip(self._names, rows[i], strict=True))
            name = (
                "loss" if not np.isfinite(bad["loss"]) else self._names[int(np.argmin(finite[i]))]
            )
            raise DivergedError(
                f"Phase '{self._phase.name}': the {name} is {bad[name]} at step {first_step + i}"
            )
        return dict(zip(self._names, rows.mean(axis=0).tolist(), strict=True))

    def _run(self, batches: Iterator[Any], first_step: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            own = self._strategy.run(self._step, args=(next(batches), first_step + i))
            row = tf.cast(self._strategy.reduce("MEAN", own, axis=None), tf.float64)
            return i + 1, rows.write(tf.cast(i, tf.int32), row)

        rows = tf.TensorArray(tf.float64, size=tf.cast(length, tf.int32))
        _, rows = tf.while_loop(lambda i, _: i < length, body, (tf.constant(0, tf.int64), rows))
        return rows.stack()  # [length, metrics]

    def _row(self, inputs: Any, step: tf.Tensor) -> tf.Tensor:
        """One step and its metrics, float32 [metrics]: one value to reduce. Notes their order."""
        metrics = self._phase.step(inputs, step)
        if "loss" not in metrics or not RESERVED_METRICS.isdisjoint(metrics):
            raise ValueError(
                f"Phase '{self._phase.name}': the step must return a metric 'loss' and none of "
                f"{sorted(RESERVED_METRICS)}, received {sorted(metrics)}."
            )
        self._names = sorted(metrics)
        for name in self._names:
            if metrics[name].shape.rank != 0:
                raise ValueError(
                    f"Phase '{self._phase.name}': metric '{name}' must be a scalar, "
                    f"received shape {metrics[name].shape}."
                )
        return tf.stack([tf.cast(metrics[name], tf.float32) for name in self._names])  # [metrics]

    def _data_ended(self, reason: str) -> ValueError:
        return ValueError(
            f"Phase '{self._phase.name}' of {self._phase.steps} steps: its data set {reason}. "
            "Repeat the data set or run fewer steps."
        )
