"""Reordering against NumPy, and its gradient against the one TensorFlow finds."""

import numpy as np
import tensorflow as tf

from keras_nas.layers.permutation import permuted


def test_values_and_gradient_are_those_of_a_gather():
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 2, 3)), tf.float32)
    order = tf.constant([3, 0, 4, 1, 2])
    weights = tf.constant(np.random.default_rng(1).normal(size=(5, 2, 3)), tf.float32)

    def value_and_gradient(reorder):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = reorder(x, order)
            loss = tf.reduce_sum(y * y * weights)
        return y, tf.convert_to_tensor(tape.gradient(loss, x))

    y, gradient = value_and_gradient(permuted)
    np.testing.assert_array_equal(y, x.numpy()[order.numpy()])
    np.testing.assert_allclose(gradient, value_and_gradient(tf.gather)[1], rtol=1e-6)


def test_the_gradient_needs_no_scatter():
    @tf.function(jit_compile=True)
    def gradient(x, order):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(tf.concat([permuted(x, order), x], 0)))
        return tape.gradient(loss, x)

    specs = tf.TensorSpec((4, 3), tf.float32), tf.TensorSpec((4,), tf.int32)
    program = gradient.experimental_get_compiler_ir(*specs)(stage="hlo")
    assert "gather(" in program and "scatter" not in program and "<=" not in program
