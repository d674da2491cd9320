"""The published networks A to F against this project's notation, space and formulas."""

import json
from pathlib import Path

import pytest

from keras_nas.resources import macs, parameters, piece_parameters
from keras_nas.space import HARDCORE_NAS, Architecture, pieces

GOLDEN = Path(__file__).parents[2] / "../shared/golden/published_networks.json"
NETWORKS = [f"hardcorenas_{letter}" for letter in "abcdef"]
NAMES = {"ReLU": "relu", "Hardswish": "hard_swish"}

NETWORK_A = [
    ["ds_r1_k3_s1_e1_c16_nre"],
    ["ir_r1_k5_s2_e3_c24_nre", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
    ["ir_r1_k5_s2_e3_c40_nre", "ir_r1_k5_s1_e6_c40_nre_se0.25"],
    ["ir_r1_k5_s2_e6_c80_se0.25", "ir_r1_k5_s1_e6_c80_se0.25"],
    ["ir_r1_k5_s1_e6_c112_se0.25", "ir_r1_k5_s1_e6_c112_se0.25"],
    ["ir_r1_k5_s2_e6_c192_se0.25", "ir_r1_k5_s1_e6_c192_se0.25"],
    ["cn_r1_k1_s1_c960"],
]


def read(stages):
    return Architecture.from_block_strings(stages, default_activation="hard_swish")


@pytest.fixture(scope="module")
def published():
    if not GOLDEN.exists():
        pytest.skip(f"no published networks at {GOLDEN}")
    return json.loads(GOLDEN.read_text())["networks"]


def test_network_a():
    network = read(NETWORK_A)
    assert macs(network, (224, 224, 3)) == 224_227_936
    assert parameters(network, (224, 224, 3)) == 5_260_232


@pytest.mark.parametrize("name", NETWORKS)
def test_is_in_the_space(published, name):
    network = read(published[name]["arch_def"])
    depths, configurations = HARDCORE_NAS.encode(network)
    assert HARDCORE_NAS.architecture(depths, configurations) == network
    assert network.to_block_strings()[:3] == published[name]["arch_def"][:3]


@pytest.mark.parametrize("name", NETWORKS[:3])  # D to F have no counts
def test_macs_and_parameters(published, name):
    network = read(published[name]["arch_def"])
    assert macs(network, (224, 224, 3)) == published[name]["macs"]
    assert parameters(network, (224, 224, 3)) == published[name]["params"]


def test_network_a_block_by_block(published):
    network = published["hardcorenas_a"]
    assert network["arch_def"] == NETWORK_A
    parts = pieces(read(NETWORK_A), (224, 224, 3), 1000)[1:-1]
    for piece, expected in zip(parts, network["blocks"], strict=True):
        block, channels = piece.part, piece.input_shape[2]
        assert list(piece.input_shape) == [*expected["in_shape"][1:], expected["in_shape"][0]]
        assert list(piece.output_shape) == [*expected["out_shape"][1:], expected["out_shape"][0]]
        assert piece_parameters(piece) == expected["params"]
        assert block.has_residual(channels) == expected["skip"]
        assert (block.se_channels(channels) or None) == expected["se_reduced"]
        assert [block.activation] == [NAMES[name] for name in expected["act"]]
        if block.kind == "ir":
            assert block.middle_channels(channels) == expected["mid"]
            assert (block.kernel_size, block.stride) == (expected["kernel"], expected["stride"])
