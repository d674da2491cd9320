import dataclasses
import json

import pytest

from keras_nas.space import HARDCORE_NAS, Architecture, BatchNorm, Block, Head, Stem
from keras_nas.space.squeeze_excite import EFFICIENT_NET

NETWORK = Architecture(
    name="an example",
    stem=Stem(24, 5, 1, "swish"),
    stages=((Block("ds", 3, 1, 16),), (Block("ir", 5, 2, 24, 3, 0.25), Block("ir", 3, 1, 24, 4))),
    head=Head(features=0, activation="relu", before_pooling=True, dropout_rate=0.2),
    batch_norm=BatchNorm(0.99, 1e-3),
)


def changed(**fields):
    return json.dumps(json.loads(NETWORK.to_json()) | fields)


def test_json_round_trip():
    varied = dataclasses.replace(
        NETWORK,
        stages=(*NETWORK.stages, (Block("ir", (3, 5), 1, 24, 3, 0.5, "swish", EFFICIENT_NET),)),
        head=Head(64, bias=False),
        padding="symmetric",
    )
    for network in (NETWORK, varied, *(HARDCORE_NAS.random(seed) for seed in range(20))):
        assert Architecture.from_json(network.to_json()) == network


def test_json_from_before_padding_and_bias_is_read_and_still_written():
    value = json.loads(NETWORK.to_json())
    assert set(value) == {"format", "version", "name", "stem", "stages", "head", "batch_norm"}
    assert set(value["head"]) == {"features", "activation", "before_pooling", "dropout_rate"}
    assert NETWORK.padding == "same" and NETWORK.head.bias
    # The fingerprint that latency tables and searches of this space carry.
    assert HARDCORE_NAS.fingerprint() == "0e500b92f97252a5"


def test_block_strings_round_trip_and_unroll():
    assert NETWORK.to_block_strings() == [
        ["ds_r1_k3_s1_e1_c16_nre"],
        ["ir_r1_k5_s2_e3_c24_nre_se0.25", "ir_r1_k3_s1_e4_c24_nre"],
    ]
    network = Architecture.from_block_strings([["ir_r2_k3_s2_e6_c8"]], default_activation="swish")
    assert network.stages == (
        (Block("ir", 3, 2, 8, 6, activation="swish"), Block("ir", 3, 1, 8, 6, activation="swish")),
    )
    assert (network.stem, network.head, network.batch_norm) == (Stem(), Head(), BatchNorm())


def test_blocks_in_order():
    assert list(NETWORK.blocks()) == [NETWORK.stages[0][0], *NETWORK.stages[1]]


@pytest.mark.parametrize("stages", [(), ((),), ((Block("ds", 3, 1, 8),), ())])
def test_stages_need_blocks(stages):
    with pytest.raises(ValueError, match="'an example' needs at least one block in every stage"):
        dataclasses.replace(NETWORK, stages=stages)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stem(channels=0), "stem channels should be a positive integer, received 0"),
        (lambda: Stem(kernel_size=-1), "stem kernel size should be a positive integer"),
        (lambda: Stem(stride=4), "stem stride should be 1 or 2, received 4"),
        (lambda: Stem(activation="x"), "stem: unknown activation 'x'"),
        (lambda: Head(features=-1), "head features should be an integer >= 0, received -1"),
        (lambda: Head(features=1.5), "head features should be an integer >= 0, received 1.5"),
        (lambda: Head(dropout_rate=1), r"head dropout should be in \[0, 1\), received 1"),
        (lambda: Head(activation="x"), "head: unknown activation 'x'"),
        (lambda: Head(before_pooling=True, bias=False), "bias=False belongs to a head after pool"),
        (
            lambda: dataclasses.replace(NETWORK, padding="full"),
            "unknown padding 'full'; one of same",
        ),
        (lambda: BatchNorm(momentum=1), "momentum in .* received 1 and 1e-05"),
        (lambda: BatchNorm(epsilon=0), "epsilon above 0, received 0.9 and 0"),
    ],
)
def test_bad_parts(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NETWORK.to_json()[:-30], "a.json is damaged or truncated: .* Delete it and make it anew"),
        ("[]", "a.json should have format 'keras_nas.architecture', received 'list'"),
        (changed(format="else"), "should have format .* received 'else'"),
        (changed(version=99), "has version 99 of keras_nas.architecture; this program reads"),
        (changed(extra=1), "a.json should have the fields .* received .*extra"),
        (
            json.dumps({k: v for k, v in json.loads(NETWORK.to_json()).items() if k != "stem"}),
            "should have the fields .*stem.*, received batch_norm, format, head, name, stages, ver",
        ),
        (changed(stem={"stride": 3}), "not a valid architecture: stem stride should be 1 or 2"),
        (changed(stem={"width": 3}), "not a valid architecture: .*width"),
        (changed(head=None), "not a valid architecture: .*Head"),
        (changed(stages=3), "not a valid architecture: "),
        (changed(stages=[[3]]), "not a valid architecture: "),
        (changed(stages=[["ir"]]), "not a valid architecture: block string 'ir' lacks k, s, c"),
        (changed(padding="full"), "not a valid architecture: .*unknown padding 'full'"),
        (changed(stages=[]), "not a valid architecture: .* needs at least one block"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ValueError, match=message):
        Architecture.from_json(text, "a.json")
