"""The building blocks of a plain network, as functions on Keras tensors.

Only Keras' own layers are used, so that a network made of them loads without this package.

Where `symmetric` is True, a convolution with stride 2 is padded by kernel_size // 2 on every side,
as PyTorch does, in place of TensorFlow's SAME padding, which on even sizes pads one pixel less
above and left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
from keras import layers

from keras_nas.layers.activations import activation

Tensor: TypeAlias = keras.KerasTensor
Normalization = Callable[[Tensor, str], Tensor]
"""Applies a batch norm of the given name."""
SqueezeExciteVariant = tuple[str, str]
"""Names of the activation inside and of the gate."""


def convolution(
    x: Tensor,
    channels: int,
    kernel_size: int,
    stride: int,
    activation_name: str,
    normalization: Normalization,
    name: str,
    *,
    symmetric: bool = False,
) -> Tensor:
    """Convolution, batch norm, activation: [B, H, W, C] -> [B, H/stride, W/stride, channels]."""
    x = _convolve(x, channels, kernel_size, stride, f"{name}_convolution", symmetric=symmetric)
    return activation(activation_name)(normalization(x, f"{name}_batch_norm"))


def depthwise_convolution(
    x: Tensor, kernel_size: int | Sequence[int], stride: int, name: str, *, symmetric: bool = False
) -> Tensor:
    """Depthwise convolution of [B, H, W, C] -> [B, H/stride, W/stride, C].

    Several kernel sizes share the channels evenly, in order (MixNet, arXiv 1907.09595, section
    3.1); their layers are named `{name}_0`, `{name}_1`, ...
    """
    if isinstance(kernel_size, int):
        x, padding = _padded(x, kernel_size, stride, symmetric, name)
        return layers.DepthwiseConv2D(
            kernel_size, stride, padding=padding, use_bias=False, name=name
        )(x)
    share = x.shape[-1] // len(kernel_size)
    mixed = [
        depthwise_convolution(
            x[..., i * share : (i + 1) * share], size, stride, f"{name}_{i}", symmetric=symmetric
        )
        for i, size in enumerate(kernel_size)
    ]
    return layers.Concatenate(name=f"{name}_concatenate")(mixed)


def squeeze_excite(
    x: Tensor,
    squeezed: int,
    name: str,
    variant: SqueezeExciteVariant = ("relu", "hard_sigmoid"),
) -> Tensor:
    """Squeeze-and-excitation on [B, H, W, C]: pooling, `squeezed` units, a gate a channel.

    `variant` names the activation of the units and that of the gate. The two dense layers are what
    other libraries write as 1x1 convolutions.
    """
    channels = x.shape[-1]
    inside, gate_activation = variant
    gate = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)  # [B, C]
    gate = layers.Dense(squeezed, activation=inside, name=f"{name}_reduce")(gate)
    gate = layers.Dense(channels, activation=gate_activation, name=f"{name}_expand")(gate)
    gate = layers.Reshape((1, 1, channels), name=f"{name}_gate")(gate)  # [B, 1, 1, C]
    return layers.Multiply(name=f"{name}_multiply")([x, gate])


def mbconv(
    x: Tensor,
    *,
    expand: bool,
    middle_channels: int,
    channels: int,
    kernel_size: int | Sequence[int],
    stride: int,
    se_channels: int,
    residual: bool,
    activation_name: str,
    normalization: Normalization,
    name: str,
    groups: tuple[int, int] = (1, 1),
    se_variant: SqueezeExciteVariant = ("relu", "hard_sigmoid"),
    project_activation_name: str | None = None,
    symmetric: bool = False,
) -> Tensor:
    """MBConv: 1x1 expansion, depthwise, squeeze-and-excitation, 1x1 projection, residual.

    Args:
      x: [B, H, W, C].
      expand: False leaves the expansion out (depthwise-separable block).
      middle_channels: channels of the depthwise convolution.
      channels: output channels.
      kernel_size, stride: of the depthwise convolution; several kernel sizes are mixed.
      se_channels: width of the squeeze-and-excitation bottleneck, 0 for none.
      residual: whether `x` is added to the result.
      activation_name: after expansion and depthwise convolution.
      normalization: applies a batch norm of the given name.
      name: prefix of all layer names.
      groups: of the expansion, of the projection.
      se_variant: see `squeeze_excite`.
      project_activation_name: after the projection; None for none.
      symmetric: see the top of this file.

    Returns:
      [B, H/stride, W/stride, channels].
    """
    act = activation(activation_name)
    y = x
    if expand:
        y = _convolve(y, middle_channels, 1, 1, f"{name}_expand", groups=groups[0])
        y = act(normalization(y, f"{name}_expand_batch_norm"))
    y = depthwise_convolution(y, kernel_size, stride, f"{name}_depthwise", symmetric=symmetric)
    y = act(normalization(y, f"{name}_depthwise_batch_norm"))
    if se_channels:
        y = squeeze_excite(y, se_channels, f"{name}_se", se_variant)
    y = _convolve(y, channels, 1, 1, f"{name}_project", groups=groups[1])
    y = normalization(y, f"{name}_project_batch_norm")
    if project_activation_name:
        y = activation(project_activation_name)(y)
    return layers.Add(name=f"{name}_add")([x, y]) if residual else y


def fused_mbconv(
    x: Tensor,
    *,
    middle_channels: int,
    channels: int,
    kernel_size: int,
    stride: int,
    se_channels: int,
    residual: bool,
    activation_name: str,
    normalization: Normalization,
    name: str,
    se_variant: SqueezeExciteVariant = ("relu", "hard_sigmoid"),
    symmetric: bool = False,
) -> Tensor:
    """MBConv in which one full convolution of `kernel_size` and `stride` takes the place of the
    expansion and the depthwise convolution; for the rest see `mbconv`."""
    y = _convolve(x, middle_channels, kernel_size, stride, f"{name}_expand", symmetric=symmetric)
    y = activation(activation_name)(normalization(y, f"{name}_expand_batch_norm"))
    if se_channels:
        y = squeeze_excite(y, se_channels, f"{name}_se", se_variant)
    y = normalization(_convolve(y, channels, 1, 1, f"{name}_project"), f"{name}_project_batch_norm")
    return layers.Add(name=f"{name}_add")([x, y]) if residual else y


def _convolve(
    x: Tensor,
    channels: int,
    kernel_size: int,
    stride: int,
    name: str,
    *,
    groups: int = 1,
    symmetric: bool = False,
) -> Tensor:
    """A convolution without bias: [B, H, W, C] -> [B, H/stride, W/stride, channels]."""
    x, padding = _padded(x, kernel_size, stride, symmetric, name)
    return layers.Conv2D(
        channels, kernel_size, stride, padding=padding, groups=groups, use_bias=False, name=name
    )(x)


def _padded(
    x: Tensor, kernel_size: int, stride: int, symmetric: bool, name: str
) -> tuple[Tensor, str]:
    """What a convolution should be given, and the padding it should then do by itself."""
    if not symmetric or stride == 1 or kernel_size == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_padding")(x), "valid"
