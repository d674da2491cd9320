"""The runtime model in TensorFlow: its NumPy twin, and gradients by finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.methods.single_path_runtime import running_products, runtime_function
from keras_nas.resources.runtime_model import FORMS, RuntimeModel
from keras_nas.space import ElasticStage, single_path
from keras_nas.space.single_path_gates import Gates

SPACE = single_path(
    name="small",
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=3),),
    kernel_sizes=(3, 5, 7),
    se_ratios=(0, 0.25, 0.5),
)
TIMES = np.random.default_rng(0).uniform(0.5, 2.0, (3, 18))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("open_gates", [0.5, 0.8, 1.0])
def test_twin_and_gradient(form, open_gates):
    model = RuntimeModel(SPACE, 1.5, TIMES, form)
    generator = np.random.default_rng(2)
    # Shut gates among them, where a cumulative product has no gradient by division.
    gates = [(generator.random((3, n)) < open_gates).astype(np.float64) for n in (2, 2, 2)]
    tensors = [tf.constant(values) for values in gates]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        runtime_ms = runtime_function(model, tf.float64)(*tensors)
    gradients = tape.gradient(runtime_ms, tensors)
    assert abs(runtime_ms - model.expected_ms(Gates(*gates))) < 1e-9
    for values, gradient in zip(gates, gradients, strict=True):
        for index in np.ndindex(values.shape):
            ends = []
            for step in (1e-3, -1e-3):
                values[index] += step
                ends.append(model.expected_ms(Gates(*gates)))
                values[index] -= step
            assert abs(gradient[index] - (ends[0] - ends[1]) / 2e-3) < 1e-9


def test_float32_in_a_graph():
    model = RuntimeModel(SPACE, 1.5, TIMES)
    ones = [np.ones((3, 2), np.float32)] * 3
    runtime_ms = tf.function(runtime_function(model), autograph=False)(*ones)
    assert runtime_ms.dtype == tf.float32
    assert abs(runtime_ms - model.expected_ms(Gates(*ones))) < 1e-5


def test_running_products():
    found = running_products([tf.constant(2.0), tf.constant(3.0)], [tf.constant(1.0)])
    assert [float(value) for value in found] == [1, 2, 6]
