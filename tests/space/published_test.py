"""Published networks against the figures of others: PyTorch Image Models, and the authors' own."""

import dataclasses
import json
from pathlib import Path

import pytest

import keras_nas
from keras_nas.resources import macs, parameters, piece_parameters
from keras_nas.space import HARDCORE_NAS, Architecture, Block, pieces
from keras_nas.space.published import (
    PublishedNetwork,
    published,
    published_network,
    published_networks,
)
from keras_nas.space.published_record import by_name

GOLDEN = Path(__file__).parents[2] / "../shared/golden"
SHAPE = (224, 224, 3)
ACTIVATIONS = {
    "ReLU": "relu", "ReLU6": "relu6", "Hardswish": "hard_swish", "SiLU": "swish",
}  # fmt: skip

# Parameters and MACs of the models built by PyTorch Image Models 1.0.31, counted by PyTorch 2.13's
# FlopCounterMode (half of its result).
COUNTED = {
    "hardcorenas_a": (5_260_232, 224_227_936),
    "hardcorenas_b": (5_176_544, 251_832_064),
    "hardcorenas_c": (5_521_224, 270_058_400),
    "hardcorenas_d": (7_500_208, 287_787_616),
    "hardcorenas_e": (8_070_992, 338_689_760),
    "hardcorenas_f": (8_199_688, 341_905_696),
    "mobilenetv1_100": (4_231_976, 568_740_352),
    "mobilenetv2_100": (3_504_872, 300_774_272),
    "mobilenetv2_140": (6_108_776, 582_195_824),
    "mobilenetv3_large_100": (5_483_032, 216_589_760),
    "mobilenetv3_rw": (5_479_918, 216_587_936),
    "mobilenetv3_small_100": (2_542_856, 56_510_400),
    "semnasnet_100": (3_887_038, 311_579_072),
    "mnasnet_100": (4_383_312, 314_415_872),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_es": (5_438_392, 1_788_731_008),
    "mixnet_s": (4_134_606, 239_173_360),
    "fbnetc_100": (5_572_200, 384_960_160),
    "spnasnet_100": (4_421_616, 333_467_072),
}

# Parameters that the models of pytorchcv 0.0.74 are checked against there.
PYTORCHCV = {
    "proxylessnas_cpu": 4_361_648,
    "proxylessnas_gpu": 7_119_848,
    "proxylessnas_mobile": 4_080_512,
    "proxylessnas_mobile_140": 6_857_568,
}

NAMES = [record.name for record in published_networks()]


def golden(name):
    path = GOLDEN / name
    if not path.exists():
        pytest.skip(f"no golden figures at {path}")
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_image_models(name):
    network = published(name)
    assert (parameters(network, SHAPE), macs(network, SHAPE)) == COUNTED[name]


@pytest.mark.parametrize("name", PYTORCHCV)
def test_parameters_of_pytorchcv(name):
    assert parameters(published(name), SHAPE) == PYTORCHCV[name]


@pytest.mark.parametrize(
    "name", [name for name in COUNTED if "small" not in name and "_es" not in name]
)
def test_golden_network(name):
    expected = golden("published_networks.json")["networks"][name]
    network = published(name)
    if "params" in expected:
        assert parameters(network, SHAPE) == expected["params"]
        assert macs(network, SHAPE) == expected["macs"]
    assert network.stem.channels == expected["stem_channels"]
    assert network.stem.activation == ACTIVATIONS[expected["default_act"]]
    last = network.stages[-1][-1].channels
    assert (network.head.features or last) == expected["head_hidden_size"]
    assert network.batch_norm.epsilon == expected["bn_eps"]
    assert (network.batch_norm.momentum, network.padding) == (0.9, "symmetric")
    if name != "mobilenetv2_140":  # the golden blocks lack its width multiplier
        read = Architecture.from_block_strings(
            expected["arch_def"],
            default_activation=ACTIVATIONS[expected["default_act"]],
            default_squeeze_excite=next(
                (block.squeeze_excite for block in network.blocks() if block.se_ratio), None
            ),
        )
        assert network.stages == read.stages


@pytest.mark.parametrize("name", ["hardcorenas_a", "efficientnet_b0"])
def test_golden_blocks(name):
    parts = pieces(published(name), SHAPE, 1000)[1:-1]
    blocks = golden("published_networks.json")["networks"][name]["blocks"]
    for piece, expected in zip(parts, blocks, strict=True):
        block, channels = piece.part, piece.input_shape[2]
        assert list(piece.input_shape) == [*expected["in_shape"][1:], expected["in_shape"][0]]
        assert list(piece.output_shape) == [*expected["out_shape"][1:], expected["out_shape"][0]]
        assert piece_parameters(piece) == expected["params"]
        assert block.has_residual(channels) == expected["skip"]
        assert (block.se_channels(channels) or None) == expected["se_reduced"]
        assert [block.activation] == [ACTIVATIONS[act] for act in expected["act"]]
        if block.kind != "cn":
            assert block.middle_channels(channels) == expected["mid"]
            assert (block.kernel_size, block.stride) == (expected["kernel"], expected["stride"])


def test_mobilenet_v2_140_is_v2_with_rounded_channels():
    def rounded(channels):  # int(x + 4) // 8 * 8: none of these falls below 90%
        return int(1.4 * channels + 4) // 8 * 8

    narrow, wide = published("mobilenetv2_100"), published("mobilenetv2_140")
    assert [b.channels for b in wide.blocks()] == [rounded(b.channels) for b in narrow.blocks()]
    assert wide.stem.channels == 48 and wide.head.features == rounded(1280)


