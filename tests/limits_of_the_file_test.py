"""The found network's file is held against limits on its size and memory before it is trained."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_nas import exporting_stage
from keras_nas.config import LimitsConfig
from keras_nas.devices.arena import activation_arena_bytes
from keras_nas.experiment import load_space
from keras_nas.export import convert
from keras_nas.models import build_network


@dataclasses.dataclass
class Images:
    """Of examples only what the check takes."""

    resolution: int

    def sample(self, count):
        shape = (count, self.resolution, self.resolution, 3)
        return tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)


@dataclasses.dataclass
class Run:
    """Of a context only what the check takes."""

    config: object
    table: object
    examples: Images


def test_a_file_over_a_limit_is_refused(tiny_config, tiny_table):
    space = load_space(tiny_config.space)
    network = build_network(space.lightest(), space.input_shape, 10)
    file = convert(network)
    run = Run(tiny_config, tiny_table, Images(space.resolution))
    found = {"tflite_bytes": len(file), "peak_memory_bytes": activation_arena_bytes(file)}
    tiny_config.limits = LimitsConfig(latency_fraction=0.5, **found)
    exporting_stage.check_file(run, lambda: network)
    for name, value in found.items():
        tiny_config.limits = LimitsConfig(latency_fraction=0.5, **found | {name: value - 1.0})
        with pytest.raises(ValueError, match=rf"{name} {value}, over the limit {value - 1},"):
            exporting_stage.check_file(run, lambda: network)
