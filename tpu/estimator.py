"""A model with what one does with it: train, evaluate, predict, export.

What TensorFlow's TPUEstimator was, in the API that still exists: one object for any devices.

    estimator = Estimator(model, strategy_for("auto"), "runs/mine")
    estimator.train(phase)                                  # continues where it was cut off
    estimator.evaluate({"correct": correct}, test_set, batch_size=256)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu import evaluation
from tpu.engine import run_phase
from tpu.hosts import is_chief
from tpu.phase import Metrics, Phase
from tpu.record import NOBODY, Watch
from tpu.storage import to_path

ExampleMetric = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Labels [N, ...] and outputs [N, ...] -> a value for each example [N]."""


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A Keras model on its devices.

    Attributes:
        model: Created under `strategy.scope()`.
        strategy: Where it runs, see `strategy.strategy_for`.
        directory: Of the checkpoints; every phase has its own folder below it.
        save_every_seconds, keep_checkpoints, watch: See `engine.run_phase`.
    """

    model: keras.Model
    strategy: tf.distribute.Strategy
    directory: str | os.PathLike[str]
    save_every_seconds: float = 60.0
    keep_checkpoints: int = 2
    watch: Watch = NOBODY

    def train(self, phase: Phase) -> list[Metrics]:
        """Runs a phase, whose step updates the model, to its end: see `engine.run_phase`."""
        return run_phase(
            phase,
            self.strategy,
            to_path(self.directory) / phase.name,
            save_every_seconds=self.save_every_seconds,
            keep_checkpoints=self.keep_checkpoints,
            watch=self.watch,
        )

    def evaluate(
        self, metrics: Mapping[str, ExampleMetric], dataset: tf.data.Dataset, batch_size: int
    ) -> Metrics:
        """Means of metrics over a finite data set, every example counted once.

        Args:
            metrics: Name -> function of labels and outputs.
            dataset: Batches of inputs and labels; on several hosts, this host's share of each.
            batch_size: Of the batches on this host; the last one may be smaller.

        Returns:
            The mean of each metric, and the number of "examples" of all hosts.

        Raises:
            ValueError: The data set is empty or endless, or a metric is not of one value an
                example.
        """

        def step(batch: Any) -> dict[str, tf.Tensor]:
            inputs, labels = batch
            outputs = self.model(inputs, training=False)
            return {name: metric(labels, outputs) for name, metric in metrics.items()}

        totals = evaluation.evaluate(step, dataset, self.strategy, batch_size)
        examples = totals.pop(evaluation.EXAMPLES)
        means = {name: total / examples for name, total in totals.items()}
        return {**means, evaluation.EXAMPLES: examples}

    def predict(self, dataset: tf.data.Dataset, batch_size: int) -> np.ndarray:
        """The model's outputs [n, ...] for a finite data set of inputs, in order.

        On several hosts each gets those of its own share.

        Raises:
            ValueError: The data set is empty or endless.
        """

        def step(inputs: Any) -> tf.Tensor:
            return self.model(inputs, training=False)

        batches = list(evaluation.predict(step, dataset, self.strategy, batch_size))
        if not batches:
            raise ValueError("The data set to predict is empty: it needs at least one batch.")
        return np.concatenate(batches)

    def export(self, directory: str | os.PathLike[str]) -> None:
        """Writes the model as a SavedModel for serving, on the chief alone.

        The copy that is written has plain variables, whatever devices the model is on.

        Raises:
            ValueError: The model cannot be rebuilt from its configuration.
            OSError: The folder cannot be written.
        """
        if not is_chief(self.strategy):
            return
        config = keras.saving.serialize_keras_object(self.model)
        plain = keras.saving.deserialize_keras_object(config)
        plain.set_weights(self.model.get_weights())
        try:
            plain.export(str(directory), verbose=False)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"Model folder {directory} cannot be written ({error}): free disk space or choose "
                "another folder."
            ) from error
