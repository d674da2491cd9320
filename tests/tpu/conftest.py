import importlib.util
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tpu.phase import Phase


@pytest.fixture(scope="session")
def program():
    """The module `program.py` beside this file."""
    spec = importlib.util.spec_from_file_location(
        "tpu_test_program", Path(__file__).with_name("program.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _counting(total=None, **changes):
    """A phase that adds up its batches 0, 1, 2, ... in one variable."""
    total = tf.Variable(0.0, name="total") if total is None else total

    def step(inputs, step_index):
        total.assign_add(tf.cast(inputs, tf.float32))
        return {"loss": total.read_value(), "index": step_index}

    arguments = {
        "name": "counting",
        "step": step,
        "variables": [total],
        "steps": 7,
        "dataset": lambda start: tf.data.Dataset.range(start, 10**6),
        "steps_per_loop": 3,
    }
    return Phase(**(arguments | changes))


@pytest.fixture(scope="session")
def counting():
    """Builds a phase; keyword arguments replace those of `Phase`."""
    return _counting