def test_tf_nas_a():
    facts = golden("tf_nas_published.json")
    network = published("tf_nas_a")
    layers = facts["published"]["TF-NAS-A"]["layers"]
    parts = pieces(network, SHAPE, 1000)[1:-1]
    first, *searched = parts
    assert first.part == Block.from_string("ds_k3_s1_c16_nre_se0.25-input-d1-sigmoid-own")
    assert first.part.se_channels(32) == facts["fixed"]["second_stem"]["se_channels"]
    for piece, layer in zip(searched, layers, strict=True):
        block, channels = piece.part, piece.input_shape[2]
        assert piece.input_shape == (layer["in_size"], layer["in_size"], layer["in_channels"])
        assert block.middle_channels(channels) == layer["mid_channels"]
        assert block.se_channels(channels) == layer["se_channels"]
        assert (block.kernel_size, block.stride) == (layer["kernel"], layer["stride"])
        assert (block.channels, block.activation) == (layer["out_channels"], layer["act"])
        assert block.has_residual(channels) == layer["residual"]
    verified = facts["verified"]["TF-NAS-A"]
    assert parameters(network, SHAPE) == verified["params"]
    # Its convention adds the biases and the final pooling.
    biases = 1000
    for piece in parts:
        channels = piece.input_shape[2]
        squeezed = piece.part.se_channels(channels)
        biases += squeezed + piece.part.middle_channels(channels) if squeezed else 0
    assert macs(network, SHAPE) + biases + 7 * 7 * 1280 == round(verified["flops_M"] * 1e6)


def test_single_path_nas_v1():
    network = published("single_path_nas_v1")
    assert network.stages == published("spnasnet_100").stages
    assert (network.padding, network.batch_norm.epsilon) == ("same", 1e-3)
    facts = golden("single_path_facts.json")["v1_network"]
    assert parameters(network, SHAPE) == facts["params"]
    assert macs(network, SHAPE) / 1e6 == pytest.approx(facts["macs_M"], abs=1e-3)
    for block, operation in zip(
        list(network.blocks())[1:-1],
        [op for op in facts["ops"] if op != "skip"],
        strict=True,
    ):
        size, ratio = operation.split("-")
        assert (f"{block.kernel_size}x{block.kernel_size}", block.expansion_ratio) == (
            size,
            int(ratio),
        )


@pytest.mark.parametrize("name", [f"hardcorenas_{letter}" for letter in "abcdef"])
def test_hardcore_nas_networks_are_in_the_searched_space(name):
    network = published(name)
    # TensorFlow's padding in the space, PyTorch's in what was published.
    searched = dataclasses.replace(network, padding="same")
    depths, configurations = HARDCORE_NAS.encode(searched)
    assert HARDCORE_NAS.architecture(depths, configurations, name) == searched


@pytest.mark.parametrize("record", published_networks(), ids=lambda record: record.name)
def test_printed_figures_agree_with_the_networks(record):
    """Counts are printed rounded and by other conventions; a wrong block would show."""
    shape = (record.resolution, record.resolution, 3)
    for result in record.results:
        if result.macs_millions:
            counted = macs(record.architecture, shape) / 1e6
            assert counted == pytest.approx(result.macs_millions, rel=0.07)
        if result.parameters_millions:
            counted = parameters(record.architecture, shape) / 1e6
            assert counted == pytest.approx(result.parameters_millions, rel=0.03)
        assert result.top1 is None or 60 < result.top1 < 90
        assert all(device and ms > 0 for device, ms in result.latencies_ms)
    assert record.source and all(result.source for result in record.results)


@pytest.mark.parametrize("name", NAMES)
def test_json_and_block_strings_round_trip(name):
    network = published(name)
    assert Architecture.from_json(network.to_json()) == network
    for block in network.blocks():
        assert Block.from_string(block.to_string()) == block


def test_figures_of_the_papers():
    a = published_network("hardcorenas_a")
    assert a.top1 == 75.3 and a.results[0].latencies_ms == (("CPU", 38),)
    assert published_network("tf_nas_a").results[0].macs_millions == 457
    assert published_network("mobilenetv3_rw").top1 is None
    assert published_network("ofa_note8_31ms").resolution == 152


def test_names_and_aliases():
    for alias, name in {
        "hardcore_nas_f": "hardcorenas_f",
        "mnasnet_a1": "semnasnet_100",
        "mnasnet_b1": "mnasnet_100",
        "mobilenet_v3_large": "mobilenetv3_large_100",
        "single_path_nas": "single_path_nas_v1",
    }.items():
        assert published(alias) is published(name) and published(name).name == name
    assert len(set(NAMES)) == len(NAMES) and set(COUNTED) | set(PYTORCHCV) < set(NAMES)
    assert keras_nas.published is published
    assert keras_nas.published_networks() == published_networks()


def test_unknown_name_lists_what_exists():
    with pytest.raises(
        ValueError, match=r"unknown published network 'x'; one of hardcorenas_a, .*ofa"
    ):
        published("x")


def test_one_name_for_two_networks():
    record = published_network("mixnet_s")
    other = PublishedNetwork(published("tf_nas_a"), "made up", (), aliases=("mixnet_s",))
    with pytest.raises(ValueError, match="two published networks are called 'mixnet_s'"):
        by_name([record, other])
