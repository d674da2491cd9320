"""What the checks on a `.tflite` file refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.export import check_operations, check_outputs, convert_frozen

INPUTS = keras.Input((4, 4, 2))


def model_of(function):
    class Function(keras.layers.Layer):
        def call(self, x):
            return function(x)

    return keras.Model(INPUTS, Function()(INPUTS))


def test_undelegated_operations_are_named_with_their_number():
    tflite = convert_frozen(
        model_of(lambda x: tf.cumsum(tf.nn.relu(tf.cumsum(tf.nn.relu(x), 1)), 2))
    )
    with pytest.raises(ValueError, match=r"XNNPACK does not take .*: CUMSUM \(2\)\. Write"):
        check_operations(tflite)


def test_operations_are_counted():
    tflite = convert_frozen(model_of(lambda x: tf.nn.relu(x * tf.nn.relu(x))))
    assert check_operations(tflite)["MUL"] == 1


def test_hard_swish_is_one_delegated_operation():
    tflite = convert_frozen(model_of(keras.activations.hard_swish))
    assert check_operations(tflite) == {"HARD_SWISH": 1}


def test_custom_operations_are_named():
    model = model_of(lambda x: tf.math.betainc(x, x, x))
    call = tf.function(lambda x: model(x)).get_concrete_function(
        tf.TensorSpec((1, 4, 4, 2), tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call])
    converter.allow_custom_ops = True
    with pytest.raises(ValueError, match="outside the built-ins: Betainc"):
        check_operations(converter.convert())


def test_difference_is_relative_to_the_largest_output():
    images = np.ones((2, 4, 4, 2), np.float32)
    tflite = convert_frozen(model_of(lambda x: 10.0 * x))
    other = model_of(lambda x: 10.01 * x)
    assert check_outputs(other, tflite, images, 0.01) == pytest.approx(0.01 / 10.01, rel=1e-3)
    message = r"0\.000999 of the largest output \(10\.01\), over 2 images"
    with pytest.raises(ValueError, match=message):
        check_outputs(other, tflite, images, 1e-4)


def test_nan_is_a_difference():
    images = np.zeros((1, 4, 4, 2), np.float32)
    tflite = convert_frozen(model_of(lambda x: tf.math.log(x - 1.0)))
    with pytest.raises(ValueError, match="nan of the largest output"):
        check_outputs(model_of(lambda x: x + 1.0), tflite, images, 1e-4)


def test_no_images():
    tflite = convert_frozen(model_of(tf.nn.relu))
    with pytest.raises(ValueError, match="at least one image"):
        check_outputs(model_of(tf.nn.relu), tflite, np.zeros((0, 4, 4, 2), np.float32), 1e-4)
