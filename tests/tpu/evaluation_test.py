import numpy as np
import pytest
import tensorflow as tf

from tpu.evaluation import evaluate, evaluator, predict
from tpu.failures import OutOfMemoryError
from tpu.strategy import strategy_for

CPU = strategy_for("cpu")


def test_every_example_counts_once_with_one_trace():
    numbers = np.random.default_rng(0).normal(size=23).astype(np.float32)
    weight = tf.Variable(2.0)
    traces = []

    def step(batch):
        traces.append(batch.shape[0])
        return {"sum": batch * weight, "inverse": 1.0 / batch}

    total = evaluator(step, CPU, 5)
    dataset = tf.data.Dataset.from_tensor_slices(numbers).batch(5)
    for value in (2.0, 3.0):
        weight.assign(value)
        found = total(dataset)
        assert found["examples"] == 23
        np.testing.assert_allclose(found["sum"], value * numbers.sum(dtype=float), rtol=1e-6)
        # What a batch is filled up with would give infinity.
        np.testing.assert_allclose(found["inverse"], (1 / numbers).sum(dtype=float), rtol=1e-5)
    assert traces == [5]


def test_totals_stay_exact_beyond_float32():
    dataset = tf.data.Dataset.range(5).batch(1)
    found = evaluate(lambda batch: {"count": 0 * batch + 2**24 + 1}, dataset, CPU, 1)
    assert found == {"count": 5 * (2**24 + 1), "examples": 5}


def test_memory_that_ends_names_the_batch_size_and_where_it_is_set():
    def step(batch):
        huge = tf.zeros(tf.cast([2**23, 2**23], tf.int64) + batch[0])  # 280 TB
        return {"sum": batch + tf.cast(tf.reduce_sum(tf.math.sin(huge)), tf.int64)}

    dataset = tf.data.Dataset.range(48).batch(24)
    with pytest.raises(OutOfMemoryError) as raised:
        evaluate(step, dataset, CPU, 24, "config.evaluation_batch_size")
    assert str(raised.value) == (
        "Evaluation does not fit into memory at batch size 24: lower config.evaluation_batch_size."
    )


def test_predictions_come_in_order_without_what_was_filled_up():
    dataset = tf.data.Dataset.range(7).map(lambda i: (i, i)).batch(3)
    parts = list(predict(lambda inputs: tf.stack(inputs, 1) * 2, dataset, CPU, 3))
    assert [part.shape for part in parts] == [(3, 2), (3, 2), (1, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(0, 14, 2)[:, None] * [1, 1])


def test_empty_and_endless_data_are_errors():
    def step(batch):
        return {"sum": batch}

    dataset = tf.data.Dataset.range(5).batch(2)
    with pytest.raises(ValueError, match="is empty"):
        evaluate(step, dataset.take(0), CPU, 2)
    with pytest.raises(ValueError, match=r"leave out repeat\(\)"):
        evaluate(step, dataset.repeat(), CPU, 2)
    with pytest.raises(ValueError, match=r"leave out repeat\(\)"):
        next(predict(lambda batch: batch, dataset.repeat(), CPU, 2))


@pytest.mark.parametrize(
    "step",
    [lambda batch: {"sum": tf.reduce_sum(batch)}, lambda batch: {"examples": batch}],
)
def test_a_step_that_breaks_the_contract_is_an_error(step):
    with pytest.raises(ValueError, match=r"must return one value an example, .* named 'examples'"):
        evaluate(step, tf.data.Dataset.range(5).batch(2), CPU, 2)
