"""Peak activation memory by formula: what LiteRT's arena holds while one image goes through.

LiteRT plans one arena for all tensors that are not weights: a tensor takes its place when it is
computed and frees it after its last use. Networks are chains of pieces, so the arena's size is that
of the network's input, which stays, and of the worst moment inside one piece. Counted are LiteRT's
own kernels for float32: a full convolution larger than 1x1 unfolds its input first (im2col), the
residual sum and products with a gate of equal size are written in place. Where tensors of very
different size follow one another the planner leaves gaps: up to a few percent more.

It is a maximum, not a sum: a limit on it forbids configurations of single blocks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from keras_nas.space import Architecture, Block, Head, Piece, Stem, pieces

_FLOAT_BYTES = 4
ELEMENT_BYTES = {"float32": 4, "float16": 4, "int8": 1}
"""Bytes of a number of an activation, by the precision of the weights."""
_SEPARATE = {"relu": 0, "relu6": 0, "hard_swish": 1, "swish": 2}
"""Operations that an activation adds: none where a convolution does it, else x -> f(x), and for
swish the sigmoid before the product."""


@dataclasses.dataclass
class _Tape:
    """The tensors of a piece in the order of its operations, in elements.

    Attributes:
      live: elements that later operations still need, apart from the newest tensor's.
      newest: elements of the newest tensor.
      peak: most elements that were held at once.
    """

    newest: int
    live: int = 0
    peak: int = 0

    def compute(self, elements: int, scratch: int = 0) -> None:
        """An operation that reads the newest tensor for the last time."""
        self.peak = max(self.peak, self.live + self.newest + elements + scratch)
        self.newest = elements

    def activate(self, name: str) -> None:
        """An activation, as far as it is an operation of its own."""
        if _SEPARATE[name]:
            self.compute(self.newest)  # swish multiplies in place


def piece_peak_bytes(piece: Piece, precision: str = "float32") -> int:
    """Most bytes that LiteRT's arena holds while a piece runs, without the network's input.

    Args:
      piece: run on one image.
      precision: `float32`, `float16` or `int8`.
    """
    height, width, channels = piece.input_shape
    tape = _Tape(height * width * channels)
    if isinstance(piece.part, Head):
        _run_head(tape, piece, piece.part)
    elif isinstance(piece.part, Stem):
        # The network's input is counted once for all pieces; int8 reads a copy of it.
        tape.newest = tape.newest if precision == "int8" else 0
        _convolve(tape, piece, piece.part.kernel_size, piece.part.channels, piece.part.activation)
    else:
        _run_block(tape, piece, piece.part)
    return ELEMENT_BYTES[precision] * tape.peak


def input_bytes(input_shape: Sequence[int]) -> int:
    """Bytes of one float32 image of (height, width, channels)."""
    return _FLOAT_BYTES * math.prod(input_shape)


def peak_memory_bytes(
    architecture: Architecture,
    input_shape: Sequence[int],
    classes: int = 1000,
    precision: str = "float32",
) -> int:
    """Size of LiteRT's arena for a network and one image, as far as the planner leaves no gaps."""
    parts = pieces(architecture, input_shape, classes)
    return input_bytes(input_shape) + max(piece_peak_bytes(part, precision) for part in parts)


def _pixels(piece: Piece) -> tuple[int, int]:
    """Pixels of the input and of the output."""
    (height, width, _), (output_height, output_width, _) = piece.input_shape, piece.output_shape
    return height * width, output_height * output_width


def _pad(tape: _Tape, piece: Piece, kernel_size: int, channels: int) -> None:
    """Symmetric padding is an operation of its own."""
    if piece.padding == "symmetric" and kernel_size > 1:
        tape.compute(_padded_pixels(piece, kernel_size) * channels)


def _padded_pixels(piece: Piece, kernel_size: int) -> int:
    height, width, _ = piece.input_shape
    margin = 2 * (kernel_size // 2)
    return (height + margin) * (width + margin)


def _convolve(tape: _Tape, piece: Piece, kernel_size: int, channels: int, activation: str) -> None:
    """A full convolution of the piece's input."""
    _, pixels = _pixels(piece)
    input_channels = piece.input_shape[2]
    _pad(tape, piece, kernel_size, input_channels)
    is_plain = kernel_size == 1 and piece.input_shape[:2] == piece.output_shape[:2]
    scratch = 0 if is_plain else pixels * kernel_size**2 * input_channels
    tape.compute(pixels * channels, scratch)
    tape.activate(activation)


def _run_block(tape: _Tape, piece: Piece, block: Block) -> None:
    input_channels = piece.input_shape[2]
    input_pixels, pixels = _pixels(piece)
    if block.kind == "cn":
        _convolve(tape, piece, block.kernel_sizes[0], block.channels, block.activation)
        return
    middle = block.middle_channels(input_channels)
    residual = tape.newest if block.has_residual(input_channels) else 0
    if block.has_expansion:
        # The input is the newest tensor of the first operation and held beside the others.
        if block.kind == "er":
            _convolve(tape, piece, block.kernel_sizes[0], middle, "relu")
        else:
            tape.compute(input_pixels * middle)
        tape.live = residual
        tape.activate(block.activation)
    if block.has_depthwise:
        _depthwise(tape, piece, block, middle)
        tape.live = residual
        tape.activate(block.activation)
    if squeezed := block.se_channels(input_channels):
        # Pooled vector, squeezed units and gates are held beside the tensor that they scale.
        tape.peak = max(tape.peak, tape.live + tape.newest + 2 * middle + squeezed)
        tape.compute(pixels * middle, scratch=middle)
    tape.compute(pixels * block.channels)
    if block.kind == "dsa":
        tape.activate(block.activation)


def _depthwise(tape: _Tape, piece: Piece, block: Block, middle: int) -> None:
    """A depthwise convolution; mixed kernels cut their input, filter each part, and join them."""
    _, pixels = _pixels(piece)
    if len(block.kernel_sizes) == 1:
        _pad(tape, piece, block.kernel_sizes[0], middle)
        tape.compute(pixels * middle)
        return
    whole, kept = tape.newest, tape.live
    share = middle // len(block.kernel_sizes)
    for number, kernel_size in enumerate(block.kernel_sizes):
        tape.live, tape.newest = kept + whole + number * pixels * share, 0
        tape.compute(whole // len(block.kernel_sizes))
        _pad(tape, piece, kernel_size, share)
        tape.compute(pixels * share)
    tape.live, tape.newest = kept, pixels * middle
    tape.compute(pixels * middle)


def _run_head(tape: _Tape, piece: Piece, head: Head) -> None:
    height, width, channels = piece.input_shape
    if head.features and head.before_pooling:
        tape.compute(height * width * head.features)
        tape.activate(head.activation)
    tape.compute(head.features if head.before_pooling and head.features else channels)
    if head.features and not head.before_pooling:
        tape.compute(head.features)
        tape.activate(head.activation)
    tape.compute(piece.output_shape[2])
