"""Free widths of a search space: their bounds, and what every width has to keep."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.space.squeeze_excite import SqueezeExcite
from keras_nas.space.staged_space import StagedSpace
from keras_nas.space.tf_nas_block import TFNASOperation

Widths: TypeAlias = NDArray[np.int64]
"""[B, O] channels of the depthwise convolution of operation o in block b."""


class FreeWidthSpace(StagedSpace):
    """A space whose blocks take one of O operations, in a free width.

    Subclasses are frozen dataclasses with these fields, besides those of `StagedSpace`.

    Attributes:
      operations: the O candidates of every block, with the bounds of their widths.
      squeeze_excite: what squeeze-and-excitation is like; operations say how wide it is.
      width_divisor: of all widths.
    """

    operations: tuple[TFNASOperation, ...]
    squeeze_excite: SqueezeExcite
    width_divisor: int

    def smallest_widths(self) -> Widths:
        """Lower bounds of all widths, [B, O]."""
        unit = self.width_divisor
        return unit * self._table(lambda o, channels: math.ceil(o.expansion_low * channels / unit))

    def initial_widths(self) -> Widths:
        """What a search starts with, [B, O]."""
        unit = self.width_divisor
        middle = unit * self._table(lambda o, channels: round(o.expansion_ratio * channels / unit))
        return np.clip(middle, *self._bounds)

    def largest_widths(self) -> Widths:
        """Upper bounds of all widths, [B, O]."""
        unit = self.width_divisor
        return unit * self._table(
            lambda o, channels: math.floor(o.expansion_high * channels / unit)
        )

    def se_widths(self) -> Widths:
        """Channels of the squeeze-and-excitation bottleneck, [B, O]; 0 where there is none."""
        width = self.squeeze_excite.width
        return self._table(lambda o, channels: width(o.se, channels, 0) if o.se else 0)

    @functools.cached_property
    def _bounds(self) -> tuple[Widths, Widths]:
        return self.smallest_widths(), self.largest_widths()

    def _table(self, value: Callable[[TFNASOperation, int], int]) -> Widths:
        """[B, O] of what an operation and a block's input channels give."""
        channels = [shape[2] for shape in self.block_input_shapes]
        return np.array([[value(o, c) for o in self.operations] for c in channels], np.int64)

    def check_widths(self, widths: ArrayLike) -> Widths:
        """The widths as an int64 array [B, O].

        Raises:
          ValueError: another shape, no integers, or a width outside its bounds or that the divisor
            does not divide, which is named.
        """
        array = np.asarray(widths)
        low, high = self._bounds
        if array.shape != low.shape or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"widths of space {self.name!r} should be integers of shape {low.shape} (blocks, "
                f"operations), received {array.dtype} of shape {array.shape}."
            )
        unit = self.width_divisor
        multiple = f", a multiple of {unit}" if unit > 1 else ""
        for b, o in np.argwhere((array < low) | (array > high) | (array % unit > 0)):
            raise ValueError(
                f"width of operation {self.operations[o].name} in block {b} should be {low[b, o]} "
                f"to {high[b, o]}{multiple}, received {array[b, o]}."
            )
        return array.astype(np.int64)
