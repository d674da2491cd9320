import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu.estimator import Estimator
from tpu.phase import Phase
from tpu.strategy import strategy_for


@pytest.fixture
def estimator(tmp_path):
    """One weight w, outputs w * x."""
    strategy = strategy_for("cpu")
    with strategy.scope():
        inputs = keras.Input((1,))
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = keras.Model(inputs, dense(inputs))
    return Estimator(model, strategy, tmp_path / "checkpoints")


def numbers(count, batch_size):
    values = np.arange(count, dtype=np.float32)[:, None]
    return tf.data.Dataset.from_tensor_slices((values, 3 * values)).batch(batch_size)


def test_train_then_evaluate_predict_and_export(estimator, tmp_path):
    (kernel,) = estimator.model.trainable_variables

    def step(inputs, step_index):
        kernel.assign_add([[0.5]])
        return {"loss": tf.reduce_mean(inputs[0])}

    phase = Phase(
        name="add", step=step, variables=[kernel], steps=2, dataset=lambda start: numbers(8, 2)
    )
    (row,) = estimator.train(phase)
    assert row["step"] == 2 and (tmp_path / "checkpoints" / "add" / "step-2").is_dir()

    metrics = {"error": lambda labels, outputs: tf.abs(labels - outputs)[:, 0]}
    found = estimator.evaluate(metrics, numbers(7, 3), 3)
    assert found == {"error": pytest.approx(np.arange(7).mean()), "examples": 7}

    inputs = numbers(7, 3).map(lambda x, _: x)
    np.testing.assert_allclose(estimator.predict(inputs, 3), 2 * np.arange(7.0)[:, None])

    estimator.export(tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(served.serve(tf.constant([[4.0]])), [[8.0]])


def test_what_cannot_be_done_is_an_error(estimator, tmp_path):
    with pytest.raises(ValueError, match="to predict is empty"):
        estimator.predict(numbers(4, 2).map(lambda x, _: x).take(0), 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written .* choose another folder"):
        estimator.export(tmp_path / "file" / "below")
