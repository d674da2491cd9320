import resource

import numpy as np
import pytest
import tensorflow as tf

from tpu.engine import run_phase
from tpu.strategy import strategy_for

CPU = strategy_for("cpu")


def test_jit_compile_goes_through_xla(counting, tmp_path):
    def step(inputs, step_index):
        return {"loss": tf.strings.to_number(tf.strings.as_string(inputs))}  # no XLA kernel

    assert run_phase(counting(step=step), CPU, tmp_path / "plain")[-1]["loss"] == 6.0
    with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
        run_phase(counting(step=step, jit_compile=True), CPU, tmp_path / "xla")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda start: tf.data.Dataset.range(5), "has 5 batches from step 0 on"),
        (lambda start: tf.data.Dataset.range(9).filter(lambda i: i < 5),
         "ended between steps 3 and 5"),
    ],
)  # fmt: skip
def test_data_that_end_too_early_are_an_error(counting, tmp_path, dataset, message):
    with pytest.raises(ValueError, match=f"'counting' of 7 steps: its data set {message}. Repeat"):
        run_phase(counting(dataset=dataset), CPU, tmp_path)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"cost": 1.0}, r"must return a metric 'loss' .*, received \['cost'\]"),
        ({"loss": 1.0, "step": 1.0}, r"none of \['seconds', 'step'\], received \['loss', 'step'\]"),
        ({"loss": [1.0, 2.0]}, r"metric 'loss' must be a scalar, received shape \(2,\)"),
    ],
)
def test_metrics_that_break_the_contract_are_an_error(counting, tmp_path, metrics, message):
    def step(inputs, step_index):
        return {name: tf.constant(value) for name, value in metrics.items()}

    with pytest.raises(ValueError, match=message):
        run_phase(counting(step=step), CPU, tmp_path)


def test_memory_that_a_step_frees_is_used_again(counting, tmp_path):
    run_phase(counting(), CPU, tmp_path)

    def page_faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(4_000_000, np.uint8)  # about 1000 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    page_faults()
    assert page_faults() < 5_000
