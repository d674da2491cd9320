import dataclasses
import math

import keras
import pytest

from keras_nas.models import build_network
from keras_nas.resources import macs, parameters, piece_macs, piece_parameters
from keras_nas.space import HARDCORE_NAS, HARDCORE_NAS_TABLE_3, Architecture, Block, Head, pieces

NO_FEATURES = dataclasses.replace(HARDCORE_NAS, head=Head(features=0))


def keras_macs(model):
    """Multiply-accumulates of a built model, from the shapes of its layers and kernels."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:2])
        elif isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total


def keras_parameters(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("space", "seed", "input_shape", "classes"),
    [
        (HARDCORE_NAS, 0, (64, 64, 3), 10),
        (HARDCORE_NAS, 1, (45, 33, 1), 1000),
        (HARDCORE_NAS_TABLE_3, 2, (51, 51, 3), 7),
        (HARDCORE_NAS_TABLE_3.scaled(0.5), 3, (224, 160, 3), 2),
        (NO_FEATURES, 4, (33, 47, 3), 5),
    ],
)
def test_equals_what_keras_counts(space, seed, input_shape, classes):
    architecture = space.random(seed)
    model = build_network(architecture, input_shape, classes)
    assert macs(architecture, input_shape, classes) == keras_macs(model)
    assert parameters(architecture, input_shape, classes) == keras_parameters(model)


def test_depthwise_separable_with_squeeze_and_excitation():
    architecture = Architecture.from_block_strings([["ds_k5_s2_c24_se0.25", "cn_k3_s2_c8"]])
    model = build_network(architecture, (31, 29, 3), 3)
    assert macs(architecture, (31, 29, 3), 3) == keras_macs(model)
    assert parameters(architecture, (31, 29, 3), 3) == keras_parameters(model)


def test_one_block_by_hand():
    block = Block("ir", 5, 2, 24, 3, 0.25)
    piece = pieces(
        Architecture.from_block_strings([["cn_k1_s1_c16"], [block.to_string()]]), (16, 16, 3), 2
    )[2]
    assert piece.part == block and piece.input_shape == (8, 8, 16)
    expansion, depthwise, projection = 64 * 16 * 48, 16 * 25 * 48, 16 * 48 * 24
    squeeze_excite = 48 * 16 + 16 * 48  # 48 / 4 = 12, which rounds to 16
    assert piece_macs(piece) == expansion + depthwise + squeeze_excite + projection
    batch_norms = 2 * (48 + 48 + 24)
    weights = 16 * 48 + 25 * 48 + (48 * 16 + 16 + 16 * 48 + 48) + 48 * 24
    assert piece_parameters(piece) == weights + batch_norms


def test_published_mobilenet_v2():
    """MobileNetV2 1.0: 300,774,272 MACs and 3,504,872 parameters in PyTorch Image Models."""
    rows = [
        "ds_r1_k3_s1_c16", "ir_r2_k3_s2_e6_c24", "ir_r3_k3_s2_e6_c32", "ir_r4_k3_s2_e6_c64",
        "ir_r3_k3_s1_e6_c96", "ir_r3_k3_s2_e6_c160", "ir_r1_k3_s1_e6_c320",
    ]  # fmt: skip
    network = Architecture.from_block_strings(
        [[row] for row in rows],
        head=Head(features=1280, activation="relu6", before_pooling=True),
        default_activation="relu6",
    )
    assert macs(network, (224, 224, 3)) == 300_774_272
    assert parameters(network, (224, 224, 3)) == 3_504_872
