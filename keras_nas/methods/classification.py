"""Training a classifier by a recipe, the phase of all stages with weights, and its accuracy."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_nas.config import RecipeConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.training.losses import cross_entropy, distillation, smooth_labels
from keras_nas.training.metrics import correct
from keras_nas.training.mixup import mixup
from keras_nas.training.optimizers import sgd
from keras_nas.training.schedules import cosine
from keras_nas.training.weight_average import WeightAverage
from tpu.evaluation import EXAMPLES, EvaluationStep, evaluate
from tpu.phase import Metrics, Phase

Forward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Images [N, H, W, 3] and a [2] seed -> logits [N, classes], in training mode."""


def train_classifier(
    name: str,
    model: keras.Model,
    examples: Examples,
    recipe: RecipeConfig,
    runtime: Runtime,
    *,
    forward: Forward | None = None,
    teacher: keras.Model | None = None,
) -> list[Metrics]:
    """Trains `model` by a recipe; afterwards it holds the averaged weights if the recipe has any.

    Args:
      name: of the stage; also seeds its randomness and names its checkpoints.
      model: images -> logits, created under the runtime's strategy.
      examples: the fitted images are trained on.
      recipe: how.
      runtime: where.
      forward: how training runs the model; by default `model(images, training=True)`.
      teacher: whose output is distilled, with the recipe's weight.

    Returns:
      History: a row a compiled loop, with "step", "seconds", "loss", "accuracy", "gradient_norm"
      and "learning_rate".

    Raises:
      ValueError: the recipe distils and there is no teacher.
    """
    if recipe.distillation and teacher is None:
        raise ValueError(
            f"the recipe of {name!r} has distillation {recipe.distillation}, which needs a "
            "teacher; give the heaviest network, or set it to 0."
        )
    runtime.check_batch_size(f"config.{name}.batch_size", recipe.batch_size, mixup=recipe.mixup)
    steps = examples.steps(recipe.epochs, recipe.batch_size)
    warmup = min(examples.steps(recipe.warmup_epochs, recipe.batch_size), steps - 1)
    schedule = cosine(recipe.learning_rate, steps, warmup if recipe.warmup_epochs else 0)
    with runtime.strategy.scope():
        optimizer = sgd(
            schedule, model.trainable_variables, momentum=recipe.momentum, l2=recipe.weight_decay
        )
        average = None
        if recipe.weight_average:
            average = WeightAverage(model.variables, recipe.weight_average)
    step = _training_step(
        model,
        optimizer,
        recipe,
        examples.source.classes,
        stage_seed(examples.seed, name),
        forward or (lambda images, _: model(images, training=True)),
        teacher if recipe.distillation else None,
        average,
    )
    phase = Phase(
        name=name,
        step=step,
        variables=[*model.variables, *optimizer.variables, *(average.variables if average else [])],
        steps=steps,
        dataset=lambda start: examples.training(
            recipe.batch_size, start, int(stage_seed(0, name)[1])
        ),
        steps_per_loop=runtime.steps_per_loop,
        batch_size_setting=f"config.{name}.batch_size",
    )
    history = runtime.run(phase)
    if average:
        average.swap()
    return history


def _training_step(model, optimizer, recipe, classes, seed, forward, teacher, average):
    def step(inputs, step_index):
        images, labels = inputs
        # One seed a step and use, whatever came before: a resumed run repeats it.
        step_seed = fold_in(seed, step_index)
        targets = smooth_labels(labels, classes, recipe.label_smoothing)
        images, targets = mixup(images, targets, alpha=recipe.mixup, seed=fold_in(step_seed, 0))
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        with tf.GradientTape() as tape:
            logits = forward(images, fold_in(step_seed, 1))
            losses = cross_entropy(targets, logits)  # [N]
            if teacher is not None:
                teacher_logits = teacher(images, training=False)
                losses += recipe.distillation * distillation(
                    teacher_logits, logits, recipe.temperature
                )
            loss = tf.reduce_mean(losses)
            scaled = loss / replicas  # the optimizer adds the replicas' gradients
        gradients = tape.gradient(scaled, model.trainable_variables)
        metrics = {
            "loss": loss,
            "accuracy": tf.reduce_mean(correct(labels, logits)),
            # Of this replica's images: that it is a finite number is what matters.
            "gradient_norm": tf.linalg.global_norm(gradients) * replicas,
            "learning_rate": optimizer.learning_rate,
        }
        optimizer.apply(gradients, model.trainable_variables)
        if average:
            average.update()
        return metrics

    return step


def evaluation_step(model: Callable) -> EvaluationStep:
    """The step that tells of every image whether `model` classifies it right, as "correct" [N]."""

    def step(inputs):
        images, labels = inputs
        return {"correct": correct(labels, model(images, training=False))}

    return step


def accuracy(
    model: Callable, examples: Examples, runtime: Runtime, batch_size: int, *, held_out=False
) -> float:
    """Share of test images (or held-out ones) that `model` classifies right, in inference mode."""
    dataset = examples.evaluation(batch_size, held_out=held_out)
    own = batch_size // examples.host[1]
    step = evaluation_step(model)
    sums = evaluate(step, dataset, runtime.strategy, own, "config.evaluation_batch_size")
    return sums["correct"] / sums[EXAMPLES]
