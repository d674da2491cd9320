"""The stage that exports: `.tflite` files, and what is known of each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_nas.context import Context, Outputs
from keras_nas.data.augmentation import ONE_HOST
from keras_nas.devices.arena import activation_arena_bytes
from keras_nas.experiment import file_precision
from keras_nas.export import check_operations, check_outputs, convert
from keras_nas.export.check import TOLERANCE, outputs
from keras_nas.stage_list import TFLITE_FILES

CHECKED_IMAGES = 64
"""Real images that an export's outputs are compared on."""
COMPARED_IMAGES = 1024
"""Test images, at most, that the accuracy of the files is compared on."""
CALIBRATION_IMAGES = 128
"""Training images that show the quantiser the range of every activation."""
INT8_LOSS = 0.05
"""Loss of accuracy by quantisation that is worth a warning."""


def export(context: Context) -> Outputs:
    """`.tflite` files of all precisions, compared with the network on real test images.

    Raises:
      ValueError: outputs differ, or XNNPACK does not take an operation; see `export.check`.

    Warns:
      UserWarning: int8 loses more than `INT8_LOSS` of the accuracy; or XNNPACK does not take an
        operation of the int8 file, where that is not the precision of a device.
    """
    network = context.final_network()
    images, labels = _test_images(context)
    calibration = context.examples.sample(CALIBRATION_IMAGES).numpy()
    files, rows = {}, {}
    for precision, name in TFLITE_FILES.items():
        data = files[name] = convert(network, precision, calibration)
        row: dict[str, Any] = {
            "bytes": len(data),
            "activation_memory_bytes": activation_arena_bytes(data),
        }
        try:
            row["operations"] = dict(check_operations(data))
        except ValueError as error:
            # The quantiser's scales may be too far apart for XNNPACK. Who ships another file should
            # not lose it for that.
            devices = context.config.devices().values()
            if precision != "int8" or "int8" in [device.precision for device in devices]:
                raise
            row["slow"] = str(error)
            warnings.warn(f"{name} would be slow: {error}", stacklevel=2)
        if precision in TOLERANCE:
            checked = images[:CHECKED_IMAGES]
            difference = check_outputs(network, data, checked, TOLERANCE[precision])
            row["largest_relative_difference"] = float(difference)
            row["checked_images"] = len(checked)
        right = outputs(data, images).argmax(axis=1) == labels  # [N]
        row |= {"accuracy": float(np.mean(right)), "accuracy_images": len(images)}
        rows[name] = row
    _warn_of_loss(rows)
    return {**files, "export.json": rows}


def _warn_of_loss(rows: dict[str, dict[str, Any]]) -> None:
    quantised, plain = rows[TFLITE_FILES["int8"]], rows[TFLITE_FILES["float32"]]
    if quantised["accuracy"] < plain["accuracy"] - INT8_LOSS:
        warnings.warn(
            f"{TFLITE_FILES['int8']} classifies {quantised['accuracy']:.1%} of "
            f"{quantised['accuracy_images']} test images right, {TFLITE_FILES['float32']} "
            f"{plain['accuracy']:.1%}: quantisation costs much here, so rather ship "
            f"{TFLITE_FILES['float16']}.",
            stacklevel=3,
        )


def _test_images(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """The first test images [N, H, W, 3] as the network takes them, and their labels [N]."""
    examples = context.examples.for_host(ONE_HOST)  # no other host takes part
    batches = examples.evaluation(CHECKED_IMAGES).take(COMPARED_IMAGES // CHECKED_IMAGES)
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def check_file(context: Context, network: Callable[[], keras.Model]) -> None:
    """Raises ValueError where the file's size, or LiteRT's plan for its memory, is over a limit:
    until here both are known by formula. `network` builds it, where that is to be known."""
    limits = context.config.limits
    if limits.tflite_bytes is None and limits.peak_memory_bytes is None:
        return
    file = convert(network(), file_precision(context.table), context.examples.sample(8).numpy())
    for name, limit, found in (
        ("tflite_bytes", limits.tflite_bytes, len(file)),
        ("peak_memory_bytes", limits.peak_memory_bytes, activation_arena_bytes(file)),
    ):
        if limit is not None and found > limit:
            raise ValueError(
                f"the found network has {name} {found}, over the limit {limit:.0f}, though by "
                "formula it keeps it (LiteRT's planner may leave gaps in memory). Set "
                f"config.limits.{name} to {limit**2 / found:.0f} and run again."
            )
