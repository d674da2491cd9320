"""Numeric precision by name."""

import keras

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def dtype_policy(precision: str) -> keras.DTypePolicy:
    """Returns the Keras policy: dtype of computation and of variables.

    Args:
      precision: "float32", "mixed_bfloat16" (TPU and new GPUs) or "mixed_float16" (GPUs; needs the
        loss scaled, `keras.optimizers.LossScaleOptimizer`).

    Raises:
      ValueError: another name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}. Received: {precision!r}")
    return keras.DTypePolicy(precision)
