"""RMSProp against Keras' and the formula; its learning rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.training.rmsprop import L2RMSprop, StaircaseDecay, rmsprop


def test_the_fused_step_is_keras_own():
    generator = np.random.default_rng(0)
    start = generator.normal(size=(3, 4)).astype(np.float32)
    ours, theirs = keras.Variable(start), keras.Variable(start)
    fused = rmsprop(0.1, [ours], rho=0.8, momentum=0.7, epsilon=1e-3)
    plain = keras.optimizers.RMSprop(0.1, rho=0.8, momentum=0.7, epsilon=1e-3)
    plain.build([theirs])
    for _ in range(4):
        gradient = tf.constant(generator.normal(size=(3, 4)).astype(np.float32))
        fused.apply([gradient], [ours])
        plain.apply([gradient], [theirs])
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for own, other in zip(fused.variables, plain.variables, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5)


def test_decay_of_kernels_only():
    kernel = keras.Variable(np.full((2, 2), 3.0, np.float32), name="kernel")
    thresholds = keras.Variable(np.full(2, 3.0, np.float32), name="thresholds")
    optimizer = rmsprop(0.5, [kernel, thresholds], rho=0.9, momentum=0.9, epsilon=1e-3, l2=0.1)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], [kernel, thresholds])
    step = 0.5 * 0.3 / np.sqrt(0.1 * 0.3**2 + 1e-3)
    np.testing.assert_allclose(kernel, np.full((2, 2), 3.0 - step), rtol=1e-5)
    np.testing.assert_array_equal(thresholds, [3.0, 3.0])
    again = L2RMSprop.from_config(optimizer.get_config())
    assert (again.l2, again.rho, again.momentum) == (0.1, 0.9, 0.9)


def test_learning_rate():
    schedule = StaircaseDecay(0.8, 0.5, 10, warmup_steps=4)
    found = [float(schedule(tf.constant(step))) for step in (0, 1, 3, 4, 9, 10, 19, 20)]
    np.testing.assert_allclose(found, [0.2, 0.4, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    assert float(StaircaseDecay(0.8, 0.5, 10)(0)) == pytest.approx(0.8)
    again = StaircaseDecay.from_config(schedule.get_config())
    assert float(again(1)) == pytest.approx(0.4)


def test_bad_arguments():
    for bad in ((0.0, 0.5, 1), (1.0, 0.0, 1), (1.0, 1.5, 1), (1.0, 0.5, 0), (1.0, 0.5, 1, -1)):
        with pytest.raises(ValueError, match="the learning rate should be above 0"):
            StaircaseDecay(*bad)
    for bad in ({"l2": -1.0}, {"momentum": 0.0}):
        with pytest.raises(ValueError, match="l2 must not be negative and momentum above 0"):
            L2RMSprop(**bad)
    for bad in ({"centered": True}, {"weight_decay": 0.1}):
        with pytest.raises(ValueError, match="leave centered and weight_decay out"):
            L2RMSprop(**bad)
