"""MACs and parameters by formula.

MACs are multiply-accumulates of convolutions and dense layers for one image; biases, batch norm,
activations and pooling do not count. Parameters are the trainable ones: weights, biases, batch
norm's scale and offset.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.space import Architecture, Block, Head, Piece, Stem, pieces


def piece_macs(piece: Piece) -> int:
    """MACs of one piece."""
    part = piece.part
    input_channels = piece.input_shape[2]
    input_pixels = piece.input_shape[0] * piece.input_shape[1]
    output_pixels = piece.output_shape[0] * piece.output_shape[1]
    if isinstance(part, Head):
        features = part.features or input_channels
        feature_pixels = input_pixels if part.before_pooling else 1
        hidden = input_channels * part.features * feature_pixels
        return hidden + features * piece.output_shape[2]
    area = part.kernel_size**2
    if isinstance(part, Stem) or part.kind == "cn":
        return output_pixels * area * input_channels * part.channels
    middle = part.middle_channels(input_channels)
    expand = input_pixels * input_channels * middle if part.kind == "ir" else 0
    depthwise = output_pixels * area * middle
    squeeze_excite = 2 * middle * part.se_channels(input_channels)
    return expand + depthwise + squeeze_excite + output_pixels * middle * part.channels


def piece_parameters(piece: Piece) -> int:
    """Trainable parameters of one piece."""
    part = piece.part
    input_channels = piece.input_shape[2]
    if isinstance(part, Head):
        features = part.features or input_channels
        # Before pooling a batch norm (scale, offset) follows, after pooling a bias.
        per_feature = input_channels + (2 if part.before_pooling else 1)
        return part.features * per_feature + (features + 1) * piece.output_shape[2]
    area = part.kernel_size**2
    if isinstance(part, Stem) or part.kind == "cn":
        return (area * input_channels + 2) * part.channels
    middle = part.middle_channels(input_channels)
    expand = (input_channels + 2) * middle if part.kind == "ir" else 0
    depthwise = (area + 2) * middle
    return expand + depthwise + _se_parameters(part, input_channels) + (middle + 2) * part.channels


def _se_parameters(block: Block, input_channels: int) -> int:
    middle, squeezed = block.middle_channels(input_channels), block.se_channels(input_channels)
    return (middle + 1) * squeezed + (squeezed + 1) * middle if squeezed else 0


def macs(architecture: Architecture, input_shape: Sequence[int], classes: int = 1000) -> int:
    """MACs of a network for one image of `input_shape` (height, width, channels)."""
    return sum(map(piece_macs, pieces(architecture, input_shape, classes)))


def parameters(architecture: Architecture, input_shape: Sequence[int], classes: int = 1000) -> int:
    """Trainable parameters of a network; only the channels of `input_shape` matter."""
    return sum(map(piece_parameters, pieces(architecture, input_shape, classes)))
