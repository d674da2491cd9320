import dataclasses
import itertools

import pytest

from keras_nas.space import Block, SqueezeExcite, make_divisible
from keras_nas.space.blocks import ACTIVATIONS, blocks_from_string
from keras_nas.space.squeeze_excite import EFFICIENT_NET

VARIANTS = [
    SqueezeExcite(*fields)
    for fields in itertools.product(
        ("middle", "input"), (8, 1, 4), ("hard_sigmoid", "sigmoid"), ("relu", "own", "hard_swish")
    )
]


def many_blocks():
    values = itertools.product(
        (1, 3, 5, 7), (1, 2), (8, 24), (0.5, 1, 3, 4.5, 6, 1 / 3), (0, 0.25, 0.1, 1), ACTIVATIONS
    )
    for kernel, stride, channels, expansion, se, activation in values:
        yield Block("ir", kernel, stride, channels, expansion, se, activation)
    for kernel, stride, activation in itertools.product((1, 3), (1, 2), ACTIVATIONS):
        yield Block("cn", kernel, stride, 16, activation=activation)
        yield Block("ds", kernel, stride, 16, se_ratio=0.25, activation=activation)
        yield Block("dsa", kernel, stride, 16, activation=activation)
        yield Block("er", kernel, stride, 16, 4, 0.5, activation)
    for variant, ratio in itertools.product(VARIANTS, (0.25, 1)):
        yield Block("ir", 5, 1, 48, 6, ratio, "swish", variant)
    yield Block("ir", 5, 1, 48, 6, 2.5, "relu", EFFICIENT_NET)
    for skip, middle, kernels in itertools.product((True, False), (0, 83), ((3, 5), (3, 5, 7, 9))):
        for groups in itertools.product((1, 2), (1, 3)):
            plain = Block("ir", kernels, 1, 48, 1, 0.25)
            names = {"fixed_middle_channels": middle, "skip": skip}
            names |= {"expand_groups": groups[0], "project_groups": groups[1]}
            yield dataclasses.replace(plain, **names)


def test_block_strings_round_trip():
    blocks = list(many_blocks())
    assert len({block.to_string() for block in blocks}) == len(set(blocks)) == len(blocks)
    for block in blocks:
        assert Block.from_string(block.to_string()) == block


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("ir_r1_k5_s2_e3_c24_nre_se0.25", Block("ir", 5, 2, 24, 3, 0.25, "relu")),
        ("ds_r1_k3_s1_e1_c16_nre", Block("ds", 3, 1, 16, activation="relu")),
        ("ir_k3_s1_e6_c40_nsw", Block("ir", 3, 1, 40, 6, 0, "swish")),
        ("cn_r1_k1_s1_c960", Block("cn", 1, 1, 960, activation="hard_swish")),
        ("ir_r1_c80_k3_s2_e2.5_nr6", Block("ir", 3, 2, 80, 2.5, 0, "relu6")),
        (
            "ir_r1_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
            Block("ir", (3, 5), 1, 40, 6, 0.5, "swish", expand_groups=2, project_groups=2),
        ),
        ("ds_r1_k3_s1_e1_c16_nre_noskip", Block("ds", 3, 1, 16, skip=False)),
        ("dsa_r1_k3_s2_c64", Block("dsa", 3, 2, 64, activation="hard_swish")),
        ("er_r1_k3_s2_e8_c32_nre", Block("er", 3, 2, 32, 8)),
        (
            "ir_k3_s2_m83_c24_nre_se2-input-d1-sigmoid-own",
            Block("ir", 3, 2, 24, 1, 2, "relu", EFFICIENT_NET, fixed_middle_channels=83),
        ),
        (
            "ir_k3_s1_e6_c24_nsw_se0.25-d4-nhs",
            Block(
                "ir",
                3,
                1,
                24,
                6,
                0.25,
                "swish",
                SqueezeExcite("middle", 4, activation="hard_swish"),
            ),
        ),
    ],
)
def test_reads_published_notation(text, block):
    assert Block.from_string(text, default_activation="hard_swish") == block


def test_strings_of_the_searched_blocks_stay_as_they_are():
    """They are keys of latency tables."""
    assert Block("ir", 5, 2, 24, 3, 0.25).to_string() == "ir_r1_k5_s2_e3_c24_nre_se0.25"
    assert Block("cn", 1, 1, 960, activation="hard_swish").to_string() == "cn_r1_k1_s1_e1_c960_nhs"


