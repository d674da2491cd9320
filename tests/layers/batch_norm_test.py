import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.batch_norm import FusedBatchNormalization, normalize_batch

ARGUMENTS = {"momentum": 0.8, "epsilon": 1e-3}
TOLERANCES = {"float64": 1e-9, "float32": 2e-5, "mixed_float16": 3e-3, "mixed_bfloat16": 3e-2}


def pair(dtype, channels=6):
    """A fused layer and Keras' own, with the same weights."""
    fused = FusedBatchNormalization(**ARGUMENTS, dtype=dtype)
    plain = keras.layers.BatchNormalization(**ARGUMENTS, dtype=dtype)
    fused.build((None, 5, 4, channels))
    plain.build((None, 5, 4, channels))
    generator = np.random.default_rng(1)
    weights = [generator.uniform(0.5, 1.5, channels) for _ in range(4)]
    fused.set_weights(weights)
    plain.set_weights(fused.get_weights())
    return fused, plain


def inputs(dtype, channels=6):
    compute = keras.DTypePolicy(dtype).compute_dtype
    x = np.random.default_rng(2).normal(0.7, 1.3, (3, 5, 4, channels))
    return tf.cast(tf.constant(x), compute)


def outputs_and_gradients(layer, x, training):
    cotangent = tf.cast(tf.reshape(tf.range(tf.size(x)) % 7, x.shape), x.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y * cotangent, tf.float64))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return [y, *gradients]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_equals_keras(dtype, training):
    x = inputs(dtype)
    fused, plain = pair(dtype)
    found = outputs_and_gradients(fused, x, training)
    expected = outputs_and_gradients(plain, x, training)
    assert found[0].dtype == expected[0].dtype == x.dtype
    for one, other in zip(found, expected, strict=True):
        one, other = np.asarray(one, "f8"), np.asarray(other, "f8")
        np.testing.assert_allclose(one, other, atol=TOLERANCES[dtype] * np.abs(other).max())
    for one, other in zip(fused.weights, plain.weights, strict=True):
        assert one.name == other.name and one.dtype == other.dtype
        tolerance = max(TOLERANCES[dtype] / 10, 1e-12) if "16" not in dtype else 1e-4
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=tolerance)


def test_statistics_equal_numpy():
    x = inputs("float32")
    y, mean, variance = normalize_batch(x, tf.ones(6), tf.zeros(6), 1e-3)
    exact = x.numpy().astype("f8")
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-5)
    expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("near", [None, 0.0, 0.6, 50.0])
def test_statistics_do_not_depend_on_the_number_nearby(near):
    x = inputs("float64")
    ones = tf.ones(6, tf.float64)
    about = near if near is None else near * ones
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, mean, variance = normalize_batch(x, ones, 0.0 * ones, 1e-3, about)
        loss = tf.reduce_sum(y**3 * tf.sin(x))
    exact = x.numpy()
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-11)
    with tf.GradientTape() as plain_tape:
        plain_tape.watch(x)
        moments = tf.nn.moments(x, (0, 1, 2))
        y = tf.nn.batch_normalization(x, *moments, None, None, 1e-3)
        expected_loss = tf.reduce_sum(y**3 * tf.sin(x))
    expected = plain_tape.gradient(expected_loss, x)
    np.testing.assert_allclose(tape.gradient(loss, x), expected, atol=1e-9)


def test_one_value_a_channel():
    """Bessel's correction would divide 0 by 0 here."""
    layer = FusedBatchNormalization(momentum=0.0, epsilon=1e-3)
    y = layer(tf.reshape([2.0, -4.0], (1, 1, 1, 2)), training=True)
    np.testing.assert_array_equal(y, np.zeros((1, 1, 1, 2)))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), [2.0, -4.0])
    np.testing.assert_array_equal(layer.moving_variance.numpy(), [0.0, 0.0])


def test_frozen_layer_keeps_its_statistics():
    fused, plain = pair("float32")
    fused.trainable = plain.trainable = False
    before = fused.get_weights()
    np.testing.assert_allclose(
        fused(inputs("float32"), training=True), plain(inputs("float32"), training=True), rtol=1e-4
    )
    for one, other in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_is_restored_from_its_configuration():
    layer = FusedBatchNormalization(**ARGUMENTS, name="norm")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is FusedBatchNormalization
    assert (again.momentum, again.epsilon, again.name) == (0.8, 1e-3, "norm")


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (None, 6), r"last axis of \[B, H, W, C\], received input of shape \(None, 6\)"),
        ({"axis": 1}, (None, 4, 4, 6), "received input of shape .* and axis 1"),
        ({"scale": False}, (None, 4, 4, 6), "received scale=False, center=True"),
        ({"center": False}, (None, 4, 4, 6), "center=False, .* Use keras.layers.BatchNormaliz"),
        ({"renorm": True}, (None, 4, 4, 6), "renorm=True"),
        ({"synchronized": True}, (None, 4, 4, 6), "synchronized=True"),
    ],
)
def test_refuses_what_it_does_not_compute(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        FusedBatchNormalization(**arguments).build(shape)
