"""What a runtime makes of a model's operations, matched with the pieces they belong to."""

import pytest

from keras_nas.devices import DeviceError, HostDevice
from keras_nas.devices.operations import Operation, pieces_of_operations
from keras_nas.export import convert_frozen, operations_of_parts, stitch
from keras_nas.models import build_piece
from keras_nas.space import pieces


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_what_this_machine_ran_is_matched(space, tmp_path, precision):
    found = pieces(space.heaviest(), space.input_shape, 3)
    parts = [convert_frozen(build_piece(piece), precision) for piece in found]
    path = tmp_path / "network.tflite"
    path.write_bytes(stitch(parts))
    profile = HostDevice().profile({"a": path}, path, rounds=1, seed=0, on_round=lambda done: None)
    ran, kinds = profile.operations["a"], operations_of_parts(parts)
    model = [Operation(kind, number) for number, row in enumerate(kinds) for kind in row]
    owners = pieces_of_operations(model, ran)
    assert len(owners) == len(ran) and owners == sorted(owners) and set(owners) == set(range(4))
    # Every block has three convolutions, two of them dense layers to XNNPACK, and two gates.
    for piece in (1, 2):
        names = [kind for kind, owner in zip(ran, owners, strict=True) if owner == piece]
        assert sum(name.startswith(("Convolution", "Fully Connected")) for name in names) == 5


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


def test_pieces_of_one_operation():
    model = [Operation("CONV_2D", n) for n in range(3)]
    assert pieces_of_operations(model, [DEPTHWISE, POINTWISE, POINTWISE]) == [0, 1, 2]