def test_default_squeeze_and_excitation_stands_where_there_are_no_flags():
    texts = ("ir_k3_s1_c8_se0.5", "ir_k3_s1_c8_se0.5-sigmoid", "ir_k3_s1_c8", "ir_k3_s1_c8_se0")
    blocks = [blocks_from_string(text, "relu", EFFICIENT_NET)[0] for text in texts]
    default = SqueezeExcite()
    expected = [EFFICIENT_NET, SqueezeExcite(gate="sigmoid"), default, default]
    assert [block.squeeze_excite for block in blocks] == expected


def test_repeats_have_stride_one_after_the_first():
    first, *others = blocks_from_string("ir_r3_k5_s2_e3_c40_se0.25_nre")
    assert first == Block("ir", 5, 2, 40, 3, 0.25, "relu")
    assert others == [Block("ir", 5, 1, 40, 3, 0.25, "relu")] * 2


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 8), (11, 16), (12, 16), (18, 24), (20, 24), (30, 32), (44, 48)]
)
def test_make_divisible(value, expected):
    # 11 rounds to 8, which is below 90% of it; 18 rounds to 16, below 16.2.
    assert make_divisible(value) == expected


def test_make_divisible_keeps_its_promises():
    for value in range(1, 2000):
        rounded = make_divisible(value)
        assert rounded % 8 == 0 and rounded >= 0.9 * value and rounded <= max(8, value + 8)


def test_derived_channels():
    block = Block("ir", 5, 1, 24, 3, 0.25)
    assert block.middle_channels(24) == 72
    assert block.se_channels(24) == 24  # 72 / 4 = 18, as published for hardcorenas_a
    assert block.has_residual(24) and not block.has_residual(16)
    assert not Block("ir", 5, 2, 24, 3).has_residual(24)
    depthwise = Block("ds", 3, 1, 16, se_ratio=0.5)
    assert depthwise.middle_channels(16) == 16 and depthwise.se_channels(16) == 8
    assert depthwise.has_residual(16)
    assert not Block("cn", 1, 1, 16).has_residual(16)
    assert not Block("dsa", 3, 1, 16).has_residual(16)
    assert not Block("ir", 3, 1, 16, skip=False).has_residual(16)
    assert Block("er", 3, 1, 16, 4).has_residual(16)
    fixed = Block("ir", 3, 1, 24, fixed_middle_channels=83)
    assert fixed.middle_channels(16) == 83  # no rounding, as TF-NAS-A has it


@pytest.mark.parametrize(
    ("block", "input_channels", "width"),
    [
        # EfficientNet-B0 and TF-NAS-A, as published; then a half, which rounds to the even 2.
        (Block("ir", 3, 1, 24, 6, 0.25, "swish", EFFICIENT_NET), 24, 6),
        (Block("ir", 3, 2, 24, 1, 2, "relu", EFFICIENT_NET, 83), 16, 32),
        (Block("ir", 3, 1, 24, 6, 0.25, "swish", EFFICIENT_NET), 10, 2),
        (Block("ds", 3, 1, 16, se_ratio=0.01, squeeze_excite=EFFICIENT_NET), 16, 1),
        # MobileNetV3: 72 / 4 to the next multiple of 8, and in the variant without rounding.
        (Block("ir", 5, 1, 40, 3, 0.25), 24, 24),
        (Block("ir", 5, 1, 40, 3, 0.25, "relu", SqueezeExcite(divisor=1)), 24, 18),
    ],
)
def test_width_of_squeeze_and_excitation(block, input_channels, width):
    assert block.se_channels(input_channels) == width


def test_activation_inside_squeeze_and_excitation():
    for inside, expected in (("own", "swish"), ("relu", "relu"), ("hard_swish", "hard_swish")):
        block = Block("ir", 3, 1, 8, 6, 0.25, "swish", SqueezeExcite(activation=inside))
        assert block.se_activation == expected


