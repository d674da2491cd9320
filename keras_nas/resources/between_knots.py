"""Latency of a block whose width lies between two that were measured: linear in the width."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from keras_nas.space import Block, Piece


def between_knots(entries: Mapping[str, float], piece: Piece) -> float | None:
    """A piece's entry, from those of the same block with fewer and with more middle channels.

    Args:
      entries: key of a piece -> its entry.
      piece: that has no entry of its own.

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
    return float(np.interp(part.fixed_middle_channels, widths, values))
