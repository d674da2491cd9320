"""The building blocks of a plain network, as functions on Keras tensors.

Only Keras' own layers are used, so that a network made of them loads without this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
from keras import layers

from keras_nas.layers.activations import activation

Tensor: TypeAlias = keras.KerasTensor
Normalization = Callable[[Tensor, str], Tensor]
"""Applies a batch norm of the given name."""


def convolution(
    x: Tensor,
    channels: int,
    kernel_size: int,
    stride: int,
    activation_name: str,
    normalization: Normalization,
    name: str,
) -> Tensor:
    """Convolution, batch norm, activation: [B, H, W, C] -> [B, H/stride, W/stride, channels]."""
    x = layers.Conv2D(
        channels, kernel_size, stride, padding="same", use_bias=False, name=f"{name}_convolution"
    )(x)
    return activation(activation_name)(normalization(x, f"{name}_batch_norm"))


def squeeze_excite(x: Tensor, squeezed: int, name: str) -> Tensor:
    """Squeeze-and-excitation (ReLU inside, hard-sigmoid gate) on [B, H, W, C]."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)  # [B, C]
    gate = layers.Dense(squeezed, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(channels, activation="hard_sigmoid", name=f"{name}_expand")(gate)
    gate = layers.Reshape((1, 1, channels), name=f"{name}_gate")(gate)  # [B, 1, 1, C]
    return layers.Multiply(name=f"{name}_multiply")([x, gate])


def mbconv(
    x: Tensor,
    *,
    expand: bool,
    middle_channels: int,
    channels: int,
    kernel_size: int,
    stride: int,
    se_channels: int,
    residual: bool,
    activation_name: str,
    normalization: Normalization,
    name: str,
) -> Tensor:
    """MBConv: 1x1 expansion, depthwise, squeeze-and-excitation, 1x1 projection, residual.

    Args:
      x: [B, H, W, C].
      expand: False leaves the expansion out (depthwise-separable block).
      middle_channels: channels of the depthwise convolution.
      channels: output channels.
      kernel_size, stride: of the depthwise convolution.
      se_channels: width of the squeeze-and-excitation bottleneck, 0 for none.
      residual: whether `x` is added to the result.
      activation_name: after expansion and depthwise convolution.
      normalization: applies a batch norm of the given name.
      name: prefix of all layer names.

    Returns:
      [B, H/stride, W/stride, channels].
    """
    act = activation(activation_name)
    y = x
    if expand:
        y = layers.Conv2D(middle_channels, 1, use_bias=False, name=f"{name}_expand")(y)
        y = act(normalization(y, f"{name}_expand_batch_norm"))
    y = layers.DepthwiseConv2D(
        kernel_size, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(y)
    y = act(normalization(y, f"{name}_depthwise_batch_norm"))
    if se_channels:
        y = squeeze_excite(y, se_channels, f"{name}_se")
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(y)
    y = normalization(y, f"{name}_project_batch_norm")
    return layers.Add(name=f"{name}_add")([x, y]) if residual else y
