"""What a step computes for every example of a finite data set, summed or collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tpu.distribution import divided
from tpu.failures import clear_memory_errors
from tpu.host_memory import keep_freed_memory
from tpu.phase import Metrics

EvaluationStep = Callable[[Any], dict[str, tf.Tensor]]

EXAMPLES = "examples"
"""Name of the total that counts the examples."""


def evaluator(
    step: EvaluationStep,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    batch_size_setting: str = "the batch size of its data set",
) -> Callable[[tf.data.Dataset], Metrics]:
    """Returns a function that sums a step's values over a data set, to be called often.

    Every example counts exactly once. A smaller batch is filled up with zeros that do not count,
    so that all replicas of all hosts always have a share of the same shape: the step is traced
    once, over all calls together.

    Args:
        step: `step(inputs)` returns a value for each example of the batch, [N], under any names
            but "examples". It must not depend on which other examples are in the batch.
        strategy: Where to run it.
        batch_size: Of the data sets, on this host.
        batch_size_setting: Where a person sets it, for the message when memory ends.

    Returns:
        A function from a finite data set of batches, the same number on every host, to the total of
        each value, and the number of "examples". It raises ValueError for a data set that is empty
        or endless, and for a step that breaks the contract, and OutOfMemoryError.
    """

    def summed(inputs: Any, counts: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = {EXAMPLES: tf.reduce_sum(tf.cast(counts, tf.int32))}
        for name, values in step(inputs).items():
            if name == EXAMPLES or values.shape != counts.shape:
                raise ValueError(
                    f"An evaluation step must return one value an example, {counts.shape}, and "
                    f"nothing named '{EXAMPLES}'; received '{name}' of shape {values.shape}."
                )
            sums[name] = tf.reduce_sum(tf.where(counts, values, tf.zeros_like(values)))
        return sums

    @tf.function(autograph=False)
    def run(inputs: Any, counts: Any) -> dict[str, tf.Tensor]:
        return {
            name: tf.cast(strategy.reduce("SUM", value, axis=None), tf.float64)
            for name, value in strategy.run(summed, args=(inputs, counts)).items()
        }

    def total(dataset: tf.data.Dataset) -> Metrics:
        totals: dict[str, tf.Tensor] = {}
        with clear_memory_errors("Evaluation", batch_size, batch_size_setting):
            for inputs, counts in _filled_up(dataset, strategy, batch_size):
                for name, value in run(inputs, counts).items():
                    totals[name] = totals[name] + value if name in totals else value
        if not totals or not float(totals[EXAMPLES]):
            raise ValueError("The data set to evaluate on is empty: it needs at least one batch.")
        return {name: float(value) for name, value in totals.items()}

    return total


def evaluate(
    step: EvaluationStep,
    dataset: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    batch_size_setting: str = "the batch size of its data set",
) -> Metrics:
    """Sums a step's values over a data set once: see `evaluator`."""
    return evaluator(step, strategy, batch_size, batch_size_setting)(dataset)


def predict(
    step: Callable[[Any], tf.Tensor],
    dataset: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Yields a step's output for every example of this host, [n, ...] a batch, in order.

    Args:
        step: `step(inputs)` returns a tensor [N, ...].
        dataset, strategy, batch_size: See `evaluator`.

    Raises:
        ValueError: The data set is endless.
    """

    @tf.function(autograph=False)
    def run(inputs: Any) -> Any:
        return strategy.run(step, args=(inputs,))

    for inputs, counts in _filled_up(dataset, strategy, batch_size):
        parts = strategy.experimental_local_results(run(inputs))
        used = np.concatenate(strategy.experimental_local_results(counts))
        yield np.concatenate(parts)[used]


def _filled_up(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy, batch_size: int):
    """Distributed (inputs, counts) with full batches; `counts` is False for what was filled up."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The data set to evaluate on repeats forever: leave out repeat().")
    local = max(1, len(strategy.extended.worker_devices))
    full = -(-batch_size // local) * local

    @tf.autograph.experimental.do_not_convert
    def fill_up(*element: tf.Tensor) -> tuple[Any, tf.Tensor]:
        count = tf.shape(tf.nest.flatten(element)[0])[0]

        def filled(part: tf.Tensor) -> tf.Tensor:
            padding = [[0, full - count], *([0, 0] for _ in part.shape[1:])]
            return tf.ensure_shape(tf.pad(part, padding), [full, *part.shape[1:]])

        whole = tf.nest.map_structure(filled, element)
        return whole if len(whole) > 1 else whole[0], tf.range(full) < count

    batches = iter(divided(dataset.map(fill_up, num_parallel_calls=tf.data.AUTOTUNE), strategy))
    keep_freed_memory()
    return batches
