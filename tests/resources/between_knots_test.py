"""Entries between two measured widths of the same block."""

import pytest

from keras_nas.resources.between_knots import between_knots
from keras_nas.space import Block, Head, Piece
from keras_nas.space.squeeze_excite import EFFICIENT_NET


def block(width, kernel_size=3, channels=24, side=16, **fields):
    part = Block("ir", kernel_size, 1, channels, fixed_middle_channels=width, **fields)
    return Piece(part, (side, side, 24), (side, side, channels))


GATED = {"se_ratio": 1.0, "squeeze_excite": EFFICIENT_NET, "activation": "swish"}
ENTRIES = {
    piece.key: entry
    for piece, entry in (
        (block(48), 1.0),
        (block(96), 5.0),  # out of order
        (block(64), 2.0),
        (block(80, kernel_size=5), 100.0),
        (block(80, channels=40), 100.0),
        (block(80, side=8), 100.0),
        (block(48, **GATED), 10.0),
        (block(64, **GATED), 26.0),
        (Piece(Block("ir", 3, 1, 24, expansion_ratio=3), (16, 16, 24), (16, 16, 24)), 100.0),
    )
}


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (block(56), 1.5),
        (block(63), 1.9375),
        (block(80), 3.5),
        (block(50, **GATED), 12.0),
        (block(40), None),
        (block(97), None),
        (block(90, kernel_size=5), None),
        (block(50, kernel_size=7), None),
        (Piece(Block("ir", 3, 1, 24, expansion_ratio=2), (16, 16, 24), (16, 16, 24)), None),
        (Piece(Head(16), (1, 1, 24), (1, 1, 10)), None),
    ],
)
def test_linear_between_two_widths_of_the_same_block(piece, expected):
    found = between_knots(ENTRIES, piece)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("width", "step", "expected"),
    [
        (49, 1, 1.0 + 1 / 16),
        (49, 16, 2.0),  # as 64
        (64, 16, 2.0),
        (65, 16, 3.5),  # as 80
        (81, 32, 5.0),  # as 96
        (65, 8, 2.75),  # as 72
        (90, 64, 5.0),  # as 128, beyond the largest width: as that
    ],
)
def test_stairs(width, step, expected):
    assert between_knots(ENTRIES, block(width), step) == pytest.approx(expected)
