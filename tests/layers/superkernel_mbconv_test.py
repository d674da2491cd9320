"""Superkernel blocks: every decision against a plain MBConv, gradients, dropped blocks."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.mbconv import mbconv
from keras_nas.layers.superkernel import Formulation
from keras_nas.layers.superkernel_mbconv import SuperMBConv
from keras_nas.layers.superkernel_squeeze_excite import SuperSqueezeExcite

MIDDLE, SIZES = (4, 6, 8), (3, 5, 7)
SE = ((0, 1, 2), (0, 2, 3), (0, 2, 4))


def super_block(stride=1, formulation=None, se=SE, sizes=SIZES, dtype=None):
    layer = SuperMBConv(
        middle_channels=MIDDLE,
        kernel_sizes=sizes,
        se_channels=se,
        channels=2,
        stride=stride,
        residual=stride == 1,
        skippable=stride == 1,
        activation_name="relu",
        momentum=0.9,
        epsilon=1e-3,
        formulation=formulation,
        dtype=dtype,
    )
    layer.build((None, 6, 6, 2))
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        spread = generator.normal(0.1, 0.4, weight.shape)
        weight.assign(np.abs(spread) + 0.5 if weight.name == "moving_variance" else spread)
    return layer


def plain_block(layer, expansion, kernel, ratio):
    """The same choice as a stand-alone MBConv with the layer's weights."""

    def normalization(x, name):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)

    x = keras.Input((6, 6, 2))
    y = mbconv(
        x,
        expand=True,
        middle_channels=MIDDLE[expansion],
        channels=2,
        kernel_size=layer.kernel_sizes[kernel],
        stride=layer.stride,
        se_channels=SE[expansion][ratio],
        residual=layer.residual,
        activation_name="relu",
        normalization=normalization,
        name="b",
    )
    model = keras.Model(x, y)
    for part, weights in layer.extract(expansion, kernel, ratio).items():
        model.get_layer(f"b_{part}").set_weights(weights)
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2])
def test_every_decision_is_a_plain_block(stride, images):
    layer = super_block(stride)
    choices = list(itertools.product(range(3), range(3), range(3)))
    # Every pair of choices at least once.
    choices = [c for c in choices if (sum(c) + stride) % 3 == 0]
    for choice in choices:
        found = layer(images, layer.gates_of(*choice))
        expected = plain_block(layer, *choice)(images)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_skipped_block_is_an_identity(images):
    layer = super_block()
    for training in (False, True):
        found = layer(images, layer.gates_of(-1, 2, 2), training=training)
        np.testing.assert_array_equal(found, images)


def test_gates_after_a_shut_one_do_not_matter(images):
    layer = super_block()
    gates = layer.gates_of(0, 0, 0)
    ignored = gates._replace(
        kernel=tf.constant([0.0, 1.0]),
        expansion=tf.constant([1.0, 0.0, 1.0]),
        squeeze_excite=tf.constant([0.0, 1.0]),
    )
    np.testing.assert_array_equal(layer(images, gates), layer(images, ignored))


@pytest.mark.parametrize("expansion", [-1, 1])
def test_what_is_shut_stands_still_but_hears_its_gradient(expansion, images):
    form = Formulation("straight_through")
    layer = super_block(formulation=form, se=((0,),) * 3)
    layer.depthwise_batch_norm.beta.assign(np.full(8, 0.2))  # lets gradients through the ReLU
    upstream = np.random.default_rng(2).normal(size=(2, 6, 6, 2)).astype(np.float32)
    layer.thresholds.assign([-9.0, -9.0, *np.where(np.arange(3) <= expansion, -9.0, 30.0)])
    with tf.GradientTape() as tape:
        y = layer(images, layer.decide(training=True).gates, training=True)
    variables = layer.trainable_variables
    found = tape.gradient(y, [v.value for v in variables], upstream)
    gradients = {id(v): g for v, g in zip(variables, found, strict=True)}
    shut = slice(MIDDLE[expansion] if expansion >= 0 else 0, None)
    offsets = gradients[id(layer.depthwise_batch_norm.beta)]
    np.testing.assert_array_equal(offsets[shut], 0)
    np.testing.assert_array_equal(gradients[id(layer.project_kernel)][:, :, shut], 0)
    skipped = expansion == -1
    assert np.all(gradients[id(layer.project_batch_norm.beta)] == 0) == skipped
    # The first shut group hears the loss; those behind it do not count.
    thresholds = gradients[id(layer.thresholds)][2:].numpy()
    assert thresholds[expansion + 1] != 0
    np.testing.assert_array_equal(thresholds[expansion + 2 :], 0)


