"""Exported files compute what Keras computes, for networks with non-trivial statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_nas.export import (
    PRECISIONS,
    TOLERANCE,
    check_operations,
    check_outputs,
    convert,
    convert_frozen,
)
from keras_nas.export.tflite import written_out
from keras_nas.models import build_network
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem

SPACE = SearchSpace(
    "tiny",
    stem=Stem(8, 3, 2, "hard_swish"),
    stages=(
        ElasticStage(8, 1, "swish", 1, 1),
        ElasticStage(16, 2, "hard_swish", 1, 1),
    ),
    head=Head(256),
    resolution=16,
)


@pytest.fixture(scope="module")
def model():
    """Random weights of a trained network's size."""
    model = build_network(SPACE.heaviest(), SPACE.input_shape, 5)
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
        elif len(variable.shape) == 1:
            variable.assign(generator.normal(0, 0.3, variable.shape))
        else:
            variable.assign(generator.normal(0, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def exported(model):
    calibration = {"int8": np.random.default_rng(2).uniform(-1, 1, (64, 16, 16, 3))}
    return {kind: convert(model, kind, calibration.get(kind)) for kind in PRECISIONS}


def test_the_fast_way_gives_the_same(model, images, exported):
    fast = convert_frozen(model)
    assert check_operations(fast) == check_operations(exported["float32"])
    assert check_outputs(model, fast, images, TOLERANCE["float32"]) == check_outputs(
        model, exported["float32"], images, TOLERANCE["float32"]
    )


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_same_outputs_all_delegated(precision, exported, model, images):
    difference = check_outputs(model, exported[precision], images, TOLERANCE[precision])
    if precision == "float16":
        assert difference > 1e-5  # weights were rounded indeed
    operations = check_operations(exported[precision])
    assert operations["HARD_SWISH"] > 0 and operations["DEPTHWISE_CONV_2D"] == 2


def test_int8_is_delegated_with_hard_swish_written_out(exported, model, images):
    assert check_outputs(model, exported["int8"], images, 0.1) > 0
    operations = check_operations(exported["int8"])
    assert operations["HARD_SWISH"] == 0 and operations["DEPTHWISE_CONV_2D"] == 2


def test_hard_swish_written_out_is_hard_swish():
    inputs = keras.Input((7,))
    model = keras.Model(inputs, keras.ops.hard_silu(inputs))
    x = np.array([[-9.0, -3.0, -1.0, 0.0, 1.0, 3.0, 9.0]], np.float32)
    expected = x * np.clip(x + 3, 0, 6) / 6
    np.testing.assert_allclose(written_out(model, "int8")(x), expected, rtol=1e-6)
    assert written_out(model, "float32") is model


def test_calibration_images_set_the_range(model, images):
    interpreter = Interpreter(model_content=convert(model, "int8", 5 * images))
    scales = [
        entry["quantization"][0]
        for entry in interpreter.get_tensor_details()
        if entry["dtype"] == np.int8 and tuple(entry["shape"]) == (1, 16, 16, 3)
    ]
    assert scales == pytest.approx([10 / 255], rel=0.02)


def test_int8_for_measuring_needs_no_images(model):
    interpreter = Interpreter(model_content=convert_frozen(model, "int8", batch=2))
    (source,) = interpreter.get_input_details()
    assert source["dtype"] == np.float32 and list(source["shape"]) == [2, 16, 16, 3]


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (None, "needs calibration images, received none"),
        (np.zeros((0, 16, 16, 3)), r"received \[0, 16, 16, 3\]"),
        (np.zeros((4, 8, 8, 3)), r"should be \[N, 16, 16, 3\].* received \[4, 8, 8, 3\]"),
    ],
)
def test_bad_calibration_images(model, images, named):
    with pytest.raises(ValueError, match=named):
        convert(model, "int8", images)


def test_float16_halves_the_file(exported):
    sizes = {kind: len(data) for kind, data in exported.items()}
    assert sizes["float16"] < 0.7 * sizes["float32"]


def test_the_file_has_a_signature(exported, model, images):
    interpreter = Interpreter(model_content=exported["float32"])
    runner = interpreter.get_signature_runner("serving_default")
    (output,) = runner(image=images[:1]).values()
    assert output.shape == (1, 5)
    np.testing.assert_allclose(output, model(images[:1], training=False), atol=1e-3)


def test_batch_is_fixed(model):
    interpreter = Interpreter(model_content=convert_frozen(model, batch=3))
    assert list(interpreter.get_input_details()[0]["shape_signature"]) == [3, 16, 16, 3]


def test_unknown_precision(model):
    with pytest.raises(ValueError, match=r"precision .* received 'int4'"):
        convert(model, "int4")


@keras.saving.register_keras_serializable("test")
class Unsupported(keras.layers.Layer):
    def call(self, x):
        return tf.math.betainc(x, x, x)


def test_operations_outside_the_builtins_are_named():
    inputs = keras.Input((4, 4, 2))
    with pytest.raises(ValueError, match="outside the TFLite built-ins: Betainc"):
        convert(keras.Model(inputs, Unsupported()(inputs)))


def test_two_inputs_are_refused():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    with pytest.raises(ValueError, match="one input, received 2"):
        convert(keras.Model(inputs, keras.layers.Add()(inputs)))
