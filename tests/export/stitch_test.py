"""Stitched models against their parts run one after the other, and against whole conversions."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_nas.export import check_operations, convert_frozen, operations_of_parts, stitch
from keras_nas.models import build_network, build_piece
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem, pieces

SPACE = SearchSpace(
    "tiny",
    stem=Stem(8, 3, 2),
    stages=(ElasticStage(8, 1, "hard_swish", 2, 2),),
    kernel_sizes=(3,),
    expansion_ratios=(3,),
    head=Head(16),
    resolution=8,
)
NETWORK, CLASSES = SPACE.heaviest(), 5


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def parts(request):
    found = pieces(NETWORK, SPACE.input_shape, CLASSES)
    return request.param, [convert_frozen(build_piece(piece), request.param) for piece in found]


def run(tflite, image):
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_computes_what_its_parts_compute(parts):
    precision, models = parts
    image = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    expected = image
    for model in models:
        expected = run(model, expected)
    found = run(stitch(models), image)
    if precision == "int8":  # no detour through float32, and another range in between
        assert np.max(np.abs(found - expected)) < 0.2 * np.max(np.abs(expected))
    else:
        np.testing.assert_array_equal(found, expected)


def test_the_same_operations_as_the_whole_network(parts):
    precision, models = parts
    model = build_network(NETWORK, SPACE.input_shape, CLASSES)
    for variable in model.variables:
        if len(variable.shape) > 1:  # activations that do not vanish, as int8 needs
            variable.assign(np.random.default_rng(1).normal(0, 0.3, variable.shape))
    whole = convert_frozen(model, precision)
    found = operations_of_parts(models)
    assert [len(kinds) > 0 for kinds in found] == [True] * 4
    assert [kind for kinds in found for kind in kinds] == operations_of_parts([whole])[0]
    delegated = check_operations(stitch(models))
    if precision != "float16":  # which shares constants between blocks
        assert delegated == check_operations(whole)


def test_operations_of_each_part():
    inputs = keras.Input((4, 4, 2))
    conv = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", activation="relu")(inputs))
    pool = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    models = [convert_frozen(model, "int8") for model in (conv, conv, pool)]
    assert operations_of_parts(models) == [
        ["QUANTIZE", "CONV_2D"],
        ["CONV_2D"],
        ["MEAN", "DEQUANTIZE"],
    ]


def test_parts_that_do_not_fit_are_refused():
    inputs = keras.Input((4, 4, 2))
    model = convert_frozen(keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs)))
    with pytest.raises(
        ValueError, match=r"part 0 ends in \[1, 2, 2, 3\] and part 1 .* \[1, 4, 4, 2\]"
    ):
        stitch([model, model])
    with pytest.raises(ValueError, match="at least one part"):
        stitch([])
