"""Stratified sampling of one block; what it does to whole paths is tested with the supernet."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import elastic_strata
from keras_nas.layers.elastic_mbconv import ElasticMBConv
from keras_nas.layers.elastic_strata import stratified_block

MIDDLES, KERNELS, UNITS = (16, 24, 40), (3, 5), ((0, 8), (0, 8), (0, 16))
SEED = (1, 2)


@pytest.fixture(autouse=True)
def bands(monkeypatch):
    """Bands of channels even for these small images."""
    monkeypatch.setattr(elastic_strata, "BANDED_PIXELS", 0)


def elastic(dtype="float64", *, stride=1, residual=True, se_channels=UNITS):
    layer = ElasticMBConv(
        middle_channels=MIDDLES,
        kernel_sizes=KERNELS,
        se_channels=se_channels,
        channels=8 if residual else 12,
        stride=stride,
        residual=residual,
        activation_name="swish",
        momentum=0.75,
        epsilon=1e-3,
        dtype=dtype,
    )
    layer.build((None, 5, 4, 8))
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.name in ("gamma", "moving_variance"):
            value = generator.uniform(0.5, 1.5, weight.shape)
        else:
            value = generator.normal(0.0, 0.4, weight.shape)
        weight.assign(value)
    return layer


def images(count, dtype="float64"):
    return np.random.default_rng(count).normal(size=(count, 5, 4, 8)).astype(dtype)


def every_output(layer, x):
    """Each image in each configuration, [C, N, H, W, C_out]."""
    count = len(MIDDLES) * len(KERNELS) * len(layer.se_channels[0])
    y = layer(np.tile(x, (count, 1, 1, 1)), np.repeat(np.eye(count), len(x), axis=0)).numpy()
    return y.reshape(count, len(x), *y.shape[1:])


def choices(layer, x, *seeds):
    """Expansion, kernel, squeeze-and-excitation [seeds, N, 3] of images, read off their outputs."""
    every, inputs = every_output(layer, x), tf.constant(x)

    @tf.function(autograph=False)
    def run(seed):
        return stratified_block(layer, inputs, seed, training=False)

    shape = (len(MIDDLES), len(KERNELS), len(layer.se_channels[0]))
    drawn = []
    for seed in seeds:
        distances = np.abs(every - run(tf.constant(seed)).numpy()).max((2, 3, 4))  # [C, N]
        assert distances.min(0).max() < 1e-9 and np.sort(distances, axis=0)[1].min() > 1e-4
        drawn.append(np.stack(np.unravel_index(distances.argmin(0), shape), axis=1))
    return np.array(drawn)


@pytest.mark.parametrize(("stride", "residual"), [(1, True), (2, False)])
def test_counts_are_exactly_equal(stride, residual):
    layer = elastic(stride=stride, residual=residual)
    for drawn in choices(layer, images(24), *((seed, 0) for seed in range(5))):
        cells, counts = np.unique(drawn[:, :2].T, axis=1, return_counts=True)
        assert cells.shape[1] == 6 and set(counts) == {4}


def test_counts_where_expansions_do_not_divide():
    drawn = choices(elastic(), images(8), *((seed, 0) for seed in range(5)))
    np.testing.assert_array_equal(drawn[:, :, 1].sum(1), [4] * 5)
    assert len({tuple(expansions) for expansions in drawn[:, :, 0]}) > 1


def test_small_blocks_have_no_bands(monkeypatch):
    """Kernels stay strata, expansions become fair coins."""
    monkeypatch.setattr(elastic_strata, "BANDED_PIXELS", 12 * 5 * 4 + 1)
    draws = 100
    drawn = choices(elastic(), images(12), *((seed, 3) for seed in range(draws)))
    np.testing.assert_array_equal(drawn[:, :, 1].sum(1), [6] * draws)
    expansions = drawn[:, :, 0]
    assert len({tuple(np.bincount(row, minlength=3)) for row in expansions}) > 1
    for expansion in range(3):
        share = (expansions == expansion).mean(0)  # [N]
        assert np.all(np.abs(share - 1 / 3) <= 5 * np.sqrt(2 / 9 / draws))


def test_squeeze_and_excitation_is_a_fair_coin_for_every_image():
    draws = 200
    on = choices(elastic(), images(6), *((seed, 5) for seed in range(draws)))[:, :, 2]
    assert np.all(np.abs(on.mean(0) - 0.5) <= 5 * 0.5 / np.sqrt(draws))
    correlation = np.corrcoef(on.T) - np.eye(6)
    assert np.abs(correlation).max() <= 5 / np.sqrt(draws)


def literal(layer, x, drawn, masked):
    """Training forward pass of given configurations, with masks instead of strata.

    A batch norm sees, in each channel, the images that use it (`masked`), or all of them; each
    kernel's sees the images of that kernel.
    """
    expansion, kernel, excitation = drawn.T
    used = np.arange(MIDDLES[-1]) < np.array(MIDDLES)[expansion][:, None]  # [N, M]
    counted = used if masked else np.ones_like(used)
    statistics = {}

    def normalize(norm, values, who):
        who = tf.constant(who[:, None, None, :] * np.ones(values.shape))  # [N, H, W, C]
        total = tf.reduce_sum(who, (0, 1, 2))
        mean = tf.reduce_sum(values * who, (0, 1, 2)) / total
        variance = tf.reduce_sum(who * (values - mean) ** 2, (0, 1, 2)) / total
        statistics[norm] = (mean.numpy(), variance.numpy())
        return (values - mean) * tf.math.rsqrt(variance + norm.epsilon) * norm.gamma + norm.beta

    expanded = tf.nn.conv2d(x, layer.expand_kernel, 1, "SAME")
    expanded = tf.nn.silu(normalize(layer.expand_batch_norm, expanded, counted))
    total = 0.0
    for k, norm in enumerate(layer.depthwise_batch_norms):
        mine = (kernel == k)[:, None]
        strides = (1, layer.stride, layer.stride, 1)
        z = tf.nn.depthwise_conv2d(expanded, layer.depthwise_kernels[k], strides, "SAME")
        z = tf.nn.silu(normalize(norm, z, counted & mine))
        units = np.array(layer.se_channels)[expansion, excitation]  # [N]
        gate = 1.0
        if layer.se_weights:
            se = layer.se_weights[k]
            hidden = tf.reduce_mean(z, (1, 2)) * used @ se["reduce_kernel"] + se["reduce_bias"]
            hidden = tf.nn.relu(hidden) * (np.arange(layer.bottleneck) < units[:, None])
            gate = hidden @ se["expand_kernel"] + se["expand_bias"]
            gate = tf.where(units[:, None] > 0, tf.clip_by_value(gate + 3.0, 0, 6) / 6.0, 1.0)
        gate = gate * tf.constant((used & mine).astype("f8"))
        total += z * gate[:, None, None, :]
    y = tf.nn.conv2d(total, layer.project_kernel, 1, "SAME")
    everyone = np.ones((len(x), layer.channels), bool)
    y = normalize(layer.project_batch_norm, y, everyone)
    return (x + y if layer.residual else y), statistics


@pytest.mark.parametrize(
    ("count", "stride", "se_channels"),
    [(12, 1, UNITS), (12, 2, ((0,),) * 3), (8, 1, UNITS), (6, 1, ((0, 8, 16),) * 3)],
)
def test_training_equals_masks(count, stride, se_channels):
    """Values, gradients of all weights, and running statistics."""
    layer = elastic(stride=stride, residual=stride == 1, se_channels=se_channels)
    x = tf.constant(images(count))
    (drawn,) = choices(layer, x.numpy(), SEED)
    weights = [weight.value for weight in layer.trainable_weights]
    running = {norm: norm.get_weights()[2:] for norm in norms(layer)}
    results = []
    for forward in (
        lambda: (stratified_block(layer, x, SEED, training=True), None),
        lambda: literal(layer, x, drawn, masked=count % 6 == 0),
    ):
        with tf.GradientTape() as tape:
            y, statistics = forward()
            loss = tf.reduce_sum(y * np.random.default_rng(4).normal(size=y.shape))
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        results.append((y, *gradients))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    assert len(statistics) == len(running) == 4
    for norm, old in running.items():
        for value, before, batch in zip(norm.get_weights()[2:], old, statistics[norm], strict=True):
            np.testing.assert_allclose(value, 0.75 * before + 0.25 * batch, rtol=1e-9, atol=1e-9)


def norms(layer):
    return [layer.expand_batch_norm, *layer.depthwise_batch_norms, layer.project_batch_norm]


def test_float32_uses_the_fused_batch_norm_with_the_same_result():
    exact, layer = elastic("float64"), elastic("float32")
    x = images(12)
    expected = stratified_block(exact, tf.constant(x), SEED, training=True)
    found = stratified_block(layer, tf.constant(x, tf.float32), SEED, training=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for one, other in zip(layer.weights, exact.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


def test_same_seed_same_result_and_static_shape():
    layer, x = elastic(stride=2, residual=False), tf.constant(images(12))
    compiled = tf.function(lambda s: stratified_block(layer, x, s, training=False), autograph=False)
    assert compiled.get_concrete_function(tf.constant(SEED)).output_shapes == (12, 3, 2, 12)
    first = compiled(tf.constant(SEED))
    np.testing.assert_array_equal(first, compiled(tf.constant(SEED)))
    np.testing.assert_allclose(first, stratified_block(layer, x, SEED, training=False))
    assert np.any(first != compiled(tf.constant([9, 9])))


def test_bad_batch_size():
    with pytest.raises(ValueError, match="deals 7 images in 1 groups evenly to 2 kernel"):
        stratified_block(elastic(), tf.constant(images(7)), SEED, training=False)
