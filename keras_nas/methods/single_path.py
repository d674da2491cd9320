"""Single-Path NAS (arXiv 1904.02877): weights and decisions of one path, trained together."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in
from keras_nas.layers.superkernel import BlockGates, Formulation
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.methods.single_path_runtime import runtime_function
from keras_nas.models.single_path_supernet import SinglePathSupernet, stacked
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import SKIP, Gates, gate_shapes
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from keras_nas.training.rmsprop import L2RMSprop, StaircaseDecay, rmsprop
from keras_nas.training.weight_average import WeightAverage
from tpu.phase import Metrics, Phase
from tpu.replicas import replica_count


@dataclasses.dataclass(frozen=True, eq=False)
class SinglePathResult:
    """What a search found.

    Attributes:
      configurations: int64 [B], configuration of every block or `SKIP`.
      margins: of every gate, norm - threshold in the formulation's units.
      runtime_ms: of the found network by the runtime model.
      history: a row a compiled loop: those of the step ("loss", "cross_entropy", "accuracy",
        "sampled_ms", "runtime_weight", "gradient_norm", "learning_rate"), and of the weights, not
        averaged, at its end "runtime_ms", "skipped_blocks", for each block b its configuration
        (-1: skipped) as "block_b_configuration", and for each gate its norm and threshold.
    """

    configurations: np.ndarray
    margins: Gates
    runtime_ms: float
    history: list[Metrics]


def search(
    space: SearchSpace,
    model: RuntimeModel,
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
) -> tuple[SinglePathSupernet, SinglePathResult]:
    """Trains the supernet (SP section 3.4); its decisions are then the network that was found.

    Weights, thresholds and batch-norm statistics are those of the moving average, if there is one,
    all together, so that what is decoded is what the returned supernet computes.

    Args:
      space: the search space.
      model: runtime of its gates.
      examples: the fitted images are trained on.
      settings: how.
      runtime: where.

    Raises:
      ValueError: an unknown formulation, or a batch that the devices cannot share.
    """
    runtime.check_batch_size("config.single_path.batch_size", settings.batch_size)
    steps = examples.steps(settings.epochs, settings.batch_size)
    formulation = Formulation(settings.relaxation, settings.norm, settings.temperature)
    with runtime.strategy.scope():
        keras.utils.set_random_seed(examples.seed)
        supernet = SinglePathSupernet(space, examples.source.classes, formulation)
        optimizer = _optimizer(supernet, examples, settings)
        average = None
        if settings.weight_average:
            average = WeightAverage(supernet.variables, settings.weight_average)
    phase = Phase(
        name="search",
        step=training_step(
            supernet,
            optimizer,
            model,
            settings,
            round(settings.warmup_share * steps),
            stage_seed(examples.seed, "search"),
            average,
        ),
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
        host_update=lambda step, _: decision_row(supernet, model),
        # The loss changes its meaning when runtime joins it.
        best_metric="cross_entropy",
        batch_size_setting="config.single_path.batch_size",
    )
    history = runtime.run(phase)
    if average:
        average.swap()
    gates = supernet.numpy_gates(supernet.decide().gates)
    result = SinglePathResult(
        supernet.configurations(), supernet.margins(), model.expected_ms(gates), history
    )
    return supernet, result


def _optimizer(
    supernet: SinglePathSupernet, examples: Examples, settings: SinglePathConfig
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


def subset_mask(
    space: SearchSpace, keep: float, dropping: tf.Tensor, seed: tf.Tensor
) -> BlockGates:
    """Which groups of weights a step keeps: while `dropping` each with a probability, else all.

    One draw for the whole batch on all replicas. A group that is kept is not scaled (the authors'
    code multiplies it by 1 / keep): no network of the space is.

    Args:
      space: the search space.
      keep: the probability.
      dropping: bool scalar.
      seed: [2].

    Returns:
      [B, K - 1], [B, E] and [B, S - 1] of 0 and 1.
    """

    def draw(number: int, shape: tuple[int, int]) -> tf.Tensor:
        noise = tf.random.stateless_uniform(shape, fold_in(seed, number))
        return tf.cast((noise < keep) | ~dropping, tf.float32)

    shapes = gate_shapes(space)
    return BlockGates(*(draw(i, shapes[field]) for i, field in enumerate(BlockGates._fields)))


def training_step(
    supernet: SinglePathSupernet,
    optimizer: L2RMSprop,
    model: RuntimeModel,
    settings: SinglePathConfig,
    warmup_steps: int,
    seed: tf.Tensor,
    average: WeightAverage | None = None,
):
    """The step of the phase: CE + lambda * log(R), with L2 in the optimizer.

    Args:
      supernet, optimizer, average: what it changes.
      model: runtime of the gates.
      settings: label smoothing, subset dropout and lambda.
      warmup_steps: first steps, with subset dropout and without runtime.
      seed: [2].
    """
    runtime_ms = runtime_function(model)

    def step(inputs, step_index):
        images, labels = inputs
        warming_up = step_index < warmup_steps
        step_seed = fold_in(seed, step_index)
        keep = subset_mask(supernet.space, settings.subset_keep, warming_up, step_seed)
        targets = smooth_labels(labels, supernet.classes, settings.label_smoothing)
        weight = tf.where(warming_up, 0.0, settings.runtime_weight)
        replicas = replica_count()
        with tf.GradientTape() as tape:
            gates = supernet.decide(keep, training=True).gates
            logits = supernet(images, gates, training=True)
            task_loss = tf.reduce_mean(cross_entropy(targets, logits))
            sampled_ms = runtime_ms(*stacked(gates))
            loss = task_loss + weight * tf.math.log(sampled_ms)
            scaled = loss / replicas  # the optimizer adds the replicas' gradients
        gradients = tape.gradient(scaled, supernet.trainable_variables)
        metrics = {
            "loss": loss,
            "cross_entropy": task_loss,
            "accuracy": tf.reduce_mean(correct(labels, logits)),
            "sampled_ms": sampled_ms,
            "runtime_weight": weight,
            "gradient_norm": tf.linalg.global_norm(gradients) * replicas,
            "learning_rate": optimizer.learning_rate,
        }
        optimizer.apply(gradients, supernet.trainable_variables)
        if average:
            average.update()
        return metrics

    return step


def decision_row(supernet: SinglePathSupernet, model: RuntimeModel) -> Metrics:
    """What the weights decide now, as numbers for the history; see `SinglePathResult`."""
    decision = supernet.decide()
    configurations = supernet.configurations()
    row = {
        "runtime_ms": model.expected_ms(supernet.numpy_gates(decision.gates)),
        "skipped_blocks": float(np.sum(configurations == SKIP)),
    }
    for b, configuration in enumerate(configurations):
        row[f"block_{b}_configuration"] = float(configuration)
        pairs = (("norm", decision.norms[b]), ("threshold", decision.thresholds[b]))
        for what, values in pairs:
            for field, numbers in zip(values._fields, values, strict=True):
                for g, number in enumerate(numbers.numpy()):
                    row[f"block_{b}_{field}_{g}_{what}"] = float(number)
    return row
