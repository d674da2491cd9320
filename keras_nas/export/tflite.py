"""Keras model -> `.tflite` bytes, built-in operations only."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_nas.export.compact import compact
from keras_nas.progress import quiet_native_code

PRECISIONS = ("float32", "float16", "int8")
"""`float32`; `float16` weights; `int8` weights and activations. Inputs and outputs are float32 in
all of them."""

Batches = Callable[[], Iterator[list[NDArray[np.float32]]]]

RANDOM_CALIBRATION_IMAGES = 2
"""How many random images stand in for real ones where only the speed of an int8 network counts."""


def convert(
    model: keras.Model,
    precision: str = "float32",
    calibration_images: NDArray[np.float32] | None = None,
) -> bytes:
    """The file to ship: batch 1, with a signature `serving_default` whose input is `image`.

    Weights become constants first, which is five times faster than
    `TFLiteConverter.from_keras_model`, and a fixed batch leaves no operation that computes shapes,
    which XNNPACK would not take.

    int8 is post-training quantisation: ranges of the activations are those seen on the calibration
    images. XNNPACK takes no int8 hard-swish, so that it is written out as
    `x * relu6(x + 3) / 3 / 2`, which XNNPACK runs as one table look-up.

    Args:
      model: from one image tensor [B, height, width, channels] to one tensor.
      precision: one of `PRECISIONS`.
      calibration_images: [N, height, width, channels] real images as the model takes them; needed
        for int8, and not looked at otherwise.

    Raises:
      ValueError: unknown precision, not one input, calibration images missing, empty or of another
        shape, or an operation outside the TFLite built-ins.
    """
    if precision == "int8" and calibration_images is None:
        raise ValueError(
            "int8 needs calibration images, received none. Give some hundred training images, "
            "prepared as the model takes them."
        )
    # Through a saved model, since converting the function itself loses the signature. Gradients are
    # not wanted, and swish's cannot be saved from a frozen function.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        signature = freeze(written_out(model, precision), 1)
        tf.saved_model.save(tf.Module(), folder, signatures=signature, options=options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        calibration = _calibration(model, precision, calibration_images, 1)
        return compact(_run(converter, precision, calibration))


def convert_frozen(
    model: keras.Model,
    precision: str = "float32",
    batch: int = 1,
    calibration_images: NDArray[np.float32] | None = None,
) -> bytes:
    """The same operations without a signature, made in half the time: for measuring.

    Args:
      model, precision: as in `convert`.
      batch: images in a call.
      calibration_images: as in `convert`; by default random ones, as speed does not depend on them.

    Raises:
      ValueError: as in `convert`.
    """
    frozen = freeze(written_out(model, precision), batch)
    # Version 1's converter takes a graph as it is; the newer one copies it twice before it starts.
    converter = tf.compat.v1.lite.TFLiteConverter(
        frozen.graph.as_graph_def(), frozen.inputs, frozen.outputs
    )
    return _run(converter, precision, _calibration(model, precision, calibration_images, batch))


def freeze(model: keras.Model, batch: int) -> tf.types.experimental.ConcreteFunction:
    """The model as a function with constants in place of variables."""
    if len(model.inputs) != 1:
        raise ValueError(f"a model to convert needs one input, received {len(model.inputs)}.")
    values = [variable.numpy() for variable in model.variables]

    def call(image: tf.Tensor) -> tf.Tensor:
        constants = map(tf.constant, values)
        with keras.StatelessScope(list(zip(model.variables, constants, strict=True))):
            return model(image, training=False)

    image = tf.TensorSpec((batch, *model.inputs[0].shape[1:]), model.inputs[0].dtype, "image")
    return tf.function(call, autograph=False).get_concrete_function(image)


def written_out(model: keras.Model, precision: str) -> keras.Model:
    """For int8 the model, sharing its weights, with hard-swish written out."""
    if precision != "int8" or len(model.inputs) != 1:
        return model

    def replace(operation):
        return _hard_swish if type(operation).__name__ == "HardSilu" else operation

    return keras.models.clone_model(model, clone_function=replace)


def _hard_swish(x: keras.KerasTensor) -> keras.KerasTensor:
    """x * relu6(x + 3) / 6; divided in two steps, or the converter makes it HARD_SWISH again."""
    return x * keras.ops.relu6(x + 3.0) * (1 / 3) * 0.5


def _calibration(
    model: keras.Model, precision: str, images: NDArray[np.float32] | None, batch: int
) -> Batches | None:
    """Batches that show the quantiser the range of every activation."""
    if precision != "int8":
        return None
    shape = tuple(model.inputs[0].shape[1:])
    if images is None:
        generator = np.random.default_rng(0)
        images = generator.standard_normal((RANDOM_CALIBRATION_IMAGES, *shape), np.float32)
    if len(images) == 0 or images.shape[1:] != shape:
        raise ValueError(
            f"calibration images should be [N, {', '.join(map(str, shape))}] with N above 0, "
            f"received {list(images.shape)}."
        )

    def batches() -> Iterator[list[NDArray[np.float32]]]:
        for image in images:
            yield [np.repeat(image[np.newaxis], batch, axis=0).astype(np.float32)]  # [B, H, W, C]

    return batches


def _run(
    converter: tf.lite.TFLiteConverter,
    precision: str,
    calibration: Batches | None,
) -> bytes:
    if precision not in PRECISIONS:
        raise ValueError(f"precision should be one of {PRECISIONS}, received {precision!r}.")
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = calibration
    try:
        with quiet_native_code() if precision == "int8" else contextlib.nullcontext():
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
