"""Latency of a block whose width lies between two that were measured: linear, or in stairs.

A runtime computes channels in groups, and takes as long for a part of a group as for all of it. So
a width costs what the next multiple of the group's size costs, and that lies on the line through
the measured widths.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keras_nas.space import Block, Piece

Floats = Sequence[float] | NDArray[np.float64]


def between_knots(entries: Mapping[str, float], piece: Piece, width_step: int = 1) -> float | None:
    """A piece's entry, from those of the same block with fewer and with more middle channels.

    Args:
      entries: key of a piece -> its entry.
      piece: that has no entry of its own.
      width_step: channels that are computed together.

    Returns:
      None where the piece is no block with fixed middle channels, or its width is not between two
      that have entries.
    """
    part = piece.part
    if not isinstance(part, Block) or not part.fixed_middle_channels:
        return None
    one = dataclasses.replace(part, fixed_middle_channels=1)
    before, after = dataclasses.replace(piece, part=one).key.split("_m1_")
    same = re.compile(rf"{re.escape(before)}_m(\d+)_{re.escape(after)}")
    matches = ((same.fullmatch(key), value) for key, value in entries.items())
    knots = sorted((int(match[1]), value) for match, value in matches if match)
    if not knots or not knots[0][0] < part.fixed_middle_channels < knots[-1][0]:
        return None
    widths, values = zip(*knots, strict=True)
    return in_stairs(part.fixed_middle_channels, widths, values, width_step)


def in_stairs(width: float, knots: Floats, values: Floats, width_step: int) -> float:
    """Value at a width between the first and the last knot."""
    # Without groups widths are continuous, as the search's are.
    end = width if width_step == 1 else -(-width // width_step) * width_step
    # A knot inside the same group was measured: it costs what the whole group does.
    following = knots[int(np.searchsorted(knots, width))]
    return float(np.interp(min(end, following), knots, values))
