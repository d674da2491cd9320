"""TF-NAS' space: the paper's numbers, free widths with bounds, JSON and architectures both ways."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from keras_nas.resources import macs, parameters
from keras_nas.resources.latency_table import all_pieces
from keras_nas.space import (
    TF_NAS,
    TF_NAS_WITHOUT_SE,
    ElasticStage,
    SqueezeExcite,
    Stem,
    TFNASOperation,
    TFNASSpace,
    pieces,
    tf_nas,
)
from keras_nas.space.cover import covering_architectures
from keras_nas.space.published import published

FACTS = Path(__file__).parents[2] / "../shared/golden/tf_nas_facts.json"
SHAPE = (224, 224, 3)
TINY = TFNASSpace(
    "tiny",
    stages=(ElasticStage(16, 1, min_depth=1, max_depth=3), ElasticStage(24, 2, "swish", 2, 2)),
    operations=(TFNASOperation(3, 1, 2), TFNASOperation(5, 2, 3, se=0.5)),
    stem=Stem(16),
    resolution=32,
    knot_spacing=12,
)


def test_numbers_of_the_paper():
    assert (len(TF_NAS.blocks), len(TF_NAS.operations)) == (18, 8)
    assert TF_NAS.largest_depths == (2, 3, 4, 4, 4, 1)
    allowed = np.array(TF_NAS.depths) > 0
    assert 18 * 8 + allowed.sum() == 162  # architecture parameters
    assert f"{TF_NAS.size():.3e}" == "3.448e+16"
    assert [o.name for o in TF_NAS.operations] == [
        "k3_e3", "k3_e6", "k5_e3", "k5_e6", "k3_e3_se", "k3_e6_se", "k5_e3_se", "k5_e6_se",
    ]  # fmt: skip
    assert [o.name for o in TF_NAS_WITHOUT_SE.operations] == ["k3_e3", "k3_e6", "k5_e3", "k5_e6"]


def test_blocks():
    rows = [
        (b.stage, b.index, b.input_resolution, b.input_channels, b.output_channels, b.stride)
        for b in TF_NAS.blocks
    ]
    assert rows[:3] == [(0, 0, 112, 16, 24, 2), (0, 1, 56, 24, 24, 1), (1, 0, 56, 24, 40, 2)]
    assert rows[9:11] == [(3, 0, 14, 80, 112, 1), (3, 1, 14, 112, 112, 1)]
    assert rows[17] == (5, 0, 7, 192, 320, 1)
    assert [b.has_residual for b in TF_NAS.blocks] == [b.index > 0 for b in TF_NAS.blocks]
    assert [b.activation for b in TF_NAS.blocks] == ["relu"] * 2 + ["swish"] * 16
    assert [b.has_residual for b in TINY.blocks] == [True, True, True, False, True]


def test_widths_of_the_paper():
    channels = np.array([b.input_channels for b in TF_NAS.blocks])[:, None]
    assert np.array_equal(TF_NAS.smallest_widths(), channels * np.tile([2, 4], 4))
    assert np.array_equal(TF_NAS.initial_widths(), channels * np.tile([3, 6], 4))
    assert np.array_equal(TF_NAS.largest_widths(), channels * np.tile([4, 8], 4))
    assert np.array_equal(TF_NAS.se_widths(), channels * [0, 0, 0, 0, 1, 2, 1, 2])
    assert TF_NAS.initial_widths().dtype == np.int64


def test_uniform_network_counts_as_the_authors_do():
    """Their parameters; their FLOPs add biases and the final pooling to the MACs."""
    network = TF_NAS.architecture([1] * 18, None, TF_NAS.initial_widths())
    assert parameters(network, SHAPE) == 4_816_272
    biases = 1000 + 8 + 32  # classifier, squeeze-and-excitation of the first block
    assert macs(network, SHAPE) + biases + 7 * 7 * 1280 == 434_813_168


def test_the_numbers_are_those_of_the_authors_code():
    if not FACTS.exists():
        pytest.skip(f"no {FACTS}")
    facts = json.loads(FACTS.read_text())
    assert TF_NAS.size() == pytest.approx(facts["space_size"], rel=1e-3)
    assert facts["all_k3_e6_initial"] == {"params": 4816272, "flops_M": 434.813168}
    assert facts["architecture_parameters"] == 162
    for trace in facts["elasticity"].values():
        assert trace["op_names"] == [o.name for o in TF_NAS.operations]


def test_tf_nas_a_is_in_the_space():
    network = published("tf_nas_a")
    operations, depths, widths = TF_NAS.encode(network)
    assert operations == (5, 3, 5, 1, 7, 7, 1, 1, 1, 5, 1, 5, 5, 1, 1, 5, 5, 7)
    assert depths == (2, 3, 4, 4, 4, 1)
    assert widths[0, 5] == 83 and widths[17, 7] == 1203
    found = TF_NAS.architecture(operations, depths, widths, "tf_nas_a")
    assert dataclasses.replace(found, padding=network.padding) == network
    assert parameters(found, SHAPE) == 8_757_527


@pytest.mark.parametrize("space", [TF_NAS, TF_NAS_WITHOUT_SE, TINY], ids=lambda s: s.name)
def test_json_reads_back(space):
    assert TFNASSpace.from_json(space.to_json()) == space
    assert TFNASSpace.from_json(space.to_json()).fingerprint() == space.fingerprint()


@pytest.mark.parametrize("space", [TF_NAS, TINY], ids=lambda s: s.name)
@pytest.mark.parametrize("seed", range(5))
def test_random_architectures_read_back(space, seed):
    network = space.random(seed)
    assert network == space.random(seed)
    operations, depths, widths = space.encode(network)
    assert space.architecture(operations, depths, widths, network.name) == network
    assert len(list(network.blocks())) == len(space.first_stages_blocks()) + sum(depths)


def test_only_chosen_widths_count():
    widths = TINY.initial_widths()
    other = widths.copy()
    other[0, 0] += 1
    assert TINY.architecture([1] * 5, None, widths) == TINY.architecture([1] * 5, None, other)
    assert TINY.architecture([0] * 5, None, widths) != TINY.architecture([0] * 5, None, other)
    assert TINY.architecture([0] * 5, (1, 2), widths).stages[0] == (TINY.block(0, 0, 24),)


def test_lightest_and_heaviest_bound_all_others():
    light, heavy = (macs(n, TINY.input_shape) for n in (TINY.lightest(), TINY.heaviest()))
    for seed in range(20):
        assert light <= macs(TINY.random(seed), TINY.input_shape) <= heavy


def test_knots():
    assert TINY.knots(0, 0) == (16, 28, 32)
    assert TINY.knots(0, 1) == (32, 44, 48)
    assert TINY.knots(4, 0) == (24, 36, 48)
    assert TF_NAS.knots(0, 1) == (64, 128)
    assert TF_NAS.knots(14, 1) == (768, 1024, 1280, 1536)


def test_pieces_are_all_knots():
    for b, row in enumerate(TINY.block_pieces()):
        found = [(p.part.kernel_size, p.part.fixed_middle_channels) for p in row]
        assert found == [(3, w) for w in TINY.knots(b, 0)] + [(5, w) for w in TINY.knots(b, 1)]
        assert {p.input_shape[2] for p in row} == {TINY.blocks[b].input_channels}


def test_covering_networks_hold_all_pieces():
    networks = covering_architectures(TINY)
    found = {p.key for n in networks for p in pieces(n, TINY.input_shape, 10)}
    assert found == {p.key for p in all_pieces(TINY, 10)}
    assert len(networks) == 6  # no fewer: a first block has 6 pieces


def test_own_spaces():
    narrow = tf_nas(name="mine", resolution=64, knot_spacing=1000)
    assert narrow.blocks[0].input_resolution == 32 and narrow.knots(0, 0) == (32, 64)
    half = TF_NAS.scaled(0.5)
    assert [s.channels for s in half.stages] == [16, 24, 40, 56, 96, 160]
    assert half.initial_widths()[1, 0] == 3 * 16
    with pytest.raises(TypeError, match="colour"):
        tf_nas(colour="blue")


def test_widths_are_multiples_of_the_divisor():
    space = dataclasses.replace(TINY, width_divisor=6)
    bounds = (space.smallest_widths(), space.largest_widths())
    for b, block in enumerate(space.blocks):
        for o, operation in enumerate(space.operations):
            channels = block.input_channels
            low, high = operation.expansion_low * channels, operation.expansion_high * channels
            whole = [w for w in range(0, 200, 6) if low <= w <= high]
            assert (bounds[0][b, o], bounds[1][b, o]) == (whole[0], whole[-1])
            assert set(space.knots(b, o)) <= set(whole)
            distance = [abs(w - operation.expansion_ratio * channels) for w in whole]
            assert distance[whole.index(space.initial_widths()[b, o])] == min(distance)
    assert TFNASSpace.from_json(space.to_json()) == space
    with pytest.raises(ValueError, match="should be 18 to 30, a multiple of 6, received 20"):
        space.check_widths(np.where(bounds[0] == 18, 20, bounds[0]))
    foreign = TINY.architecture([0] * 5, None, one_width(0, 0, 20))
    with pytest.raises(ValueError, match="is not in space"):
        space.encode(foreign)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, "at least one elastic stage"),
        ({"operations": ()}, "at least one operation"),
        ({"operations": (TFNASOperation(3, 2, 4),) * 2}, r"each once, received \['k3_e3', 'k3_e3'"),
        ({"operations": (TFNASOperation(3, 2.01, 2.02),)}, "k3_e2.015 of block 0 has no width"),
        ({"squeeze_excite": SqueezeExcite()}, "relative to the block's input"),
        ({"resolution": 0}, "resolution should be a positive integer, received 0"),
        ({"knot_spacing": 0}, "knot spacing of latency should be a positive integer"),
        ({"width_divisor": 0}, "divisor of widths should be a positive integer"),
        ({"width_divisor": 8}, "knot spacing 12 should be a multiple of width divisor 8"),
        (
            {"knot_spacing": 32, "width_divisor": 32, "operations": (TFNASOperation(5, 2.2, 3),)},
            "k5_e2.6 of block 0 has no width between its bounds that 32 divides",
        ),
    ],
)
def test_bad_spaces(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((0, 2, 4), "kernel size of an operation should be a positive integer"),
        ((4, 2, 4), "kernel size should be odd, received 4"),
        ((3, 4, 2), "expansion_low <= expansion_high, received 4 and 2"),
        ((3, 0, 2), "received 0 and 2"),
        ((3, 2, float("inf")), "received 2 and inf"),
        ((3, 2, 4, -1), "number >= 0, received -1"),
    ],
)
def test_bad_operations(fields, message):
    with pytest.raises(ValueError, match=message):
        TFNASOperation(*fields)


def one_width(block, operation, width):
    widths = TINY.initial_widths()
    widths[block, operation] = width
    return widths


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (np.ones((5, 3), int), r"shape \(5, 2\).*received int64 of shape \(5, 3\)"),
        (TINY.initial_widths() * 1.0, "integers.*received float64"),
        (one_width(0, 0, 15), "operation k3_e1.5 in block 0 should be 16 to 32, received 15"),
        (one_width(4, 1, 73), "operation k5_e2.5_se in block 4 should be 48 to 72, received 73"),
    ],
)
def test_bad_widths(widths, message):
    with pytest.raises(ValueError, match=message):
        TINY.check_widths(widths)
    with pytest.raises(ValueError, match=message):
        TINY.architecture([0] * 5, None, widths)


@pytest.mark.parametrize(
    ("operations", "depths", "message"),
    [
        ([0] * 4, None, "each of its 5 blocks, received"),
        ([0, 0, 2, 0, 0], None, "operation 0 to 1"),
        ([0] * 5, (1,), "2 stages, received 1 depths"),
        ([0] * 5, (0, 2), "depth of stage 0 should be 1 to 3, received 0"),
        ([0] * 5, (1, 1), "depth of stage 1 should be 2 to 2, received 1"),
    ],
)
def test_bad_choices(operations, depths, message):
    with pytest.raises(ValueError, match=message):
        TINY.architecture(operations, depths, TINY.initial_widths())


def test_architectures_of_other_spaces_are_refused():
    with pytest.raises(ValueError, match="not in space 'tf_nas': stem is"):
        TF_NAS.encode(published("fbnetc_100"))
    narrow = TINY.architecture([0] * 5, None, TINY.smallest_widths(), "narrow")
    wider = dataclasses.replace(TINY, operations=(TFNASOperation(3, 2, 3),))
    with pytest.raises(ValueError, match="'narrow' is not in space 'tiny': stage 0 cannot hold ir"):
        wider.encode(narrow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "damaged or truncated"),
        (lambda text: text.replace("tf_nas_space", "search_space"), "should have format"),
        (lambda text: text.replace('"expansion_low"', '"low"'), "not a valid search space.*low"),
        (lambda text: text.replace('"knot_spacing": 12', '"knots": 12'), "knots"),
    ],
)
def test_bad_json(change, message):
    with pytest.raises(ValueError, match=f"my.json.*{message}"):
        TFNASSpace.from_json(change(TINY.to_json()), "my.json")
