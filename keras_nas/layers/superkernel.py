"""Decisions on groups of a superkernel's weights (Single-Path NAS, arXiv 1904.02877, section 3.1).

A group of weights is kept where its norm reaches a trainable threshold (eq. 3). Groups are nested:
one counts only where all before it are kept. The decision is hard in the forward pass and has the
gradient of a sigmoid.

Apart from the superkernel, whatever a group that is shut would leave behind (an offset of batch
norm, a bias) is gated too. These extra gates change values only: to the decision and to what comes
before it, gradients are those of the superkernel alone, so that a shut group still hears what
opening it would do. The offsets and biases of what is shut stand still.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

RELAXATIONS = ("sigmoid", "straight_through", "softmax")
NORMS = ("rms", "frobenius")

_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True)
class Formulation:
    """How a group of weights becomes a decision.

    With n the norm of the group and t its threshold, the margin is x = n / temperature - t, and the
    decision is whether x >= 0.

    Attributes:
      relaxation: `sigmoid`, the hard decision with the gradient of sigmoid(x); `straight_through`,
        with the gradient of x; `softmax`, in training the share of "keep" in a softmax over x and
        0, level by level.
      norm: `rms`, the Frobenius norm / sqrt(number of weights), which does not depend on the size
        of the group; `frobenius`, the paper's. With the paper's and kernels as they are initialised
        a sigmoid's gradient vanishes in float32.
      temperature: above 0.

    Raises:
      ValueError: an unknown name, or a temperature that is not above 0.
    """

    relaxation: str = "sigmoid"
    norm: str = "rms"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        for field, known in (("relaxation", RELAXATIONS), ("norm", NORMS)):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{field} of a formulation should be one of {', '.join(known)}, received "
                    f"{getattr(self, field)!r}."
                )
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature of a formulation should be above 0, received {self.temperature}."
            )

    @property
    def soft(self) -> bool:
        """Whether training mixes both outcomes of a decision."""
        return self.relaxation == "softmax"

    def scaled_norm(self, sum_of_squares: tf.Tensor, count: tf.Tensor | float) -> tf.Tensor:
        """n / temperature from the sum of squares of a group of `count` weights."""
        size = count if self.norm == "rms" else 1.0
        # The gradient of a square root at 0 is infinite.
        return tf.sqrt((sum_of_squares + _EPSILON) * (1.0 / (size * self.temperature**2)))

    def gate(self, margin: tf.Tensor, training: bool) -> tf.Tensor:
        """The decision on a margin: 1 keeps the group, 0 drops it; soft only in training."""
        if self.soft and training:
            return tf.sigmoid(margin)
        return indicator(margin, "sigmoid" if self.soft else self.relaxation)


LITERAL = Formulation(norm="frobenius", temperature=1.0)
"""The paper's: unsquared Frobenius norms against thresholds."""


def indicator(x: tf.Tensor, gradient: str = "sigmoid") -> tf.Tensor:
    """1 where x >= 0, else 0, in the dtype of `x`.

    Args:
      x: any shape.
      gradient: `sigmoid`, that of sigmoid(x) (SP section 3.1), or `straight_through`, 1.
    """

    @tf.custom_gradient
    def run(x):
        def backward(upstream):
            if gradient == "straight_through":
                return upstream
            probability = tf.sigmoid(x)
            return upstream * probability * (1.0 - probability)

        return tf.cast(x >= 0, x.dtype), backward

    return run(x)


class BlockGates(NamedTuple):
    """A number for every gate of a block, in the order of the nesting.

    Attributes:
      kernel: [K - 1], rings from the inside.
      expansion: [E], the first one is the block itself.
      squeeze_excite: [S - 1].
    """

    kernel: tf.Tensor
    expansion: tf.Tensor
    squeeze_excite: tf.Tensor


class BlockDecision(NamedTuple):
    """What a block decided, and what on.

    Attributes:
      gates: 1 keeps, 0 drops.
      norms: scaled norms of the groups.
      thresholds: of the groups; norm - threshold is the margin.
    """

    gates: BlockGates
    norms: BlockGates
    thresholds: BlockGates


def nested(gates: Sequence[tf.Tensor], start: tf.Tensor | None = None) -> list[tf.Tensor]:
    """Running products of scalars, after `start` if there is one: what counts of each group."""
    values = list(gates) if start is None else [start, *gates]
    # By multiplication: the gradient of a cumulative product divides by values, which may be 0.
    return list(itertools.accumulate(values, tf.multiply))


def ring_masks(kernel_sizes: Sequence[int]) -> np.ndarray:
    """Float32 [K, k, k]: the smallest kernel, and what each next size adds around it."""
    largest = kernel_sizes[-1]
    squares = np.zeros((len(kernel_sizes) + 1, largest, largest), np.float32)
    for mask, size in zip(squares[1:], kernel_sizes, strict=True):
        edge = (largest - size) // 2
        mask[edge : edge + size, edge : edge + size] = 1.0
    return np.diff(squares, axis=0)


def range_masks(ends: Sequence[int]) -> np.ndarray:
    """Float32 [n, ends[-1]]: which numbers are below the first end, between it and the next, ..."""
    numbers = np.arange(ends[-1])
    below = numbers < np.array([0, *ends])[:, None]
    return np.diff(below.astype(np.float32), axis=0)


def gated(x: tf.Tensor, gate: tf.Tensor, soft: bool) -> tf.Tensor:
    """`x * gate`, an extra gate (see the top of this file): unless `soft`, the gradient of `x` is
    as if the gate were open, and that of the gate 0."""
    if soft:
        return x * tf.cast(gate, x.dtype)

    @tf.custom_gradient
    def run(x):
        return x * tf.cast(gate, x.dtype), lambda upstream: upstream

    return run(x)


def gated_projection(x: tf.Tensor, kernel: tf.Tensor, gate: tf.Tensor, soft: bool) -> tf.Tensor:
    """The 1x1 convolution of gated channels, `gated(x, gate) * kernel`, without a pass over `x`.

    Args:
      x: [B, H, W, M].
      kernel: [1, 1, M, C].
      gate: [M].
      soft: see `gated`.

    Returns:
      [B, H, W, C].
    """
    column = tf.cast(gate, x.dtype)[:, None]  # [M, 1]

    def convolve(x, kernel):
        return tf.nn.conv2d(x, kernel * column, 1, "SAME")

    if soft:
        return convolve(x, kernel)

    @tf.custom_gradient
    def run(x, kernel):
        def backward(upstream):
            to_x = tf.nn.conv2d(upstream, tf.transpose(kernel, (0, 1, 3, 2)), 1, "SAME")
            to_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            return to_x, to_kernel * column

        return convolve(x, kernel), backward

    return run(x, kernel)


def moved_where(value: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
    """`value`, whose gradient is multiplied by `gate`."""

    @tf.custom_gradient
    def run(value):
        return tf.identity(value), lambda upstream: upstream * tf.cast(gate, value.dtype)

    return run(value)
