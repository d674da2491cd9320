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

from types import ModuleType

import keras
import numpy as np
import tensorflow as tf
from absl import app

from benchmarks.paired_steps import MakeStep, Step, classes, run_benchmark
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.methods import multi_path, single_path
from keras_nas.models import build_network
from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import SearchSpace
from keras_nas.training.rmsprop import rmsprop

REFERENCE = "largest network"


def largest_network_step(space: SearchSpace) -> Step:
    """Training step of the network with the largest of every choice."""
    network = build_network(space.heaviest(), space.input_shape, classes(), fused_batch_norm=True)
    return plain_step(network)


def single_path_step(space: SearchSpace) -> Step:
    """The search's step."""
    return search_step(single_path, SinglePathSupernet(space, classes()))


def search_step(method: ModuleType, supernet: keras.Model) -> Step:
    """Of a method, after its warm-up."""
    space, settings = supernet.space, SinglePathConfig()
    times = np.ones((len(space.stage_of_block), len(space.configurations)))
    step = method.training_step(
        supernet,
        rmsprop(0.01, supernet.trainable_variables, l2=settings.weight_decay),
        0,
        tf.constant([0, 0]),
        model=RuntimeModel(space, 1.0, times),
        settings=settings,
    )
    return lambda images, labels, seed: step((images, labels), tf.cast(seed[1], tf.int64))


def multi_path_step(space: SearchSpace) -> Step:
    """The step of a search with separate operations, mixed by a softmax."""
    return search_step(multi_path, MultiPathSupernet(space, classes()))


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
