"""What a step of one-shot training and of the search costs, beside the heaviest network's step.

    python -m benchmarks.one_shot_step

Each training step is forward, backward and a Nesterov update in float32; the search step is the
gradient with respect to all alpha and beta. For how they are timed see `paired_steps`.

The literal sum runs all configurations of every block one after the other on the shared weights,
as the search of the papers' code does.
"""

import functools
import itertools
from collections.abc import Callable

import tensorflow as tf
from absl import app

from benchmarks.paired_steps import MakeStep, Step, batch_size, classes, run_benchmark
from keras_nas.layers.batch_norm import normalize_batch
from keras_nas.methods.frank_wolfe_search import gradient_function
from keras_nas.methods.hardcore_nas import path_sampler, uniform_architecture
from keras_nas.models import Supernet, build_network
from keras_nas.space import SearchSpace
from keras_nas.training.optimizers import sgd

REFERENCE = "heaviest"


def heaviest_step(space: SearchSpace, *, fused_batch_norm: bool) -> Step:
    """Training step of the heaviest network."""
    network = build_network(
        space.heaviest(), space.input_shape, classes(), fused_batch_norm=fused_batch_norm
    )
    return training_step(network, lambda images, _: network(images, training=True))


def one_shot_step(space: SearchSpace, sampling: str) -> Step:
    """Training step of the one-shot network, every image on its own path."""
    supernet = Supernet(space, classes())
    return training_step(supernet, path_sampler(supernet, sampling))


def search_step(space: SearchSpace) -> Step:
    """Gradient with respect to all alpha and beta, as the search takes it."""
    supernet = Supernet(space, classes())
    gradients = gradient_function(supernet)
    alpha, beta = (tf.constant(value) for value in uniform_architecture(space))
    return lambda images, labels, seed: gradients(images, labels, alpha, beta, seed)[1]


def literal_step(space: SearchSpace) -> Step:
    """Training step with a literal sum over the configurations of every block."""
    supernet = Supernet(space, classes())
    shape = (batch_size(), len(space.stage_of_block), len(space.configurations))
    weights = tf.fill(shape, 1.0 / shape[-1])

    def forward(images, _):
        x = supernet.beginning(images, training=True)
        for s, stage in enumerate(space.stages):
            left = []
            for index in range(stage.max_depth):
                b = space.first_blocks[s] + index
                x = literal_block(supernet.elastic_blocks[b], x, weights[:, b])
                if index + 1 >= stage.min_depth:
                    left.append(x)
            x = tf.add_n(left) / len(left)  # [N, H, W, C]
        return supernet.end(x, training=True)

    return training_step(supernet, forward)


def literal_block(layer, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """All configurations of an elastic block, one by one, summed with `weights` [N, C]."""
    ranges = (layer.middle_channels, layer.kernel_sizes, layer.se_channels[0])
    outputs = []
    for c, (e, k, s) in enumerate(itertools.product(*(range(len(r)) for r in ranges))):
        middle, units = layer.middle_channels[e], layer.se_channels[e][s]
        z = tf.nn.conv2d(x, layer.expand_kernel.value[..., :middle], 1, "SAME")
        z = layer.act(normalized(layer.expand_batch_norm, z))
        z = layer.depthwise(z, layer.depthwise_kernels[k].value[:, :, :middle])
        z = layer.act(normalized(layer.depthwise_batch_norms[k], z))
        if units:
            se = {name: weight.value for name, weight in layer.se_weights[k].items()}
            hidden = tf.reduce_mean(z, (1, 2)) @ se["reduce_kernel"][:middle, :units]
            hidden = tf.nn.relu(hidden + se["reduce_bias"][:units])
            gate = hidden @ se["expand_kernel"][:units, :middle] + se["expand_bias"][:middle]
            z *= (tf.nn.relu6(gate + 3.0) / 6.0)[:, None, None, :]  # [N, H, W, M]
        y = tf.nn.conv2d(z, layer.project_kernel.value[:, :, :middle], 1, "SAME")
        outputs.append(normalized(layer.project_batch_norm, y) * weights[:, c, None, None, None])
    y = tf.add_n(outputs)
    return x + y if layer.residual else y


def normalized(batch_norm, x: tf.Tensor) -> tf.Tensor:
    """Batch norm in training, with the first channels of its weights."""
    gamma, beta = (w.value[: x.shape[-1]] for w in (batch_norm.gamma, batch_norm.beta))
    return normalize_batch(x, gamma, beta, batch_norm.epsilon)[0]


def training_step(model, forward: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Step:
    """Cross-entropy of `forward`'s logits, its gradient, and a Nesterov update of all weights."""
    variables = model.trainable_variables
    optimizer = sgd(0.01, variables, l2=1e-4)

    def step(images, labels, seed):
        with tf.GradientTape() as tape:
            logits = forward(images, seed)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return step


STEPS: dict[str, MakeStep] = {
    "heaviest, Keras batch norm": functools.partial(heaviest_step, fused_batch_norm=False),
    REFERENCE: functools.partial(heaviest_step, fused_batch_norm=True),
    "independent sampling": functools.partial(one_shot_step, sampling="independent"),
    "stratified sampling": functools.partial(one_shot_step, sampling="stratified"),
    "search": search_step,
    "literal sum": literal_step,
}


def main(argv: list[str]) -> None:
    del argv
    run_benchmark("benchmarks.one_shot_step", STEPS, REFERENCE, "hardcore_nas_table_3")


if __name__ == "__main__":
    app.run(main)
