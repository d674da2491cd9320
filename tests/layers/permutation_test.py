"""Reordering against NumPy, and its gradient against the one TensorFlow finds."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.permutation import permuted


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_values_and_gradient_are_those_of_a_gather(dtype):
    """Exactly: every sum has one term that is not 0."""
    generator = np.random.default_rng(0)
    x, weights = (tf.constant(generator.normal(size=(5, 2, 3)), dtype) for _ in range(2))
    order = tf.constant([3, 0, 4, 1, 2])

    def value_and_gradient(reorder):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = reorder(x, order)
            loss = tf.reduce_sum(y * y * weights)
        return y, tf.convert_to_tensor(tape.gradient(loss, x))

    y, gradient = value_and_gradient(permuted)
    assert y.dtype == gradient.dtype == dtype
    np.testing.assert_array_equal(y, x.numpy()[order.numpy()])
    np.testing.assert_array_equal(gradient, value_and_gradient(tf.gather)[1])


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_gradient_needs_no_scatter(dtype):
    @tf.function(jit_compile=True)
    def gradient(x, order):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(tf.concat([permuted(x, order), x], 0)))
        return tape.gradient(loss, x)

    specs = tf.TensorSpec((4, 3), dtype), tf.TensorSpec((4,), tf.int32)
    program = gradient.experimental_get_compiler_ir(*specs)(stage="hlo")
    assert "scatter" not in program and "<=" not in program
    assert ("gather(" in program) == (dtype == tf.float32)
