"""Keras model -> `.tflite` bytes, built-in operations only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

PRECISIONS = ("float32", "float16")
"""Precisions of the weights. Inputs and outputs are float32 in both."""


def convert(model: keras.Model, precision: str = "float32") -> bytes:
    """The file to ship: batch 1, with a signature `serving_default` whose input is `image`.

    Freezing the variables first is five times faster than `TFLiteConverter.from_keras_model`, and a
    fixed batch leaves no operation that computes shapes, which XNNPACK would not take.

    Args:
      model: from one image tensor [B, height, width, channels] to one tensor.
      precision: `float32`, or `float16`, which halves the file.

    Raises:
      ValueError: unknown precision, not one input, or an operation outside the TFLite built-ins.
    """
    # Through a saved model, since converting the function itself loses the signature. Gradients are
    # not wanted, and swish's cannot be saved from a frozen function.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures=_freeze(model, 1), options=options)
        return _run(tf.lite.TFLiteConverter.from_saved_model(folder), precision)


def convert_frozen(model: keras.Model, precision: str = "float32", batch: int = 1) -> bytes:
    """The same operations without a signature, made in half the time: for measuring.

    Args:
      model, precision: as in `convert`.
      batch: images in a call.

    Raises:
      ValueError: as in `convert`.
    """
    frozen = _freeze(model, batch)
    return _run(tf.lite.TFLiteConverter.from_concrete_functions([frozen], frozen), precision)


def _freeze(model: keras.Model, batch: int) -> Callable[..., tf.Tensor]:
    """The model as a function with constants in place of variables."""
    if len(model.inputs) != 1:
        raise ValueError(f"a model to convert needs one input, received {len(model.inputs)}.")
    image = tf.TensorSpec((batch, *model.inputs[0].shape[1:]), model.inputs[0].dtype, "image")
    call = tf.function(lambda image: model(image, training=False))
    return convert_variables_to_constants_v2(call.get_concrete_function(image))


def _run(converter: tf.lite.TFLiteConverter, precision: str) -> bytes:
    if precision not in PRECISIONS:
        raise ValueError(f"precision should be one of {PRECISIONS}, received {precision!r}.")
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        return converter.convert()
    except Exception as error:
        # The converter's errors have no public class; those that are not about operations pass.
        names = re.findall(r"(?:TF Select|Custom) ops: ([\w, ]+)", str(error))
        if not names:
            raise
        raise ValueError(
            f"the model has operations outside the TFLite built-ins: {', '.join(names)}. Write "
            "those layers with operations that TFLite has."
        ) from None
