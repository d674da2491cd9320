import numpy as np
import pytest
import tensorflow as tf

from tpu.evaluation import evaluate, evaluator
from tpu.strategy import strategy_for


def test_every_example_counts_once_with_two_traces():
    numbers = np.random.default_rng(0).normal(size=23).astype(np.float32)
    weight = tf.Variable(2.0)
    traces = []

    def step(batch):
        traces.append(batch.shape[0])
        return {"sum": tf.reduce_sum(batch * weight), "examples": tf.size(batch)}

    total = evaluator(step, strategy_for("cpu"))
    dataset = tf.data.Dataset.from_tensor_slices(numbers).batch(5)
    for value in (2.0, 3.0):
        weight.assign(value)
        found = total(dataset)
        assert found["examples"] == 23
        np.testing.assert_allclose(found["sum"], value * numbers.sum(dtype=float), rtol=1e-6)
    assert traces == [5, 3]


def test_totals_stay_exact_beyond_float32():
    dataset = tf.data.Dataset.range(5).batch(1)
    found = evaluate(lambda _: {"count": tf.constant(2**24 + 1)}, dataset, strategy_for("cpu"))
    assert found == {"count": 5 * (2**24 + 1)}


def test_empty_and_endless_data_are_errors():
    def step(batch):
        return {"sum": tf.reduce_sum(batch)}

    dataset = tf.data.Dataset.range(5).batch(2)
    with pytest.raises(ValueError, match="is empty"):
        evaluate(step, dataset.take(0), strategy_for("cpu"))
    with pytest.raises(ValueError, match=r"leave out repeat\(\)"):
        evaluate(step, dataset.repeat(), strategy_for("cpu"))
