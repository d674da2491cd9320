"""The weight step of TF-NAS: one or two sampled paths, and SGD that moves nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.tf_nas_sampling import sample_operations
from keras_nas.layers.tf_nas_updates import Update
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from tpu.replicas import in_turn, mean_over_replicas


class PathSGD:
    """SGD with momentum and L2 decay of what a step used; all else keeps value and momentum.

    g = gradient + decay * w;  v = momentum * v + g;  w -= learning_rate * v, as in PyTorch, after
    the gradient's norm was clipped.

    Args:
      variables: everything that is trained.
      momentum, weight_decay: see above.
      clip: largest norm of the gradient.

    Attributes:
      variables: the velocities v, for the checkpoint.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        *,
        momentum: float,
        weight_decay: float,
        clip: float,
    ):
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._clip = clip
        self.variables = [
            keras.Variable(
                np.zeros(v.shape, v.dtype),
                dtype=v.dtype,
                trainable=False,
                name=f"{v.name}_velocity",
                aggregation="only_first_replica",
            )
            for v in variables
        ]
        self._velocity = {id(v): own for v, own in zip(variables, self.variables, strict=True)}

    def apply(self, updates: Sequence[Update], learning_rate: tf.Tensor) -> tf.Tensor:
        """One step from the replicas' own gradients, of which the mean counts.

        Returns:
          The norm of the gradient before it was clipped.
        """
        gradients = mean_over_replicas([update.gradient for update in updates])
        norm = tf.linalg.global_norm(gradients)
        shrink = tf.minimum(1.0, self._clip / tf.maximum(norm, 1e-12))

        def move_all(strategy, gradients, rows, used, shrink, learning_rate):
            for update, *arguments in zip(updates, gradients, rows, used, strict=True):
                velocity = self._velocity[id(update.variable)]
                strategy.extended.update(
                    update.variable.value,
                    _move,
                    args=(
                        velocity.value, *arguments, shrink, learning_rate,
                        self._momentum, self._weight_decay,
                    ),
                    group=False,
                )  # fmt: skip

        rows, used = [update.row for update in updates], [update.used for update in updates]
        tf.distribute.get_replica_context().merge_call(
            move_all, args=(gradients, rows, used, shrink, learning_rate)
        )
        return norm


def _move(
    variable, velocity, gradient, row, used, shrink, learning_rate, momentum, weight_decay
) -> None:
    """Moves a variable on one device, or one of its rows.

    Not a compiled function: on several devices `velocity` is a distributed variable, and a compiled
    function would take the one it was traced with for all others of its shape.
    """
    value, v = variable, velocity
    if row is not None:
        value, v = tf.gather(variable, row), tf.gather(velocity, row)
    keep = 1.0 - (1.0 - momentum) * used
    v = keep * v + (shrink * gradient + (weight_decay * used) * value)
    step = (learning_rate * used) * v
    if row is None:
        velocity.assign(v)
        variable.assign_sub(step)
    else:
        # On handles, since a TPU's distributed variables have no scatter methods.
        rows = tf.expand_dims(row, 0)  # [1]
        tf.raw_ops.ResourceScatterUpdate(
            resource=velocity.handle, indices=rows, updates=tf.expand_dims(v, 0)
        )
        tf.raw_ops.ResourceScatterSub(
            resource=variable.handle, indices=rows, updates=tf.expand_dims(step, 0)
        )


def weight_step(
    supernet: TFNASSupernet,
    optimizer: PathSGD,
    logits: tf.Tensor,
    depths: tf.Tensor,
    inputs: tuple[tf.Tensor, tf.Tensor],
    *,
    second: str,
    learning_rate: tf.Tensor,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Bi-sampling (TF section 3.2): the gradient of the sum of the paths' losses.

    Each path has its own backward pass, so that a TPU's program has one of them, in a loop.

    Args:
      supernet: whose weights move.
      optimizer: of its weights.
      logits: [B, A] alpha, which does not move.
      depths: probabilities of depths.
      inputs: images [N, H, W, 3] and labels [N].
      second: second sampler, see `sample_operations`.
      learning_rate: scalar.
      seed: [2].

    Returns:
      "loss" (the mean over paths), "accuracy" (of the first one) and "gradient_norm".
    """
    images, labels = inputs
    sampled = sample_operations(logits, tf.constant(supernet.allowed), second, seed)
    paths = tf.unstack(sampled)
    weights = tf.nest.map_structure(
        lambda *own: tf.stack(own), *(supernet.sampled_weights(path) for path in paths)
    )
    targets = smooth_labels(labels, supernet.classes)
    fixed = supernet.fixed_variables()

    def differentiate(row):
        path, own = row
        with tf.GradientTape() as tape:
            tape.watch(own)
            output = supernet.call_path(images, path, own, depths)
            loss = tf.reduce_mean(cross_entropy(targets, output))
        gradients = tape.gradient(loss, (own, [v.value for v in fixed]))
        return loss, tf.reduce_mean(correct(labels, output)), gradients

    number = tf.TensorSpec((), tf.float32)
    own_specs = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape[1:], w.dtype), weights)
    fixed_specs = [tf.TensorSpec(v.shape, v.dtype) for v in fixed]
    losses, accuracies, (gradients, fixed_gradients) = in_turn(
        differentiate, (sampled, weights), (number, number, (own_specs, fixed_specs))
    )
    flat = [tf.unstack(gradient) for gradient in tf.nest.flatten(gradients)]
    updates = supernet.updates(
        paths, [tf.nest.pack_sequence_as(weights, own) for own in zip(*flat, strict=True)]
    )
    updates += [
        Update(variable, None, tf.reduce_sum(gradient, 0), tf.ones(()))
        for variable, gradient in zip(fixed, fixed_gradients, strict=True)
    ]
    norm = optimizer.apply(updates, learning_rate)
    return {"loss": tf.reduce_mean(losses), "accuracy": accuracies[0], "gradient_norm": norm}
