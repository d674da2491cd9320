"""Architecture -> plain functional Keras model."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_nas.layers.activations import activation
from keras_nas.layers.batch_norm import FusedBatchNormalization
from keras_nas.layers.mbconv import Normalization, convolution, fused_mbconv, mbconv
from keras_nas.layers.tf_nas_normalization import BatchStatisticsNormalization
from keras_nas.space import Architecture, BatchNorm, Block, Head, Piece, Stem
from keras_nas.space.pieces import check_input_shape, pieces

_LEVELS = (2, 3, 4, 5)
"""Of the feature pyramid: strides 4, 8, 16, 32."""


def build_network(
    architecture: Architecture,
    input_shape: Sequence[int],
    classes: int | None = None,
    *,
    features: bool = False,
    fused_batch_norm: bool = False,
) -> keras.Model:
    """Builds the network of an architecture with fresh weights.

    Args:
      architecture: what to build.
      input_shape: (height, width, channels) of an image.
      classes: number of classes; needed unless `features`.
      features: leave the head out and give the last output at each of the strides 4, 8, 16 and 32
        instead, for a detector's or segmenter's head.
      fused_batch_norm: train with the faster `FusedBatchNormalization`. Weights are the same, in
        the same order; a network to be saved should be built without.

    Returns:
      A functional model from images [B, height, width, channels] to logits [B, classes]; with
      `features` to a dictionary as of KerasHub's `FeaturePyramidBackbone`: "P2" is
      [B, height/4, width/4, C], up to "P5" at stride 32. Levels whose stride the network does not
      have are absent. Layers have the same names as in the whole network, and weights are the
      first of its weights, in the same order. Without `fused_batch_norm` a model holds Keras' own
      layers only, and loads wherever Keras is.

    Raises:
      ValueError: bad input shape or number of classes, or no stride for `features`.
    """
    if classes is None and not features:
        raise ValueError("build_network needs the number of classes, unless features=True.")
    parts = pieces(architecture, check_input_shape(input_shape), 1 if classes is None else classes)
    names = piece_names(architecture)
    # TensorFlow takes letters and digits of ASCII only, and no underscore in front.
    name = re.sub("[^a-zA-Z0-9]+", "_", architecture.name).lstrip("_") or "network"
    if not features:
        return build_pieces(
            parts, names, architecture.batch_norm, fused_batch_norm=fused_batch_norm, name=name
        )
    normalization = _normalization(architecture.batch_norm, fused_batch_norm)
    tensors = _chain(parts[:-1], names[:-1], normalization)
    levels = _pyramid_levels(architecture)
    if not levels:
        raise ValueError(
            f"architecture {architecture.name!r} has none of the strides "
            f"{', '.join(str(2**level) for level in _LEVELS)}; build it without features."
        )
    outputs = {f"P{level}": tensors[index + 1] for level, index in levels.items()}
    return keras.Model(tensors[0], outputs, name=name)


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
    batch_statistics: bool = False,
    name: str,
) -> keras.Model:
    """Builds consecutive pieces as one functional model; `names` prefix the pieces' layers.

    With `batch_statistics` batch norm learns nothing (`BatchStatisticsNormalization`), as in a
    search of TF-NAS.
    """
    normalization = _normalization(batch_norm, fused_batch_norm)
    if batch_statistics:

        def normalization(x, layer_name):
            return BatchStatisticsNormalization(batch_norm.epsilon, name=layer_name)(x)

    tensors = _chain(parts, names, normalization)
    return keras.Model(tensors[0], tensors[-1], name=name)


def piece_names(architecture: Architecture) -> list[str]:
    """Prefix of the layer names of every piece, in order."""
    blocks = [
        block_name(s, b) for s, stage in enumerate(architecture.stages) for b in range(len(stage))
    ]
    return ["stem", *blocks, "head"]


def block_name(stage: int, block: int) -> str:
    """Prefix of the layer names of a block."""
    return f"stage{stage}_block{block}"


def _pyramid_levels(architecture: Architecture) -> dict[int, int]:
    """Level (base-2 logarithm of the stride) -> number of the last piece that has it."""
    parts: list[Stem | Block] = [architecture.stem, *architecture.blocks()]
    strides = itertools.accumulate((part.stride for part in parts), operator.mul)
    last = {stride: index for index, stride in enumerate(strides)}
    return {level: last[2**level] for level in _LEVELS if 2**level in last}


def _chain(parts: Sequence[Piece], names: Sequence[str], normalization: Normalization) -> list:
    """The input, and the output of each piece after the other."""
    tensors = [keras.Input(parts[0].input_shape, name="image")]
    for piece, name in zip(parts, names, strict=True):
        tensors.append(_apply_piece(piece, tensors[-1], name, normalization))
    return tensors


def _normalization(constants: BatchNorm, fused: bool) -> Normalization:
    layer = FusedBatchNormalization if fused else layers.BatchNormalization

    def normalize(x, name):
        return layer(momentum=constants.momentum, epsilon=constants.epsilon, name=name)(x)

    return normalize


def _apply_piece(piece: Piece, x, name: str, normalization: Normalization):
    part, symmetric = piece.part, piece.padding == "symmetric"
    if isinstance(part, Head):
        return _apply_head(part, x, piece.output_shape[2], name, normalization)
    if isinstance(part, Stem) or part.kind == "cn":
        return convolution(
            x,
            part.channels,
            part.kernel_sizes[0],
            part.stride,
            part.activation,
            normalization,
            name,
            symmetric=symmetric,
        )
    return _apply_block(part, x, name, normalization, symmetric)


def _apply_block(block: Block, x, name: str, normalization: Normalization, symmetric: bool):
    input_channels = x.shape[-1]
    common: dict[str, Any] = {
        "middle_channels": block.middle_channels(input_channels),
        "channels": block.channels,
        "kernel_size": block.kernel_size,
        "stride": block.stride,
        "se_channels": block.se_channels(input_channels),
        "se_variant": (block.se_activation, block.squeeze_excite.gate),
        "residual": block.has_residual(input_channels),
        "activation_name": block.activation,
        "normalization": normalization,
        "name": name,
        "symmetric": symmetric,
    }
    if block.kind == "er":
        return fused_mbconv(x, **common)
    return mbconv(
        x,
        expand=block.has_expansion,
        groups=(block.expand_groups, block.project_groups),
        project_activation_name=block.activation if block.kind == "dsa" else None,
        **common,
    )


def _apply_head(head: Head, x, classes: int, name: str, normalization: Normalization):
    if head.features and head.before_pooling:
        x = convolution(x, head.features, 1, 1, head.activation, normalization, f"{name}_features")
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)  # [B, C]
    if head.features and not head.before_pooling:
        x = layers.Dense(head.features, use_bias=head.bias, name=f"{name}_features")(x)
        x = activation(head.activation)(x)
    if head.dropout_rate:
        x = layers.Dropout(head.dropout_rate, name=f"{name}_dropout")(x)
    # Logits stay float32 under a mixed-precision policy.
    return layers.Dense(classes, dtype="float32", name=f"{name}_classifier")(x)
