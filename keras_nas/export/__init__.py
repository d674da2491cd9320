"""Keras model -> `.tflite`, and the checks that it computes the same and runs delegated."""

from keras_nas.export.check import TOLERANCE, check_operations, check_outputs
from keras_nas.export.graph import GRAPH_PRECISIONS, convert_graph
from keras_nas.export.stitch import operations_of_parts, stitch
from keras_nas.export.tflite import PRECISIONS, convert, convert_frozen

CONVERTERS = {"tflite": convert_frozen, "graph": convert_graph}
"""What a device runs -> what makes it for measuring: (model, precision, batch) -> bytes."""

__all__ = [
    "CONVERTERS",
    "GRAPH_PRECISIONS",
    "PRECISIONS",
    "TOLERANCE",
    "check_operations",
    "check_outputs",
    "convert",
    "convert_frozen",
    "convert_graph",
    "operations_of_parts",
    "stitch",
]
