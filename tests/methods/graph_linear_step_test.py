"""The compiled linear step against its NumPy original."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.methods.graph_linear_step import linear_step
from keras_nas.solvers.linear_step import linear_step_dual
from keras_nas.solvers.polytope import Polytope

DTYPES = (tf.float64, tf.float64, tf.bool, tf.float64, tf.bool, tf.float64)
SHAPES = [(6, 5), (1, 4), (9, 1), (20, 12)]


def random_program(generator, rows, entries):
    """Costs, limit, allowed, gradient, idle, current; every second one is degenerate."""
    allowed = generator.random((rows, entries)) < 0.8
    allowed[np.arange(rows), generator.integers(entries, size=rows)] = True
    if generator.random() < 0.5:  # equal costs, equal gradients, corners on one line
        costs = generator.integers(0, 4, (rows, entries)).astype(np.float64)
        gradient = generator.integers(-3, 3, (rows, entries)).astype(np.float64)
    else:
        costs = generator.random((rows, entries))
        gradient = generator.normal(size=(rows, entries))
    current = generator.random((rows, entries)) * allowed
    current /= current.sum(axis=1, keepdims=True)
    idle = generator.random(rows) < 0.2
    costs[idle], gradient[idle] = 0.0, 0.0
    reachable = Polytope(costs, np.inf, allowed)
    low, high = reachable.smallest_cost()[0], reachable.largest_cost()[0]
    limit = generator.choice([low, high, 2 * high + 1, low + generator.random() * (high - low)])
    return costs, limit, allowed, gradient, idle, current


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_original_in_float64(shape):
    generator = np.random.default_rng(0)
    compiled = tf.function(linear_step)
    for _ in range(100):
        costs, limit, allowed, gradient, idle, current = random_program(generator, *shape)
        expected = linear_step_dual(Polytope(costs, limit, allowed), gradient, idle, current)
        arrays = (costs, limit, allowed, gradient, idle, current)
        x = compiled(*(tf.constant(a, t) for a, t in zip(arrays, DTYPES, strict=True))).numpy()
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-9)


def test_lowers_with_xla_and_keeps_the_limit():
    generator = np.random.default_rng(1)
    compiled = tf.function(linear_step, jit_compile=True)
    for _ in range(30):
        costs, limit, allowed, gradient, idle, current = random_program(generator, 8, 6)
        polytope = Polytope(costs, limit, allowed)
        expected = linear_step_dual(polytope, gradient, idle, current)
        arrays = (costs, limit, allowed, gradient, idle, current)
        x = compiled(*(tf.constant(a, t) for a, t in zip(arrays, DTYPES, strict=True))).numpy()
        assert polytope.contains(x, 1e-9)
        assert np.sum(x * gradient) == pytest.approx(np.sum(expected * gradient), abs=1e-9)


def test_float32_as_on_a_tpu():
    generator = np.random.default_rng(2)
    costs, gradient = generator.random((20, 12)), generator.normal(size=(20, 12))
    polytope = Polytope(costs, 7.0)
    x = linear_step(
        tf.constant(costs, tf.float32),
        tf.constant(7.0, tf.float32),
        tf.ones([20, 12], tf.bool),
        tf.constant(gradient, tf.float32),
        tf.zeros([20], tf.bool),
        tf.zeros([20, 12], tf.float32),
    )
    assert x.dtype == tf.float32
    assert polytope.contains(x.numpy(), 1e-5)
    expected = np.sum(linear_step_dual(polytope, gradient) * gradient)
    assert np.sum(x.numpy() * gradient) == pytest.approx(expected, abs=1e-4)


def test_below_the_smallest_cost_is_the_lightest_vertex():
    costs = np.array([[1.0, 0.5, 0.5], [2.0, 3.0, 1.0]])
    polytope = Polytope(costs, np.inf)
    x = linear_step(
        tf.constant(costs),
        tf.constant(1.0, tf.float64),
        tf.ones([2, 3], tf.bool),
        tf.constant([[0.0, 1.0, 1.0], [0.0, -5.0, 2.0]], tf.float64),
        tf.zeros([2], tf.bool),
        tf.zeros([2, 3], tf.float64),
    )
    np.testing.assert_array_equal(x.numpy(), polytope.lightest())
