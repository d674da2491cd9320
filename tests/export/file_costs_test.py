"""File size and activation memory by formula against files and LiteRT's own plan."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_nas
from configs.quickstart import get_config
from keras_nas.devices.arena import activation_arena_bytes
from keras_nas.export import convert
from keras_nas.export.compact import compact, short_name
from keras_nas.export.tflite import convert_frozen
from keras_nas.resources.activation_memory import peak_memory_bytes
from keras_nas.resources.tflite_size import tflite_bytes

SHAPE, CLASSES = (32, 32, 3), 10


def trained_like(architecture) -> keras.Model:
    """A network whose every number differs, as after training: equal constants are stored once."""
    network = keras_nas.build_network(architecture, SHAPE, CLASSES)
    generator = np.random.default_rng(0)
    for variable in network.weights:
        positive = "variance" in variable.path or "gamma" in variable.path
        low, high = (0.5, 1.5) if positive else (-0.1, 0.1)
        variable.assign(generator.uniform(low, high, variable.shape))
    return network


@pytest.mark.parametrize(
    ("name", "precision"),
    [("random", "float32"), ("random", "float16"), ("random", "int8"), ("mixnet_s", "float32")],
)
def test_size_and_memory_are_those_of_the_file(name, precision):
    if name == "random":
        architecture = keras_nas.load_space(get_config().space).random(1)
    else:
        architecture = keras_nas.published(name)
    images = np.random.default_rng(0).standard_normal((2, *SHAPE), np.float32)
    file = convert(trained_like(architecture), precision, images)
    bound = tflite_bytes(architecture, SHAPE, CLASSES, precision)
    assert len(file) <= bound <= 1.03 * len(file) + 2000
    memory = peak_memory_bytes(architecture, SHAPE, CLASSES, precision)
    assert memory == pytest.approx(activation_arena_bytes(file), rel=0.001)


@pytest.mark.parametrize("name", ["efficientnet_es", "proxylessnas_mobile"])
def test_memory_of_full_and_large_kernels(name):
    architecture = keras_nas.published(name)
    file = convert_frozen(keras_nas.build_network(architecture, SHAPE, CLASSES))
    memory = peak_memory_bytes(architecture, SHAPE, CLASSES)
    assert memory == pytest.approx(activation_arena_bytes(file), rel=0.001)


def test_what_is_not_a_model_has_no_arena():
    with pytest.raises(ValueError, match=r"is it a \.tflite file"):
        activation_arena_bytes(b"not a model")


def test_compact_file_computes_the_same():
    network = trained_like(keras_nas.load_space(get_config().space).lightest())
    file = convert_frozen(network)
    smaller = compact(file)
    assert len(smaller) < len(file)
    image = np.random.default_rng(1).standard_normal((1, *SHAPE), np.float32)
    np.testing.assert_array_equal(_run(file, image), _run(smaller, image))


def _run(file: bytes, image: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("net_1/stem_convolution_1/convolution;net_1/Relu", "stem_convolution"),
        ("net_1/stage1_block0_expand_1/convolution", "stage1_block0_expand"),
        ("arith.constant3", ""),
        ("", ""),
    ],
)
def test_short_names(name, short):
    assert short_name(name) == short
