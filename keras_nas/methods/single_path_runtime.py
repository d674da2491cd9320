"""The runtime model of Single-Path NAS inside a compiled step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_nas.resources.runtime_model import RuntimeModel

Runtime = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Kernel [B, K - 1], expansion [B, E] and squeeze-and-excitation [B, S - 1] gates -> ms."""


def runtime_function(model: RuntimeModel, dtype: tf.DType = tf.float32) -> Runtime:
    """The twin of `RuntimeModel.expected_ms`, differentiable in all gates.

    Args:
      model: of the space's gates.
      dtype: of the computation; float64 does not run on a TPU.
    """
    # Constants of NumPy, which become part of whatever graph calls this.
    differences, fixed_ms = model.differences, model.fixed_ms

    def expected_ms(kernel, expansion, squeeze_excite):
        def products(gates, start: Sequence[tf.Tensor]):
            return tf.stack(running_products(tf.unstack(tf.cast(gates, dtype), axis=1), start), 1)

        ones = tf.ones(len(differences), dtype)
        # [B, E, K, S], each factor along its axis.
        terms = (
            products(expansion, ())[:, :, None, None]
            * products(kernel, (ones,))[:, None, :, None]
            * products(squeeze_excite, (ones,))[:, None, None, :]
        )
        return tf.constant(fixed_ms, dtype) + tf.reduce_sum(terms * tf.constant(differences, dtype))

    return expected_ms


def running_products(values: Sequence[tf.Tensor], start: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """`start`, then each product of it and the values so far.

    By multiplication: the gradient of `tf.math.cumprod` divides by the values, of which some are 0.
    """
    products = list(start)
    for value in values:
        products.append(products[-1] * value if products else value)
    return products
