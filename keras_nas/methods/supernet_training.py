"""What all formulations of Single-Path NAS have in common: how a supernet is trained, the result.

A formulation says how the weights and the decisions of a step make logits, and what it adds to the
loss; schedule, optimizer, average and checkpoints are the same for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.space.single_path_gates import SKIP, Gates
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from keras_nas.training.rmsprop import L2RMSprop, StaircaseDecay, rmsprop
from keras_nas.training.weight_average import WeightAverage
from tpu.phase import Metrics, Phase
from tpu.replicas import replica_count

Penalty = tuple[tf.Tensor, dict[str, tf.Tensor]]
"""A scalar that is added to the loss, and metrics."""
Forward = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, Penalty]]
"""Images [N, H, W, 3], a [2] seed and whether warming up -> logits [N, classes], in training mode,
and the penalty."""
Step = Callable[[tuple[tf.Tensor, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]]
Observe = Callable[[keras.Model], Metrics]
"""A supernet -> a row for the history."""
AnySupernet = TypeVar("AnySupernet", bound=keras.Model)


@dataclasses.dataclass(frozen=True, eq=False)
class SinglePathResult:
    """What a search found.

    Attributes:
      configurations: int64 [B], configuration of every block or `SKIP`.
      margins: of every gate, whose signs decode to the configurations. Of a single path: norm -
        threshold in the formulation's units.
      runtime_ms: of the found network by the runtime model.
      history: a row a compiled loop: those of the step ("loss", "cross_entropy", "accuracy",
        "sampled_ms", "runtime_weight", "gradient_norm", "learning_rate"), and of the weights, not
        averaged, at its end "runtime_ms", "skipped_blocks", for each block b its configuration
        (-1: skipped) as "block_b_configuration", and for each gate its norm and threshold, of a
        multi-path its margin and 0. Random search decides nothing before its end.
      evaluated: "accuracy" and "runtime_ms" of each network that random search evaluated.
    """

    configurations: np.ndarray
    margins: Gates
    runtime_ms: float
    history: list[Metrics]
    evaluated: list[Metrics] = dataclasses.field(default_factory=list)


def train_supernet(
    build: Callable[[], AnySupernet],
    step: Callable[..., Step],
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
    *rows: Observe | None,
) -> tuple[AnySupernet, list[Metrics]]:
    """Trains a supernet; it then holds the moving average, if there is one, of all its variables.

    Args:
      build: makes it, with fresh weights.
      step: supernet, optimizer, steps of the warm-up, [2] seed and average -> the step.
      examples: the fitted images are trained on.
      settings: how.
      runtime: where.
      *rows: what the history says of the supernet at the end of each compiled loop.

    Returns:
      The supernet and the history.

    Raises:
      ValueError: a batch that the devices cannot share.
    """
    runtime.check_batch_size("config.single_path.batch_size", settings.batch_size)
    steps = examples.steps(settings.epochs, settings.batch_size)
    with runtime.strategy.scope():
        keras.utils.set_random_seed(examples.seed)
        supernet = build()
        optimizer = _optimizer(supernet, examples, settings)
        average = None
        if settings.weight_average:
            average = WeightAverage(supernet.variables, settings.weight_average)

    def observed() -> Metrics:
        return {key: value for row in rows if row for key, value in row(supernet).items()}

    warmup_steps = round(settings.warmup_share * steps)
    phase = Phase(
        name="search",
        step=step(supernet, optimizer, warmup_steps, stage_seed(examples.seed, "search"), average),
        variables=[
            *supernet.variables,
            *optimizer.variables,
            *(average.variables if average else []),
        ],
        steps=steps,
        dataset=lambda start: examples.training(
            settings.batch_size, start, int(stage_seed(0, "search")[1])
        ),
        steps_per_loop=runtime.steps_per_loop,
        host_update=lambda number, _: observed(),
        # The loss changes its meaning when runtime joins it.
        best_metric="cross_entropy",
        batch_size_setting="config.single_path.batch_size",
    )
    history = runtime.run(phase)
    if average:
        average.swap()
    return supernet, history


def _optimizer(
    supernet: keras.Model, examples: Examples, settings: SinglePathConfig
) -> keras.Optimizer:
    return rmsprop(
        _learning_rate(examples, settings),
        supernet.trainable_variables,
        rho=settings.rho,
        momentum=settings.momentum,
        epsilon=settings.epsilon,
        l2=settings.weight_decay,
    )


def _learning_rate(examples: Examples, settings: SinglePathConfig) -> StaircaseDecay:
    def steps(epochs: float) -> int:
        return examples.steps(epochs, settings.batch_size)

    warmup = settings.learning_rate_warmup_epochs
    return StaircaseDecay(
        settings.learning_rate,
        settings.learning_rate_decay,
        steps(settings.decay_epochs),
        steps(warmup) if warmup else 0,
    )


def training_step(
    forward: Forward,
    supernet: keras.Model,
    optimizer: L2RMSprop,
    settings: SinglePathConfig,
    warmup_steps: int,
    seed: tf.Tensor,
    average: WeightAverage | None = None,
) -> Step:
    """The step of the phase: CE + penalty, with L2 in the optimizer.

    Args:
      forward: what the formulation does.
      supernet, optimizer, average: what the step changes.
      settings: label smoothing.
      warmup_steps: how many of the first steps are warm-up.
      seed: [2].
    """

    def step(inputs, step_index):
        images, labels = inputs
        targets = smooth_labels(labels, supernet.classes, settings.label_smoothing)
        replicas = replica_count()
        with tf.GradientTape() as tape:
            warming_up = step_index < warmup_steps
            logits, (penalty, metrics) = forward(images, fold_in(seed, step_index), warming_up)
            task_loss = tf.reduce_mean(cross_entropy(targets, logits))
            loss = task_loss + penalty
            scaled = loss / replicas  # the optimizer adds the replicas' gradients
        variables = supernet.trainable_variables
        gradients = [
            # What this step does not depend on stands still.
            tf.zeros_like(variable.value) if gradient is None else gradient
            for variable, gradient in zip(variables, tape.gradient(scaled, variables), strict=True)
        ]
        metrics = metrics | {
            "loss": loss,
            "cross_entropy": task_loss,
            "accuracy": tf.reduce_mean(correct(labels, logits)),
            "gradient_norm": tf.linalg.global_norm(gradients) * replicas,
            "learning_rate": optimizer.learning_rate,
        }
        optimizer.apply(gradients, variables)
        if average:
            average.update()
        return metrics

    return step


def runtime_penalty(
    sampled_ms: tf.Tensor, settings: SinglePathConfig, warming_up: tf.Tensor
) -> Penalty:
    """lambda * log(R), after the warm-up."""
    weight = tf.where(warming_up, 0.0, settings.runtime_weight)
    metrics = {"sampled_ms": sampled_ms, "runtime_weight": weight}
    return weight * tf.math.log(sampled_ms), metrics


def network_row(configurations: np.ndarray, runtime_ms: float) -> Metrics:
    """A network as numbers for the history; see `SinglePathResult`."""
    return {
        "runtime_ms": runtime_ms,
        "skipped_blocks": float(np.sum(configurations == SKIP)),
    } | {f"block_{b}_configuration": float(c) for b, c in enumerate(configurations)}
