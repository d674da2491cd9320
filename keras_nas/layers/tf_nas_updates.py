"""What a step of TF-NAS used of its variables, so that nothing else is moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


class Update(NamedTuple):
    """The gradient of what a step used of a variable.

    Attributes:
      variable: [R, ...], or [...] where `row` is None.
      row: int32 scalar, the row that was used; None for all of the variable.
      gradient: of the row, or of the variable; 0 where `used` is 0.
      used: 1 where the step used it, else 0; broadcasts to `gradient`.
    """

    variable: keras.Variable
    row: tf.Tensor | None
    gradient: tf.Tensor
    used: tf.Tensor | float


def merge_equal_rows(paths: Sequence[Sequence[Update]]) -> list[Update]:
    """Updates of one or two paths, such that no row is moved twice.

    Where both paths used the same row, the first update gets the sum of the gradients and the
    second one moves nothing.

    Args:
      paths: of each path the updates, of the same variables.

    Raises:
      ValueError: more than two paths.
    """
    if len(paths) > 2:
        raise ValueError(f"at most two paths can be merged, received {len(paths)}.")
    if len(paths) == 1:
        return list(paths[0])
    merged = []
    for one, other in zip(*paths, strict=True):
        same = tf.cast(one.row == other.row, one.gradient.dtype)
        merged.append(
            one._replace(
                gradient=one.gradient + same * other.gradient,
                used=tf.maximum(one.used, same * other.used),
            )
        )
        merged.append(
            other._replace(gradient=(1.0 - same) * other.gradient, used=(1.0 - same) * other.used)
        )
    return merged
