"""Size of a `.tflite` file by formula: an upper bound, and a close one.

A file holds the numbers of the weights, and for every tensor a description: shape, quantization,
name, and the operation that makes it. The numbers are counted exactly: batch norm is folded into
the convolution before it, which leaves a kernel and a bias a channel. Descriptions are bounded by a
constant, since names are as long as names are: the formula is some tenths of a percent above the
files of networks of some megabytes, and a few percent above those of 200 kB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_nas.resources.counts import kernel_weights
from keras_nas.space import Architecture, Block, Head, Piece, Stem, pieces

FILE_PRECISIONS = ("float32", "float16", "int8")

FILE_BYTES = 1500
"""What a file holds beside its pieces: header, signature, names of the operations."""

_TENSOR_BYTES = {"float32": 112, "float16": 112, "int8": 135}
"""Most that a tensor's description takes, with its name and the operation that makes it."""
_ACTIVATION_TENSORS = {
    "float32": {"relu": 0, "relu6": 0, "hard_swish": 1, "swish": 2},
    "int8": {"relu": 0, "relu6": 0, "hard_swish": 5, "swish": 2},
}
"""Tensors that an activation adds; hard-swish is written out in int8, see `export.convert`."""


def piece_tflite_bytes(precision: str) -> Callable[[Piece], float]:
    """The bytes that a piece adds to a file, as a function of the piece.

    Args:
      precision: one of `FILE_PRECISIONS`.
    """

    def count(piece: Piece) -> float:
        layers = _layers(piece)
        weights, channels = (sum(column) for column in zip(*layers, strict=True))
        tensor = _TENSOR_BYTES[precision]
        others = tensor * _other_tensors(piece, precision)
        if precision == "float32":
            return 4 * (weights + channels) + 3 * tensor * len(layers) + others
        if precision == "float16":  # kernel and bias are converted back by operations of their own
            return 2 * (weights + channels) + 5 * tensor * len(layers) + others
        # Each channel of a kernel and of its bias has a scale (4 bytes) and a zero point (8).
        return weights + (4 + 2 * 12) * channels + 3 * tensor * len(layers) + others

    return count


def tflite_bytes(
    architecture: Architecture,
    input_shape: Sequence[int],
    classes: int = 1000,
    precision: str = "float32",
) -> float:
    """Upper bound of the size of an architecture's `.tflite` file; precision as above."""
    count = piece_tflite_bytes(precision)
    return FILE_BYTES + sum(map(count, pieces(architecture, input_shape, classes)))


def _layers(piece: Piece) -> list[tuple[int, int]]:
    """Numbers in the kernel of every convolution and dense layer, and its output channels."""
    part, input_channels = piece.part, piece.input_shape[2]
    if isinstance(part, Head):
        classes, features = piece.output_shape[2], part.features or input_channels
        hidden = [(input_channels * features, features)] if part.features else []
        return [*hidden, (features * classes, classes)]
    if isinstance(part, Stem):
        return [(part.kernel_size**2 * input_channels * part.channels, part.channels)]
    expand, depthwise, project = kernel_weights(part, input_channels)
    middle, squeezed = part.middle_channels(input_channels), part.se_channels(input_channels)
    layers = [(expand, middle)] if part.has_expansion else []
    if part.has_depthwise:
        parts = len(part.kernel_sizes)
        layers += [(depthwise // parts, middle // parts)] * parts
    if squeezed:
        layers += [(middle * squeezed, squeezed), (squeezed * middle, middle)]
    return [*layers, (project, part.channels)]


def _other_tensors(piece: Piece, precision: str) -> int:
    """Tensors that are not kernel, bias or output of a layer, or a few more."""
    part = piece.part
    added = _ACTIVATION_TENSORS["int8" if precision == "int8" else "float32"][part.activation]
    if not isinstance(part, Block):
        return 4 + added
    # Squeeze-and-excitation: pooling, its axes, reshaping, its shape, gate, product. Mixed kernels:
    # slices with their constants and padding, and their union.
    mixed = 8 * len(part.kernel_sizes) if len(part.kernel_sizes) > 1 else 0
    return 2 * added + 2 + mixed + (8 if part.se_ratio else 0)
