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
    if isinstance(part, Stem):
        return output_pixels * part.kernel_size**2 * input_channels * part.channels
    expand, depthwise, project = kernel_weights(part, input_channels)
    # Only a 1x1 expansion comes in front of the stride.
    expand_pixels = input_pixels if part.kind == "ir" else output_pixels
    squeeze_excite = 2 * part.middle_channels(input_channels) * part.se_channels(input_channels)
    return expand_pixels * expand + squeeze_excite + output_pixels * (depthwise + project)


def piece_parameters(piece: Piece) -> int:
    """Trainable parameters of one piece."""
    part = piece.part
    input_channels = piece.input_shape[2]
    if isinstance(part, Head):
        features = part.features or input_channels
        # Before pooling a batch norm (scale, offset) follows, after pooling there may be a bias.
        per_feature = input_channels + (2 if part.before_pooling else int(part.bias))
        return part.features * per_feature + (features + 1) * piece.output_shape[2]
    if isinstance(part, Stem):
        return (part.kernel_size**2 * input_channels + 2) * part.channels
    middle, squeezed = part.middle_channels(input_channels), part.se_channels(input_channels)
    normalized = middle * (part.has_expansion + part.has_depthwise) + part.channels
    squeeze_excite = (middle + 1) * squeezed + (squeezed + 1) * middle if squeezed else 0
    return sum(kernel_weights(part, input_channels)) + 2 * normalized + squeeze_excite


def kernel_weights(block: Block, input_channels: int) -> tuple[int, int, int]:
    """Weights of the kernels that expand, filter each channel, and project."""
    middle = block.middle_channels(input_channels)
    areas = [size**2 for size in block.kernel_sizes]
    if block.kind == "cn":
        return 0, 0, areas[0] * input_channels * block.channels
    expand = input_channels * middle // block.expand_groups if block.has_expansion else 0
    depthwise = sum(areas) * middle // len(areas)
    project = middle * block.channels // block.project_groups
    if not block.has_depthwise:
        return areas[0] * expand, 0, project
    return expand, depthwise, project


def macs(architecture: Architecture, input_shape: Sequence[int], classes: int = 1000) -> int:
    """MACs of a network for one image of `input_shape` (height, width, channels)."""
    return sum(map(piece_macs, pieces(architecture, input_shape, classes)))


def parameters(architecture: Architecture, input_shape: Sequence[int], classes: int = 1000) -> int:
    """Trainable parameters of a network; only the channels of `input_shape` matter."""
    return sum(map(piece_parameters, pieces(architecture, input_shape, classes)))
