import dataclasses
from itertools import product

import pytest

from keras_nas.space import Architecture, Block, Head, Stem, pieces

NETWORK = Architecture.from_block_strings(
    [["ds_r1_k3_s1_e1_c16_nre"], ["ir_r2_k5_s2_e3_c24_nre_se0.25"], ["cn_k1_s1_c32"]],
    stem=Stem(32),
    head=Head(64),
)


def test_shapes_follow_same_padding_at_odd_sizes():
    shapes = [piece.input_shape for piece in pieces(NETWORK, (45, 30, 3), 7)]
    assert shapes == [
        (45, 30, 3),
        (23, 15, 32),
        (23, 15, 16),
        (12, 8, 24),
        (12, 8, 24),
        (12, 8, 32),
    ]
    assert pieces(NETWORK, (45, 30, 3), 7)[-1].output_shape == (1, 1, 7)


def test_keys():
    assert [piece.key for piece in pieces(NETWORK, (32, 32, 3), 10)] == [
        "stem_k3_s2_c32_relu@32x32x3",
        "ds_r1_k3_s1_e1_c16_nre@16x16x32",
        "ir_r1_k5_s2_e3_c24_nre_se0.25@16x16x16",
        "ir_r1_k5_s1_e3_c24_nre_se0.25@8x8x24",
        "cn_r1_k1_s1_e1_c32_nre@8x8x24",
        "head_pool-convolution_f64_hard_swish_c10@8x8x32",
    ]


def test_padding_is_part_of_a_key_only_where_it_computes_something_else():
    symmetric = dataclasses.replace(NETWORK, padding="symmetric")
    keys = [
        [piece.key for piece in pieces(network, (34, 34, 3), 10)]
        for network in (NETWORK, symmetric)
    ]
    differ = [i for i, (same, other) in enumerate(zip(*keys, strict=True)) if same != other]
    # The stem has even input, 34; the block with stride 2 odd, 17; all others stride 1.
    assert differ == [0] and keys[1][0] == "stem_k3_s2_c32_relu@34x34x3_symmetric"
    pointwise = Architecture.from_block_strings([["cn_k1_s2_c8"]], padding="symmetric")
    assert "symmetric" not in pieces(pointwise, (32, 32, 3), 2)[1].key


def test_a_head_without_bias_has_another_key():
    head = dataclasses.replace(NETWORK.head, bias=False)
    key = pieces(dataclasses.replace(NETWORK, head=head), (32, 32, 3), 10)[-1].key
    assert key == "head_pool-convolution_f64_hard_swish_c10_no-bias@8x8x32"


def test_different_pieces_have_different_keys():
    stems = [Stem(*fields) for fields in product((8, 16), (3, 5), (1, 2), ("relu", "swish"))]
    fields = product(("ir",), (3, 5), (1, 2), (8,), (3, 4), (0, 1))
    blocks = [Block(*values) for values in fields]
    heads = [Head(*fields) for fields in product((0, 8), ("relu", "swish"), (False, True))]
    stage = (Block("ds", 3, 1, 8),)
    networks = [
        *(Architecture("x", stem, (stage,), heads[0]) for stem in stems),
        *(Architecture("x", stems[0], ((block,),), heads[0]) for block in blocks),
        *(Architecture("x", stems[0], (stage,), head) for head in heads),
    ]
    places = [0] * len(stems) + [1] * len(blocks) + [-1] * len(heads)
    keys = {
        pieces(network, shape, classes)[place].key
        for network, place in zip(networks, places, strict=True)
        for shape, classes in (((16, 16, 3), 5), ((32, 32, 3), 5), ((16, 16, 3), 6))
    }
    # The number of classes tells heads apart, and nothing else.
    assert len(keys) == 2 * len(stems) + 2 * len(blocks) + 3 * len(heads)


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((32, 32), 2, r"should be \(height, width, channels\), received \(32, 32\)"),
        ((32, 32, 0), 2, "every entry of the input shape should be a positive integer, received 0"),
        ((32, 32.0, 3), 2, "every entry of the input shape .* received 32.0"),
        ((32, 32, 3), 0, "number of classes should be a positive integer, received 0"),
    ],
)
def test_bad_input(shape, classes, message):
    with pytest.raises(ValueError, match=message):
        pieces(NETWORK, shape, classes)
