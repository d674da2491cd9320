"""Operations to pieces: on a real converted network, and on what a runtime makes of it."""

import dataclasses

import pytest

from keras_nas.devices import DeviceError, HostDevice
from keras_nas.devices.operations import (
    ANCHORS,
    Operation,
    model_operations,
    pieces_of_operations,
)
from keras_nas.export import convert_frozen
from keras_nas.models import build_network
from keras_nas.models.network import piece_names
from keras_nas.space import Block, pieces

CLASSES = 3
FIRST = ["CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", "HARD_SWISH"]
EXCITE = ["MEAN", "FULLY_CONNECTED", "FULLY_CONNECTED", "MUL", "MUL"]
HEAD = ["MEAN", "FULLY_CONNECTED", "HARD_SWISH", "FULLY_CONNECTED"]


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def converted(request):
    from tests.devices.conftest import space as fixture

    space = fixture.__wrapped__()
    network = space.heaviest()
    model = build_network(network, space.input_shape, CLASSES)
    return (
        network,
        pieces(network, space.input_shape, CLASSES),
        convert_frozen(model, request.param),
    )


def operations_of(converted, parts=None):
    network, found, tflite = converted
    return model_operations(
        tflite, piece_names(network), [part.output_shape for part in parts or found]
    )


def test_each_operation_of_a_real_network(converted):
    kinds = {}
    for operation in operations_of(converted):
        kinds.setdefault(operation.piece, []).append(operation.kind)
    expected = [
        ["CONV_2D"],
        [*FIRST, *EXCITE, "CONV_2D"],
        [*FIRST, *EXCITE, "CONV_2D", "ADD"],
        HEAD,
    ]
    if "QUANTIZE" in kinds[0]:  # int8: hard-swish is several operations, which may be folded
        anchors = [[kind for kind in row if kind in ANCHORS] for row in expected]
        assert [[kind for kind in kinds[n] if kind in ANCHORS] for n in range(4)] == anchors
        assert kinds[0] == ["QUANTIZE", "CONV_2D"] and kinds[3][-1] == "DEQUANTIZE"
    else:
        assert [kinds[n] for n in range(4)] == expected


def test_what_this_machine_ran_is_matched(converted, tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(converted[2])
    profile = HostDevice().profile({"a": path}, path, rounds=1, seed=0, on_round=lambda done: None)
    ran = profile.operations["a"]
    owners = pieces_of_operations(operations_of(converted), ran)
    assert len(owners) == len(ran) and owners == sorted(owners) and set(owners) == set(range(4))
    # Every block has its three convolutions, two of them dense layers to XNNPACK, and two gates.
    for piece in (1, 2):
        names = [kind for kind, owner in zip(ran, owners, strict=True) if owner == piece]
        assert sum(name.startswith(("Convolution", "Fully Connected")) for name in names) == 5


def test_pieces_that_cannot_be_told_apart(converted):
    network, parts, tflite = converted
    shapes = [part.output_shape for part in parts]
    with pytest.raises(ValueError, match="'stage1_block0' ends in nothing"):
        model_operations(tflite, [*piece_names(network), "stage1_block0"], [*shapes, (1, 1, 1)])
    wider = [dataclasses.replace(part, output_shape=(4, 4, 99)) for part in parts]
    with pytest.raises(ValueError, match=r"'stem' ends in \[1, 4, 4, 8\], expected .* 4x4x99"):
        operations_of(converted, wider)
    names = ["stem", "stage0_block1", "stage0_block0", "head"]
    with pytest.raises(ValueError, match="cannot be told to belong to 'stem' or the piece after"):
        model_operations(tflite, names, shapes)


def block(piece):
    kinds = ("CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD")
    return [Operation(kind, piece) for kind in kinds]


MODEL = [*block(0), *block(1)]
POINTWISE, DEPTHWISE = "Fully Connected (NC, F32) GEMM", "Convolution (NHWC, F32) DWConv"
BLOCK = [POINTWISE, "HardSwish (NC)", DEPTHWISE, POINTWISE, "Add (ND)"]


@pytest.mark.parametrize(
    ("ran", "owners"),
    [
        ([*BLOCK, *BLOCK], [0] * 5 + [1] * 5),
        # Names as benchmark_model prints them, and what XNNPACK did not take.
        ([f"Delegate/{kind}" for kind in BLOCK] + BLOCK, [0] * 5 + [1] * 5),
        (["CONV_2D", "HARD_SWISH", *BLOCK[2:], *BLOCK], [0] * 5 + [1] * 5),
        # An activation split in two; one fused away; reshapes in front of dense layers.
        ([*BLOCK[:1], "Add", "Clamp", *BLOCK[2:], *BLOCK], [0] * 6 + [1] * 5),
        ([*BLOCK[:1], *BLOCK[2:], *BLOCK], [0] * 4 + [1] * 5),
        (["Static Reshape", *BLOCK, *BLOCK], [0] * 6 + [1] * 5),
        ([*BLOCK[:3], "Static Reshape", *BLOCK[3:], *BLOCK], [0] * 6 + [1] * 5),
        ([*BLOCK, *BLOCK[:4], "Add", "Clamp"], [0] * 5 + [1] * 6),
    ],
)
def test_fused_split_and_inserted_operations(ran, owners):
    assert pieces_of_operations(MODEL, ran) == owners


@pytest.mark.parametrize(
    ("ran", "named"),
    [
        (
            [*BLOCK, *BLOCK, POINTWISE],
            "ran 7 convolutions, dense layers and means, the model has 6",
        ),
        (BLOCK, "ran 3 convolutions"),
        (
            [DEPTHWISE, "HardSwish", POINTWISE, *BLOCK[3:], *BLOCK],
            "operation 2 is 'Fully Connected .*', where the model has DEPTHWISE_CONV_2D",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused(ran, named):
    with pytest.raises(DeviceError, match=named):
        pieces_of_operations(MODEL, ran)


def test_unequal_counts_across_two_pieces_are_refused():
    model = [*block(0), Operation("ADD", 1), *block(1)]
    assert pieces_of_operations(model, [*BLOCK, "Add", *BLOCK])[5] == 1
    with pytest.raises(DeviceError, match="ran 3 operations where the model has 2, of different"):
        pieces_of_operations(model, [*BLOCK, "Add", "Clamp", *BLOCK])


def test_blocks_without_residual_and_plain_convolutions(converted):
    """A piece of one operation is a piece as well."""
    assert Block("cn", 1, 1, 8).has_residual(8) is False
    model = [Operation("CONV_2D", 0), Operation("CONV_2D", 1), Operation("CONV_2D", 2)]
    assert pieces_of_operations(model, [DEPTHWISE, POINTWISE, POINTWISE]) == [0, 1, 2]
