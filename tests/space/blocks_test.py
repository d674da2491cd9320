import itertools

import pytest

from keras_nas.space import Block, make_divisible
from keras_nas.space.blocks import ACTIVATIONS, blocks_from_string


def many_blocks():
    values = itertools.product(
        (1, 3, 5, 7), (1, 2), (8, 24), (0.5, 1, 3, 4.5, 6, 1 / 3), (0, 0.25, 0.1, 1), ACTIVATIONS
    )
    for kernel, stride, channels, expansion, se, activation in values:
        yield Block("ir", kernel, stride, channels, expansion, se, activation)
    for kernel, stride, activation in itertools.product((1, 3), (1, 2), ACTIVATIONS):
        yield Block("cn", kernel, stride, 16, activation=activation)
        yield Block("ds", kernel, stride, 16, se_ratio=0.25, activation=activation)


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
    ],
)
def test_reads_published_notation(text, block):
    assert Block.from_string(text, default_activation="hard_swish") == block


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "xx"}, "unknown block kind 'xx'; one of ir, ds, cn"),
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
    ],
)
def test_bad_blocks(fields, message):
    good = {"kind": "ir", "kernel_size": 3, "stride": 1, "channels": 8}
    with pytest.raises(ValueError, match=message):
        Block(**(good | fields))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "block string '' lacks k, s, c"),
        ("ir_k3_s1", "'ir_k3_s1' lacks c"),
        ("ir_k3_s1_c8_k5", "cannot read 'k5'; expected fields like"),
        ("ir_k3_s1_c8_noskip", "unknown activation code 'oskip'; one of re, r6, hs, sw"),
        ("ir_k3_s1_c8_x2", "cannot read 'x2'"),
        ("ir_k3.5_s1_c8", "block string 'ir_k3.5_s1_c8': invalid literal"),
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
