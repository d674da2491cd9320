"""A network taken apart: the pieces that are built, counted and measured one by one.

A piece is the stem, one block, or the head, together with its input shape. Its key is what a
latency table is indexed by: two pieces with the same key are the same computation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_nas.space.architecture import Architecture, Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.values import positive_integer

Shape = tuple[int, int, int]
"""Height, width, channels."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """One piece of a network.

    Attributes:
      part: the `Stem`, `Block` or `Head`.
      input_shape, output_shape: height, width, channels; a head's output is (1, 1, classes).
      padding: `symmetric` only where that is another computation than `same`.
    """

    part: Stem | Block | Head
    input_shape: Shape
    output_shape: Shape
    padding: str = "same"

    @property
    def key(self) -> str:
        """Unique name of the computation, e.g. `ir_r1_k5_s2_e3_c24_nre@112x112x16`."""
        part = self.part
        if isinstance(part, Block):
            text = part.to_string()
        elif isinstance(part, Stem):
            text = f"stem_k{part.kernel_size}_s{part.stride}_c{part.channels}_{part.activation}"
        else:
            order = "convolution-pool" if part.before_pooling else "pool-convolution"
            text = f"head_{order}_f{part.features}_{part.activation}_c{self.output_shape[2]}"
            text += "" if part.bias else "_no-bias"
        padding = "" if self.padding == "same" else f"_{self.padding}"
        return f"{text}@{'x'.join(map(str, self.input_shape))}{padding}"


def check_input_shape(input_shape: Sequence[int]) -> Shape:
    """Returns (height, width, channels) as a tuple.

    Raises:
      ValueError: it is not three positive integers.
    """
    shape = tuple(input_shape)
    if len(shape) != 3:
        raise ValueError(
            f"input shape should be (height, width, channels), received {input_shape!r}."
        )
    for size in shape:
        positive_integer(size, "every entry of the input shape")
    return shape


def piece_after(shape: Shape, part: Stem | Block, padding: str = "same") -> Piece:
    """The piece that `part` makes on an input of `shape`; either padding rounds sizes up."""
    height, width, _ = shape
    output = (-(-height // part.stride), -(-width // part.stride), part.channels)
    # At stride 1, with kernel 1, and on odd sizes both paddings are the same on every side.
    even = height % 2 == 0 or width % 2 == 0
    differs = part.stride == 2 and max(part.kernel_sizes) > 1 and even
    return Piece(part, shape, output, padding if differs else "same")


def pieces(architecture: Architecture, input_shape: Sequence[int], classes: int) -> list[Piece]:
    """The pieces of a network in order: stem, blocks, head.

    Raises:
      ValueError: bad input shape or number of classes.
    """
    positive_integer(classes, "number of classes")
    shape = check_input_shape(input_shape)
    result: list[Piece] = []
    parts: list[Stem | Block] = [architecture.stem, *architecture.blocks()]
    for part in parts:
        result.append(piece_after(shape, part, architecture.padding))
        shape = result[-1].output_shape
    result.append(Piece(architecture.head, shape, (1, 1, classes)))
    return result
