import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.elastic_mbconv import ElasticMBConv
from keras_nas.layers.mbconv import mbconv

MIDDLES, KERNELS, UNITS = (16, 24, 40), (3, 5), ((0, 8), (0, 8), (0, 16))
CONFIGURATIONS = list(itertools.product(range(3), range(2), range(2)))
ONE_HOT = np.eye(12)


def elastic(dtype="float32", *, stride=1, residual=True, se_channels=UNITS, seed=0):
    """A built block of 8 input channels with statistics and biases that are not trivial."""
    layer = ElasticMBConv(
        middle_channels=MIDDLES,
        kernel_sizes=KERNELS,
        se_channels=se_channels,
        channels=8 if residual else 12,
        stride=stride,
        residual=residual,
        activation_name="hard_swish",
        momentum=0.9,
        epsilon=1e-3,
        dtype=dtype,
    )
    layer.build((None, 7, 6, 8))
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        if weight.name in ("gamma", "moving_variance"):
            value = generator.uniform(0.5, 1.5, weight.shape)
        else:
            value = generator.normal(0.0, 0.4, weight.shape)
        weight.assign(value)
    return layer


def images(count=5, dtype="float32"):
    return np.random.default_rng(9).normal(size=(count, 7, 6, 8)).astype(dtype)


def plain(layer, e, k, s):
    """The MBConv of one configuration, with the weights that the layer extracts for it."""
    inputs = keras.Input((7, 6, 8))

    def normalization(x, name):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)

    outputs = mbconv(
        inputs,
        expand=True,
        middle_channels=MIDDLES[e],
        channels=layer.channels,
        kernel_size=KERNELS[k],
        stride=layer.stride,
        se_channels=layer.se_channels[e][s],
        residual=layer.residual,
        activation_name="hard_swish",
        normalization=normalization,
        name="block",
    )
    model = keras.Model(inputs, outputs)
    for name, weights in layer.extract(e, k, s).items():
        model.get_layer(f"block_{name}").set_weights(weights)
    return model


@pytest.mark.parametrize(("stride", "residual"), [(1, True), (2, False)])
def test_one_hot_is_the_extracted_block(stride, residual):
    layer = elastic(stride=stride, residual=residual)
    x = images()
    for c, configuration in enumerate(CONFIGURATIONS):
        expected = plain(layer, *configuration)(x, training=False).numpy()
        found = layer(x, np.tile(ONE_HOT[c], (len(x), 1)), training=False).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_each_image_has_its_own_weights():
    layer, x = elastic(), images(12)
    together = layer(x, ONE_HOT, training=False)
    for i in range(12):
        alone = layer(x[i : i + 1], ONE_HOT[i : i + 1], training=False)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-4, atol=1e-5)


def normalized(norm, x, channels=slice(None)):
    gamma, beta, mean, variance = (weight.numpy()[channels] for weight in norm.weights)
    return (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


def hard_swish(x):
    return x * tf.clip_by_value(x + 3.0, 0.0, 6.0) / 6.0


def literal_output(layer, x, e, k, s):
    """One configuration step by step, as one would write an MBConv down."""
    m, units = MIDDLES[e], layer.se_channels[e][s]
    expanded = tf.nn.conv2d(x, layer.expand_kernel.numpy()[..., :m], 1, "SAME")
    expanded = hard_swish(normalized(layer.expand_batch_norm, expanded, slice(m)))
    kernel = layer.depthwise_kernels[k].numpy()[:, :, :m]
    strides = (1, layer.stride, layer.stride, 1)
    z = tf.nn.depthwise_conv2d(expanded, kernel, strides, "SAME")
    z = hard_swish(normalized(layer.depthwise_batch_norms[k], z, slice(m)))
    if units:
        se = {name: weight.numpy() for name, weight in layer.se_weights[k].items()}
        hidden = tf.reduce_mean(z, (1, 2)) @ se["reduce_kernel"][:m, :units]
        hidden = tf.nn.relu(hidden + se["reduce_bias"][:units])
        gate = hidden @ se["expand_kernel"][:units, :m] + se["expand_bias"][:m]
        z *= (tf.clip_by_value(gate + 3.0, 0.0, 6.0) / 6.0)[:, None, None, :]
    y = tf.nn.conv2d(z, layer.project_kernel.numpy()[:, :, :m], 1, "SAME")
    y = normalized(layer.project_batch_norm, y)
    return x + y if layer.residual else y


@pytest.mark.parametrize(("stride", "residual"), [(1, True), (2, False)])
def test_closed_form_is_the_literal_sum(stride, residual):
    layer = elastic("float64", stride=stride, residual=residual)
    generator = np.random.default_rng(3)
    x = tf.constant(images(dtype="float64"))
    w = tf.constant(generator.dirichlet(np.ones(12), size=len(x)))  # [N, 12], rows sum to 1

    def literal(w):
        outputs = [literal_output(layer, x, *configuration) for configuration in CONFIGURATIONS]
        return tf.add_n([w[:, c, None, None, None] * y for c, y in enumerate(outputs)])

    results = []
    for mixture in (lambda w: layer(x, w, training=False), literal):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = mixture(w)
            loss = tf.reduce_sum(
                y * tf.sin(tf.reshape(tf.range(tf.size(y), dtype=y.dtype), y.shape))
            )
        gradient = tape.gradient(loss, w).numpy()
        # A constant a row: the mixture's offset and residual count once, not by the weights' sum.
        results.append((y.numpy(), gradient - gradient.mean(1, keepdims=True)))
    (y, gradient), (expected_y, expected_gradient) = results
    np.testing.assert_allclose(y, expected_y, rtol=1e-9, atol=1e-9)
    scale = np.abs(expected_gradient).max()
    assert scale > 0.1
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-9 * scale)


