"""Totals of a metric over a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tpu.phase import Metrics

EvaluationStep = Callable[[Any], dict[str, tf.Tensor]]


def evaluator(
    step: EvaluationStep, strategy: tf.distribute.Strategy
) -> Callable[[tf.data.Dataset], Metrics]:
    """Returns a function that sums a step's metrics over a data set, to be called often.

    Every example counts exactly once, those of a smaller last batch too. The step is traced once
    for full batches and once for a smaller one, over all calls together.

    Args:
        step: `step(inputs)` returns scalar sums over the examples of the batch (not means).
        strategy: Where to run it.

    Returns:
        A function from a finite data set to the total of each metric. It raises ValueError for
        a data set that is empty or endless.
    """

    @tf.function(autograph=False)
    def run(inputs: Any) -> dict[str, tf.Tensor]:
        sums = strategy.run(step, args=(inputs,))
        return {
            name: tf.cast(strategy.reduce("SUM", value, axis=None), tf.float64)
            for name, value in sums.items()
        }

    def total(dataset: tf.data.Dataset) -> Metrics:
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("The data set to evaluate on repeats forever: leave out repeat().")
        totals: dict[str, tf.Tensor] = {}
        for inputs in strategy.experimental_distribute_dataset(dataset):
            for name, value in run(inputs).items():
                totals[name] = totals[name] + value if name in totals else value
        if not totals:
            raise ValueError("The data set to evaluate on is empty: it needs at least one batch.")
        return {name: float(value) for name, value in totals.items()}

    return total


def evaluate(
    step: EvaluationStep, dataset: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> Metrics:
    """Sums a step's metrics over a data set once: see `evaluator`."""
    return evaluator(step, strategy)(dataset)
