"""What the steps of a TF-NAS search cost, beside the heaviest network and a literal mixture.

    python -m benchmarks.tf_nas_step

Everything runs on the paper's space at its largest widths, in float32. Two ratios matter:

- a weight step (two sampled paths, forward, backward, update of what was sampled) to two forward
  and backward passes of the heaviest single network, without update;
- an architecture step (gradient of alpha and beta through all operations), with weights that share
  nothing and with shared ones, to the literal sum: every operation by itself, batch norm fused,
  gradients by automatic differentiation. Of the literal sum no gradients of weights are asked for
  either.

For how they are timed see `paired_steps`.
"""

import functools

import tensorflow as tf
from absl import app, flags

from benchmarks.paired_steps import MakeStep, Step, classes, run_benchmark
from keras_nas.layers.batch_norm import normalize_batch
from keras_nas.layers.tf_nas_candidates import operation_weights
from keras_nas.layers.tf_nas_operation import pointwise
from keras_nas.methods.tf_nas_architecture import (
    ArchitectureState,
    LatencyObjective,
    architecture_gradients,
)
from keras_nas.methods.tf_nas_weights import PathSGD, weight_step
from keras_nas.models import build_network
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.space import TFNASSpace

flags.FLAGS.set_default("batch", 32)
flags.FLAGS.set_default("classes", 100)

TWO_PASSES, LITERAL = "heaviest network, two passes", "architecture, literal sum"


def two_passes(space: TFNASSpace) -> Step:
    """Gradient of all weights of the heaviest network, twice."""
    network = build_network(space.heaviest(), space.input_shape, classes(), fused_batch_norm=True)
    variables = [variable.value for variable in network.trainable_variables]

    def step(images, labels, seed):
        del seed
        found = []
        for half in (images, images[::-1]):  # else the two would be one to the compiler
            with tf.GradientTape() as tape:
                logits = network(half, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses)
            found.append(tape.gradient(loss, variables))
        return [tf.reduce_sum(gradient) for gradient in tf.nest.flatten(found)]

    return step


def sampled_step(space: TFNASSpace, *, share_weights: bool) -> Step:
    """A weight step of the search, bi-sampling and update included."""
    supernet = widest_supernet(space, share_weights=share_weights)
    optimizer = PathSGD(supernet.trainable_variables, momentum=0.9, weight_decay=1e-5, clip=5.0)
    alpha = tf.zeros(supernet.allowed.shape)
    depths = supernet.depth.probabilities(tf.zeros(supernet.depth.shape))

    def step(images, labels, seed):
        rate = tf.constant(0.025)
        return weight_step(
            supernet, optimizer, alpha, depths, (images, labels),
            second="random", learning_rate=rate, seed=seed,
        )["loss"]  # fmt: skip

    return step


def mixture_step(space: TFNASSpace, *, share_weights: bool = False, literal: bool = False) -> Step:
    """The gradients of alpha and beta."""
    supernet = widest_supernet(space, share_weights=share_weights)
    if literal:
        for mixed in supernet.mixed:
            mixed.call_mixture = functools.partial(literal_mixture, mixed)
    state = ArchitectureState(supernet, learning_rate=0.01, weight_decay=5e-4, clip=5.0)
    objective = LatencyObjective("absolute", 15.0, 0.1, 0.6)

    def step(images, labels, seed):
        return architecture_gradients(
            supernet, state, (images, labels),
            objective=objective, temperature=tf.constant(5.0), seed=seed,
        )[1]  # fmt: skip

    return step


def widest_supernet(space: TFNASSpace, *, share_weights: bool) -> TFNASSupernet:
    """The supernet at its largest widths."""
    supernet = TFNASSupernet(space, classes(), share_weights=share_weights)
    supernet.set_widths(space.largest_widths())
    return supernet


def literal_mixture(mixed, x: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """All operations of a block, one by one, summed with `mix`."""
    form, stacks = mixed.form.operation, mixed.stacks()

    def normalized(y):
        ones, zeros = tf.ones(y.shape[-1:]), tf.zeros(y.shape[-1:])
        return normalize_batch(y, ones, zeros, form.epsilon)[0]

    outputs = []
    for o in range(len(mixed.form.kernel_sizes)):
        weights = operation_weights(stacks, mixed.form, o)
        y = form.act(normalized(pointwise(x, weights.expand)))
        y = form.act(normalized(form.depthwise(y, weights.depthwise)))
        if weights.gate:
            y *= form.gate(tf.reduce_mean(y, (1, 2)), weights.gate)[:, None, None, :]
        outputs.append(mix[o] * normalized(pointwise(y, weights.project)))
    return tf.add_n(outputs)


STEPS: dict[str, MakeStep] = {
    TWO_PASSES: two_passes,
    "weight step": functools.partial(sampled_step, share_weights=False),
    "weight step, shared weights": functools.partial(sampled_step, share_weights=True),
    LITERAL: functools.partial(mixture_step, literal=True),
    "architecture step": mixture_step,
    "architecture, shared weights": functools.partial(mixture_step, share_weights=True),
}
REFERENCES = {name: LITERAL if name.startswith("architecture") else TWO_PASSES for name in STEPS}
"""What each is compared with."""


def main(argv: list[str]) -> None:
    del argv
    run_benchmark("benchmarks.tf_nas_step", STEPS, REFERENCES, "tf_nas")


if __name__ == "__main__":
    app.run(main)
