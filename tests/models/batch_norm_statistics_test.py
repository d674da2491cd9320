import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.sampling import gumbel_one_hot
from keras_nas.models import Supernet, build_network, reestimate_batch_norm


def batch_norms(model):
    return [m for m in model._flatten_layers() if isinstance(m, keras.layers.BatchNormalization)]


def images(seed, count=8, resolution=24):
    return np.random.default_rng(seed).normal(size=(count, resolution, resolution, 3)).astype("f4")


def statistics(model):
    return [[m.moving_mean.numpy(), m.moving_variance.numpy()] for m in batch_norms(model)]


def literal(model, forward, batches):
    """Momentum 0 leaves a batch's statistics behind; averaged in float64."""
    momenta = [m.momentum for m in batch_norms(model)]
    for m in batch_norms(model):
        m.momentum = 0.0
    collected, compiled = [], tf.function(forward, autograph=False)
    for batch in batches:
        compiled(batch)
        collected.append(statistics(model))
    for m, momentum in zip(batch_norms(model), momenta, strict=True):
        m.momentum = momentum
    return [np.mean([c[i] for c in collected], axis=0) for i in range(len(collected[0]))]


@pytest.mark.parametrize("fused", [False, True])
def test_plain_network_takes_the_average_of_batch_statistics(space, randomized, fused):
    network = build_network(space.random(1), space.input_shape, 3, fused_batch_norm=fused)
    randomized(network)
    others = [w for w in network.weights if not w.name.startswith("moving")]
    before = [w.numpy() for w in others]
    batches = [images(seed) for seed in range(3)]
    traces = []

    def forward(batch):
        traces.append(batch)
        return network(batch, training=True)

    reestimate_batch_norm(network, forward, batches)
    found = statistics(network)
    assert len(traces) == 1
    for weight, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    expected = literal(network, lambda batch: network(batch, training=True), batches)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-4, atol=1e-6)


def test_first_batch_norm_equals_numpy(space, randomized):
    network = randomized(build_network(space.lightest(), space.input_shape, 3))
    batches = [images(seed, count=4) for seed in range(3)]
    reestimate_batch_norm(network, lambda b: network(b, training=True), batches)
    kernel = network.get_layer("stem_convolution").get_weights()[0]
    found = network.get_layer("stem_batch_norm")
    outputs = [tf.nn.conv2d(batch, kernel, 2, "SAME").numpy().astype("f8") for batch in batches]
    mean = np.mean([y.mean((0, 1, 2)) for y in outputs], axis=0)
    variance = np.mean([y.var((0, 1, 2)) for y in outputs], axis=0)
    np.testing.assert_allclose(found.moving_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.moving_variance.numpy(), variance, rtol=1e-5)


def test_a_function_compiled_and_run_before_works(space, randomized):
    network = randomized(build_network(space.lightest(), space.input_shape, 3))
    forward = tf.function(lambda batch: network(batch, training=True), autograph=False)
    batch = tf.constant(images(0))
    forward(batch)
    reestimate_batch_norm(network, forward, [batch])
    found = statistics(network)
    for one, other in zip(found, literal(network, network_training(network), [batch]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def network_training(network):
    return lambda batch: network(batch, training=True)


@pytest.mark.parametrize("stratified", [False, True])
def test_supernet_with_sampled_paths(space, randomized, stratified):
    space = dataclasses.replace(space, stages=space.stages[:1], se_ratios=(0.25,))
    supernet = randomized(Supernet(space, 3))
    shape = (len(space.stage_of_block), len(space.configurations))
    exists = np.array(space.depths) > 0
    uniform_beta = tf.constant(exists / exists.sum(1, keepdims=True))

    def forward(batch):
        inputs, seed = batch
        if stratified:
            return supernet(inputs, seed=seed, training=True)
        alpha = gumbel_one_hot(tf.ones(shape) / shape[1], 12, seed)
        beta = gumbel_one_hot(uniform_beta, 12, seed)
        return supernet(inputs, alpha, beta, training=True)

    batches = [(images(seed, 12), tf.constant([seed, 7])) for seed in range(2)]
    reestimate_batch_norm(supernet, forward, batches)
    found = statistics(supernet)
    assert len(found) > 4 * shape[0]
    for one, other in zip(found, literal(supernet, forward, batches), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_keeps_what_does_not_run_and_random_state():
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.BatchNormalization(name="runs")(inputs)
    x = keras.layers.Dropout(0.5, seed=3)(x)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="frozen")(x))
    model.get_layer("frozen").trainable = False
    model.get_layer("frozen").moving_variance.assign([3.0, 4.0])
    state = [v.numpy() for v in model.variables]
    batch = np.zeros((2, 4, 4, 2), "f4")  # mean and variance exactly 0
    batch[..., 1] = 5.0
    reestimate_batch_norm(model, lambda b: model(b, training=True), [batch])
    runs = model.get_layer("runs")
    np.testing.assert_allclose(runs.moving_mean.numpy(), [0.0, 5.0], rtol=1e-6)
    np.testing.assert_array_equal(runs.moving_variance.numpy(), [0.0, 0.0])
    changed = {id(runs.moving_mean), id(runs.moving_variance)}
    for variable, value in zip(model.variables, state, strict=True):
        if id(variable) not in changed:
            np.testing.assert_array_equal(variable.numpy(), value)


def test_no_batches_is_an_error_and_a_failure_changes_nothing(space):
    network = build_network(space.lightest(), space.input_shape, 3)
    before = network.get_weights()
    with pytest.raises(ValueError, match="at least one batch, received none"):
        reestimate_batch_norm(network, network, [])

    def broken():
        yield images(0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        reestimate_batch_norm(network, lambda b: network(b, training=True), broken())
    for value, now in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)
