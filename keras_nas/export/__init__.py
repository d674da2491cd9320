"""Keras model -> `.tflite`, and the checks that it computes the same and runs delegated."""

from keras_nas.export.check import TOLERANCE, check_operations, check_outputs
from keras_nas.export.tflite import PRECISIONS, convert, convert_frozen

__all__ = [
    "PRECISIONS",
    "TOLERANCE",
    "check_operations",
    "check_outputs",
    "convert",
    "convert_frozen",
]
