"""Single-Path NAS (arXiv 1904.02877): weights and decisions of one path, trained together."""

from __future__ import annotations

import functools

import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in
from keras_nas.layers.superkernel import BlockGates, Formulation
from keras_nas.methods import supernet_training
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.single_path_runtime import runtime_function
from keras_nas.methods.supernet_training import (
    Observe,
    SinglePathResult,
    Step,
    network_row,
    runtime_penalty,
    train_supernet,
)
from keras_nas.models.single_path_supernet import SinglePathSupernet, stacked
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import gate_shapes
from keras_nas.training.rmsprop import L2RMSprop
from keras_nas.training.weight_average import WeightAverage
from tpu.phase import Metrics


def search(
    space: SearchSpace,
    model: RuntimeModel,
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
    observe: Observe | None = None,
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
      observe: more for the history, at the end of each compiled loop.

    Raises:
      ValueError: an unknown formulation, or a batch that the devices cannot share.
    """
    formulation = Formulation(settings.relaxation, settings.norm, settings.temperature)
    supernet, history = train_supernet(
        lambda: SinglePathSupernet(space, examples.source.classes, formulation),
        functools.partial(training_step, model=model, settings=settings),
        examples,
        settings,
        runtime,
        lambda supernet: decision_row(supernet, model),
        observe,
    )
    gates = supernet.numpy_gates(supernet.decide().gates)
    result = SinglePathResult(
        supernet.configurations(), supernet.margins(), model.expected_ms(gates), history
    )
    return supernet, result


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
    warmup_steps: int,
    seed: tf.Tensor,
    average: WeightAverage | None = None,
    *,
    model: RuntimeModel,
    settings: SinglePathConfig,
) -> Step:
    """The step of the phase: CE + lambda * log(R), with L2 in the optimizer.

    Args:
      supernet, optimizer, average: what it changes.
      warmup_steps: first steps, with subset dropout and without runtime.
      seed: [2].
      model: runtime of the gates.
      settings: label smoothing, subset dropout and lambda.
    """
    runtime_ms = runtime_function(model)

    def forward(images, step_seed, warming_up):
        keep = subset_mask(supernet.space, settings.subset_keep, warming_up, step_seed)
        gates = supernet.decide(keep, training=True).gates
        logits = supernet(images, gates, training=True)
        return logits, runtime_penalty(runtime_ms(*stacked(gates)), settings, warming_up)

    return supernet_training.training_step(
        forward, supernet, optimizer, settings, warmup_steps, seed, average
    )


def decision_row(supernet: SinglePathSupernet, model: RuntimeModel) -> Metrics:
    """What the weights decide now, as numbers for the history; see `SinglePathResult`."""
    decision = supernet.decide()
    runtime_ms = model.expected_ms(supernet.numpy_gates(decision.gates))
    row = network_row(supernet.configurations(), runtime_ms)
    for b in range(len(supernet.superkernels)):
        pairs = (("norm", decision.norms[b]), ("threshold", decision.thresholds[b]))
        for what, values in pairs:
            for field, numbers in zip(values._fields, values, strict=True):
                for g, number in enumerate(numbers.numpy()):
                    row[f"block_{b}_{field}_{g}_{what}"] = float(number)
    return row
