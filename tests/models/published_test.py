"""Built published networks against the formulas, and what else counting cannot show."""

import math

import keras
import numpy as np
import pytest

from keras_nas.export import check_operations, check_outputs, convert
from keras_nas.models import build_network
from keras_nas.resources import macs, parameters
from keras_nas.space import Architecture, Head, Stem
from keras_nas.space.published import published, published_networks

SHAPE = (32, 32, 3)

# Together they have every kind of block, head and padding of all published networks.
COVER = (
    "mixnet_s", "mobilenetv3_rw", "mobilenetv1_100", "efficientnet_es", "mobilenetv2_100",
    "mobilenetv3_small_100", "efficientnet_b0", "tf_nas_a", "single_path_nas_v1",
)  # fmt: skip

EVERYTHING = Architecture.from_block_strings(
    [
        ["dsa_k3_s1_c8_nr6", "er_k3_s2_m24_c8_nre_se1-input-d1-sigmoid-own"],
        ["ir_k3.5.7.9.11_s2_e5_c8_nsw_a1.1_p1.1_se0.25-d4-nhs", "ds_k5_s2_c16_nhs_se0.5"],
        ["ir_k3_s1_m20_c16_nsw_noskip", "cn_k3_s2_c24_nre"],
    ],
    stem=Stem(8, activation="hard_swish"),
    head=Head(16, bias=False),
    padding="symmetric",
)


def traits(network):
    """What a builder could get wrong, apart from sizes."""
    found = {("padding", network.padding), ("stem", network.stem.activation)}
    head = network.head
    found.add(("head", head.activation, bool(head.features), head.before_pooling, head.bias))
    for block in network.blocks():
        found.add((block.kind, block.activation, block.stride))
        found.add((block.kind, len(block.kernel_sizes), block.expand_groups, block.project_groups))
        found.add((block.kind, bool(block.fixed_middle_channels), block.skip))
        found.add((bool(block.se_ratio), block.squeeze_excite, block.se_activation))
    return found


def test_the_cover_covers():
    covered = set().union(*(traits(published(name)) for name in COVER))
    assert covered == set().union(*(traits(n.architecture) for n in published_networks()))


def keras_macs(model):
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:2])
        elif isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total


@pytest.mark.parametrize("name", COVER)
def test_keras_counts_what_the_formulas_say(name):
    network = published(name)
    model = build_network(network, SHAPE, 1000)
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters(network, SHAPE)
    assert keras_macs(model) == macs(network, SHAPE)


def test_every_kind_of_block_saves_loads_and_runs_in_xnnpack(randomized, tmp_path):
    network = randomized(build_network(EVERYTHING, (64, 48, 3), 5))
    assert parameters(EVERYTHING, (64, 48, 3), 5) == network.count_params() - sum(
        math.prod(weight.shape) for weight in network.non_trainable_weights
    )
    images = np.random.default_rng(0).normal(size=(2, 64, 48, 3)).astype("f4")
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(images), network(images))
    tflite = convert(network, "float32")
    operations = check_operations(tflite)
    assert operations["DEPTHWISE_CONV_2D"] >= 8
    check_outputs(network, tflite, images, 1e-4)