@pytest.mark.parametrize(
    ("block", "input_channels", "message"),
    [
        (Block("ir", (3, 5, 7), 1, 8, 4), 8, r"k3\.5\.7.* cannot deal \(32,\) channels to 3 equal"),
        (Block("ir", 3, 1, 8, 4, expand_groups=2), 9, r"deal \(9, 40\) channels to 2 equal parts"),
        (Block("ir", 3, 1, 9, 4, project_groups=2), 8, r"deal \(32, 9\) channels to 2 equal parts"),
    ],
)
def test_channels_that_cannot_be_dealt_evenly(block, input_channels, message):
    with pytest.raises(ValueError, match=message):
        block.middle_channels(input_channels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "xx"}, "unknown block kind 'xx'; one of ir, er, ds, dsa, cn"),
        ({"kernel_size": 0}, "kernel size of a ir block should be a positive integer, received 0"),
        ({"kernel_size": 3.0}, "should be a positive integer, received 3.0"),
        ({"kernel_size": 4}, "kernel size should be odd, received 4"),
        ({"channels": True}, "channels of a ir block should be a positive integer, received True"),
        ({"stride": 3}, "stride of a block should be 1 or 2, received 3"),
        ({"expansion_ratio": 0}, "expansion ratio should be above 0, received 0"),
        ({"expansion_ratio": float("nan")}, "expansion ratio should be above 0, received nan"),
        ({"se_ratio": 1.5}, r"ratio should be in \[0, 1\], received 1.5"),
        ({"kind": "ds", "expansion_ratio": 2}, "a ds block has no expansion, received ratio 2"),
        ({"kind": "cn", "se_ratio": 0.25}, "a cn block has no squeeze-and-excitation"),
        ({"activation": "tanh"}, "ir block: unknown activation 'tanh'; one of relu, relu6"),
        ({"kernel_size": (3,)}, r"mixed kernel sizes should be several, received \(3,\)"),
        ({"kernel_size": (3, 4)}, "kernel size should be odd, received 4"),
        ({"kind": "cn", "kernel_size": (3, 5)}, "a cn block has no depthwise, received several"),
        ({"kind": "er", "kernel_size": (3, 5)}, "a er block has no depthwise, received several"),
        ({"fixed_middle_channels": -1}, "fixed middle channels should be an integer >= 0"),
        ({"fixed_middle_channels": 9, "expansion_ratio": 2}, "received both: 2 and 9"),
        ({"kind": "ds", "fixed_middle_channels": 9}, "a ds block has no expansion, received 9 ch"),
        ({"expand_groups": 0}, "groups of the expansion should be a positive integer"),
        ({"project_groups": 0}, "groups of the projection should be a positive integer"),
        ({"kind": "ds", "expand_groups": 2}, "a ds block has no expansion groups, received 2"),
        ({"kind": "cn", "project_groups": 2}, "a cn block has no depthwise, received 2 projection"),
        ({"kind": "dsa", "skip": False}, "a dsa block has no residual, received noskip"),
        ({"squeeze_excite": EFFICIENT_NET}, "without squeeze-and-excitation cannot vary it"),
        ({"squeeze_excite": EFFICIENT_NET, "se_ratio": -1}, "should be a number >= 0, received -1"),
    ],
)
def test_bad_blocks(fields, message):
    good = {"kind": "ir", "kernel_size": 3, "stride": 1, "channels": 8}
    with pytest.raises(ValueError, match=message):
        Block(**(good | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": "output"}, "unknown reference 'output'; one of middle, input"),
        ({"gate": "relu"}, "unknown gate 'relu'; one of hard_sigmoid, sigmoid"),
        ({"divisor": 0}, "divisor of squeeze-and-excitation should be a positive integer"),
        ({"activation": "tanh"}, "squeeze-and-excitation: unknown activation 'tanh'"),
    ],
)
def test_bad_squeeze_and_excitation(fields, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcite(**fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "block string '' lacks k, s, c"),
        ("ir_k3_s1", "'ir_k3_s1' lacks c"),
        ("ir_k3_s1_c8_k5", "cannot read 'k5'; expected fields like"),
        ("ir_k3_s1_c8_nxx", "unknown activation code 'xx'; one of re, r6, hs, sw"),
        ("ir_k3_s1_c8_noskip_noskip", "cannot read 'noskip'"),
        ("ir_k3_s1_c8_m9_e2", "gives both e and m; keep one"),
        ("ir_k3_s1_c8_m0", "middle channels should be a positive integer, received 0"),
        ("ir_k3_s1_c8_a1.3", r"fields a and p should be like 1.1 \(two groups\), received '1.3'"),
        ("ir_k3_s1_c8_se0.5-output", "unknown flag 'output'.* known are middle, input, hard_sig"),
        ("ir_k3_s1_c8_se0.5-d1-d2", "has its divisor twice, in 'd2'"),
        ("ir_k3_s1_c8_se0-sigmoid", "without squeeze-and-excitation cannot vary it"),
        ("ir_k3_s1_c8_x2", "cannot read 'x2'"),
        ("ir_k3.x_s1_c8", "block string 'ir_k3.x_s1_c8': invalid literal"),
        ("ir_r0_k3_s1_c8", "repeats should be a positive integer, received 0"),
        ("ir_k4_s1_c8", "block string 'ir_k4_s1_c8': kernel size should be odd"),
        ("zz_k3_s1_c8", "unknown block kind 'zz'"),
    ],
)
def test_bad_block_strings(text, message):
    with pytest.raises(ValueError, match=message):
        blocks_from_string(text)


def test_one_block_is_not_two():
    with pytest.raises(ValueError, match="repeats its block 2 times, where one block is expected"):
        Block.from_string("ir_r2_k3_s1_c8")