def test_closed_form_without_squeeze_and_excitation_and_with_two():
    for se_channels in (((0,),) * 3, ((8, 16), (8, 16), (16, 24)), ((0, 8, 16),) * 3):
        layer = elastic("float64", se_channels=se_channels)
        x = images(dtype="float64")
        choices = list(itertools.product(range(3), range(2), range(len(se_channels[0]))))
        w = np.random.default_rng(1).dirichlet(np.ones(len(choices)), size=len(x))
        outputs = [literal_output(layer, x, *choice).numpy() for choice in choices]
        expected = np.einsum("nc,cnhwd->nhwd", w, outputs)
        np.testing.assert_allclose(layer(x, w, training=False), expected, rtol=1e-9, atol=1e-9)


def test_training_normalises_the_mixed_batch():
    """Depthwise statistics do not depend on the weights; the projection's are the mixture's."""
    layer, x = elastic(), images(8)
    for norm in layer._flatten_layers():
        if isinstance(norm, keras.layers.BatchNormalization):
            norm.momentum = 0.0
    y = layer(x, np.full((8, 12), 1 / 12), training=True).numpy() - x
    expanded = tf.nn.conv2d(x, layer.expand_kernel.numpy(), 1, "SAME").numpy().astype("f8")
    norm = layer.expand_batch_norm
    np.testing.assert_allclose(
        norm.moving_mean.numpy(), expanded.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(norm.moving_variance.numpy(), expanded.var((0, 1, 2)), rtol=1e-4)
    gamma, beta = (weight.numpy() for weight in layer.project_batch_norm.weights[:2])
    np.testing.assert_allclose(y.mean((0, 1, 2)), beta, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(y.std((0, 1, 2)), np.abs(gamma), rtol=1e-2)


def test_initialize_reproduces_the_heaviest_block():
    source, layer = elastic(seed=1), elastic(seed=2)
    layer.initialize(source.extract(2, 1, 1))
    x = images()
    heaviest = np.tile(ONE_HOT[-1], (len(x), 1))
    np.testing.assert_array_equal(
        layer(x, heaviest, training=False), source(x, heaviest, training=False)
    )
    small, large = (kernel.numpy() for kernel in layer.depthwise_kernels)
    np.testing.assert_array_equal(small, large[1:4, 1:4])
    for name, weight in layer.se_weights[0].items():
        np.testing.assert_array_equal(weight.numpy(), layer.se_weights[1][name].numpy())
    for one, other in zip(*(n.get_weights() for n in layer.depthwise_batch_norms), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"middle_channels": ()}, r"middle_channels should be ascending, received \[\]"),
        ({"middle_channels": (24, 16, 40)}, "middle_channels should be ascending"),
        ({"kernel_sizes": (3, 3)}, r"kernel_sizes should be ascending, received \[3, 3\]"),
        ({"se_channels": ((0, 8),)}, "a row of equal length for each of the 3 expansions"),
        ({"se_channels": ((0, 8), (0,), (0, 8))}, "a row of equal length"),
        ({"se_channels": ((8, 0),) * 3}, "only the first of se_channels can be 0"),
        ({"activation_name": "tanh"}, "unknown activation 'tanh'"),
    ],
)
def test_bad_choices(changes, message):
    good = {
        "middle_channels": MIDDLES, "kernel_sizes": KERNELS, "se_channels": UNITS, "channels": 8,
        "stride": 1, "residual": True, "activation_name": "relu", "momentum": 0.9, "epsilon": 1e-5,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ElasticMBConv(**(good | changes))
