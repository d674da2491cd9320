"""Architecture -> plain functional Keras model."""

from __future__ import annotations

import re
from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.layers.activations import activation
from keras_nas.layers.batch_norm import FusedBatchNormalization
from keras_nas.layers.mbconv import Normalization, convolution, mbconv
from keras_nas.space import Architecture, BatchNorm, Block, Head, Piece, Stem
from keras_nas.space.pieces import check_input_shape, pieces


def build_network(
    architecture: Architecture,
    input_shape: Sequence[int],
    classes: int,
    *,
    fused_batch_norm: bool = False,
) -> keras.Model:
    """Builds the network of an architecture with fresh weights.

    Args:
      architecture: what to build.
      input_shape: (height, width, channels) of an image.
      classes: number of classes.
      fused_batch_norm: train with the faster `FusedBatchNormalization`. Weights are the same, in
        the same order; a network to be saved should be built without.

    Returns:
      A functional model from images [B, height, width, channels] to logits [B, classes]. Without
      `fused_batch_norm` it holds Keras' own layers only, and loads wherever Keras is.

    Raises:
      ValueError: bad input shape or number of classes.
    """
    parts = pieces(architecture, check_input_shape(input_shape), classes)
    # TensorFlow takes letters and digits of ASCII only, and no underscore in front.
    name = re.sub("[^a-zA-Z0-9]+", "_", architecture.name).lstrip("_") or "network"
    return build_pieces(
        parts,
        piece_names(architecture),
        architecture.batch_norm,
        fused_batch_norm=fused_batch_norm,
        name=name,
    )


def build_piece(piece: Piece, batch_norm: BatchNorm | None = None) -> keras.Model:
    """Builds one piece alone, with fresh weights: what a device times by itself.

    Returns:
      A functional model from [B, *piece.input_shape] to [B, *piece.output_shape] (head:
      [B, classes]).
    """
    return build_pieces([piece], ["piece"], batch_norm or BatchNorm(), name="piece")


def build_pieces(
    parts: Sequence[Piece],
    names: Sequence[str],
    batch_norm: BatchNorm,
    *,
    fused_batch_norm: bool = False,
    name: str,
) -> keras.Model:
    """Builds consecutive pieces as one functional model; `names` prefix the pieces' layers."""
    normalization = _normalization(batch_norm, fused_batch_norm)
    x = inputs = keras.Input(parts[0].input_shape, name="image")
    for piece, piece_name in zip(parts, names, strict=True):
        x = _apply_piece(piece, x, piece_name, normalization)
    return keras.Model(inputs, x, name=name)


def piece_names(architecture: Architecture) -> list[str]:
    """Prefix of the layer names of every piece, in order."""
    blocks = [
        block_name(s, b) for s, stage in enumerate(architecture.stages) for b in range(len(stage))
    ]
    return ["stem", *blocks, "head"]


def block_name(stage: int, block: int) -> str:
    """Prefix of the layer names of a block."""
    return f"stage{stage}_block{block}"


def _normalization(constants: BatchNorm, fused: bool) -> Normalization:
    layer = FusedBatchNormalization if fused else layers.BatchNormalization

    def normalize(x, name):
        return layer(momentum=constants.momentum, epsilon=constants.epsilon, name=name)(x)

    return normalize


def _apply_piece(piece: Piece, x, name: str, normalization: Normalization):
    part = piece.part
    if isinstance(part, Stem):
        return convolution(
            x, part.channels, part.kernel_size, part.stride, part.activation, normalization, name
        )
    if isinstance(part, Head):
        return _apply_head(part, x, piece.output_shape[2], name, normalization)
    return _apply_block(part, x, name, normalization)


def _apply_block(block: Block, x, name: str, normalization: Normalization):
    input_channels = x.shape[-1]
    if block.kind == "cn":
        return convolution(
            x,
            block.channels,
            block.kernel_size,
            block.stride,
            block.activation,
            normalization,
            name,
        )
    return mbconv(
        x,
        expand=block.kind == "ir",
        middle_channels=block.middle_channels(input_channels),
        channels=block.channels,
        kernel_size=block.kernel_size,
        stride=block.stride,
        se_channels=block.se_channels(input_channels),
        residual=block.has_residual(input_channels),
        activation_name=block.activation,
        normalization=normalization,
        name=name,
    )


def _apply_head(head: Head, x, classes: int, name: str, normalization: Normalization):
    if head.features and head.before_pooling:
        x = convolution(x, head.features, 1, 1, head.activation, normalization, f"{name}_features")
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)  # [B, C]
    if head.features and not head.before_pooling:
        x = layers.Dense(head.features, name=f"{name}_features")(x)
        x = activation(head.activation)(x)
    if head.dropout_rate:
        x = layers.Dropout(head.dropout_rate, name=f"{name}_dropout")(x)
    # Logits stay float32 under a mixed-precision policy.
    return layers.Dense(classes, dtype="float32", name=f"{name}_classifier")(x)