def test_one_kernel_size_and_no_choice():
    layer = super_block(sizes=(5,), se=((0,),) * 3)
    decision = layer.decide()
    assert [part.shape[0] for part in decision.gates] == [0, 3, 0]
    assert layer.squeeze_excite is None


def test_mixed_precision(images):
    layer = super_block(dtype="mixed_bfloat16")
    decision = layer.decide()
    assert decision.gates.kernel.dtype == tf.float32
    y = layer(images, decision.gates, training=True)
    assert y.dtype == tf.bfloat16
    assert np.all(np.isfinite(tf.cast(y, tf.float32)))


def literal_squeeze_excite(layer, x, middle, units):
    """One ratio in NumPy, on the first `middle` channels."""
    pooled = x[..., :middle].mean((1, 2))
    hidden = pooled @ layer.reduce_kernel.numpy()[:middle, :units] + layer.reduce_bias[:units]
    gate = np.maximum(hidden, 0) @ layer.expand_kernel.numpy()[:units] + layer.expand_bias
    return x * np.clip(gate / 6 + 0.5, 0, 1)[:, None, None]


def test_squeeze_excite_alone():
    layer = SuperSqueezeExcite(6, ((0, 1, 3), (0, 2, 4)), Formulation(temperature=0.5))
    layer.build()
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(generator.normal(size=weight.shape))
    x = generator.normal(size=(2, 3, 3, 6)).astype(np.float32)
    channels = {0: 3, 1: 6}
    for expansion, gates in itertools.product((0, 1), itertools.product((0.0, 1.0), repeat=2)):
        one_hot = tf.one_hot(expansion, 2)
        channel_gate = tf.cast(tf.range(6) < channels[expansion], tf.float32)
        found = layer(x, channel_gate, one_hot, tf.constant(gates))
        level = int(gates[0] + gates[0] * gates[1])
        units = layer.widths[expansion, level]
        expected = x
        if units:
            expected = literal_squeeze_excite(layer, x, channels[expansion], units)
        middle = channels[expansion]
        np.testing.assert_allclose(found[..., :middle], expected[..., :middle], atol=1e-5)
        # Norms: RMS of the weights from the channels that are there to the units a ratio adds.
        kernel = layer.reduce_kernel.numpy()[:middle]
        ends = layer.widths[expansion]
        groups = [kernel[:, ends[i] : ends[i + 1]] for i in range(2)]
        rms = [2 * np.sqrt(np.mean(group**2)) for group in groups]
        np.testing.assert_allclose(layer.norms(channel_gate, one_hot), rms, rtol=1e-5)


def test_bad_layers():
    with pytest.raises(ValueError, match="without residual cannot be skipped"):
        SuperMBConv(
            middle_channels=(2,), kernel_sizes=(3,), se_channels=((0,),), channels=2, stride=2,
            residual=False, skippable=True, activation_name="relu", momentum=0.9, epsilon=1e-3,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"kernel_sizes should be ascending, received \[3, 5, 5\]"):
        super_block(sizes=(3, 5, 5))
    for bad in (((0, 1), (0,)), ((2, 1),), ((1, 0),)):
        with pytest.raises(ValueError, match="ascending rows of equal length"):
            SuperSqueezeExcite(4, bad, Formulation())
