"""What a step of Single-Path NAS costs, beside the step of the largest network in its space.

    python -m benchmarks.single_path_step --batch=72
    python -m benchmarks.single_path_step --batch=72 --space=single_path_se

Each step is forward, backward and an update by RMSProp in float32. "single path" is the search's
own step, after its warm-up: it decides every gate, and runtime is part of the loss. "multi-path"
has the same choices as separate operations with their own weights, all of them run and mixed with
trained probabilities, as earlier methods do. For how they are timed see `paired_steps`. With few
images the traced program itself, which is the longer one for a single path, is a good part of the
memory.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import app

from benchmarks.paired_steps import MakeStep, Step, classes, run_benchmark
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.layers.batch_norm import FusedBatchNormalization
from keras_nas.layers.mbconv import mbconv
from keras_nas.methods.single_path import training_step
from keras_nas.models import build_network
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import skippable
from keras_nas.training.rmsprop import rmsprop

REFERENCE = "largest network"


def largest_network_step(space: SearchSpace) -> Step:
    """Training step of the network with the largest of every choice."""
    network = build_network(space.heaviest(), space.input_shape, classes(), fused_batch_norm=True)
    return plain_step(network)


def single_path_step(space: SearchSpace) -> Step:
    """The search's step."""
    supernet = SinglePathSupernet(space, classes())
    times = np.ones((len(space.stage_of_block), len(space.configurations)))
    settings = SinglePathConfig()
    step = training_step(
        supernet,
        rmsprop(0.01, supernet.trainable_variables, l2=settings.weight_decay),
        RuntimeModel(space, 1.0, times),
        settings,
        warmup_steps=0,
        seed=tf.constant([0, 0]),
    )
    return lambda images, labels, seed: step((images, labels), tf.cast(seed[1], tf.int64))


def multi_path_step(space: SearchSpace) -> Step:
    """Training step of a network that runs all choices of every block."""
    ends = SinglePathSupernet(space, classes())  # for the parts that are not searched
    x = inputs = keras.Input(space.input_shape)
    x = ends.beginning(x)
    for b, may_skip in enumerate(skippable(space)):
        x = mixed_block(space, b, bool(may_skip), x)
    return plain_step(keras.Model(inputs, ends.end(x)))


@keras.saving.register_keras_serializable("benchmarks")
class Mixture(keras.layers.Layer):
    """The sum of its inputs, weighted by a softmax over as many trained numbers."""

    def build(self, input_shape):
        """Creates the numbers."""
        self.logits = self.add_weight(name="logits", shape=(len(input_shape),), initializer="zeros")

    def call(self, inputs):
        """Inputs of equal shape -> their weighted sum."""
        shares = tf.unstack(tf.nn.softmax(self.logits.value))
        return tf.add_n([share * x for share, x in zip(shares, inputs, strict=True)])


def mixed_block(space: SearchSpace, b: int, may_skip: bool, x):
    """All configurations of a block, and its input where it may be skipped, mixed."""
    stage = space.stage_of_block[b]
    index = b - space.first_blocks[stage]
    channels = x.shape[-1]

    def normalization(x, name):
        constants = space.batch_norm
        layer = FusedBatchNormalization(
            momentum=constants.momentum, epsilon=constants.epsilon, name=name
        )
        return layer(x)

    outputs = [x] if may_skip else []
    for c in range(len(space.configurations)):
        block = space.block(stage, index, c)
        outputs.append(
            mbconv(
                x,
                expand=True,
                middle_channels=block.middle_channels(channels),
                channels=block.channels,
                kernel_size=block.kernel_size,
                stride=block.stride,
                se_channels=block.se_channels(channels),
                residual=block.has_residual(channels),
                activation_name=block.activation,
                normalization=normalization,
                name=f"block{b}_choice{c}",
            )
        )
    return Mixture(name=f"block{b}_mixture")(outputs)


def plain_step(network: keras.Model) -> Step:
    """Cross-entropy, its gradient, and an update of all weights."""
    variables = network.trainable_variables
    optimizer = rmsprop(0.01, variables, l2=1e-5)

    def step(images, labels, seed):
        del seed
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [v.value for v in variables])
        norm = tf.linalg.global_norm(gradients)  # as all training of this project
        optimizer.apply(gradients, variables)
        return loss, norm

    return step


STEPS: dict[str, MakeStep] = {
    REFERENCE: largest_network_step,
    "single path": single_path_step,
    "multi-path": multi_path_step,
}


def main(argv: list[str]) -> None:
    del argv
    run_benchmark("benchmarks.single_path_step", STEPS, REFERENCE, "single_path")


if __name__ == "__main__":
    app.run(main)
