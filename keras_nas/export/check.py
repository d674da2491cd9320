"""Checks on a `.tflite` file: what it computes, and what runs it."""

from __future__ import annotations

import collections

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
"""Largest difference allowed by `check_outputs`, relative to the largest output. float16 keeps 11
bits of every weight (relative error 5e-4), which adds up over the layers of a network."""


def check_operations(tflite: bytes) -> collections.Counter[str]:
    """Checks that every operation is a built-in and runs in XNNPACK.

    Returns:
      How often each operation occurs.

    Raises:
      ValueError: naming the operations that are not.
    """
    model = schema.Model.GetRootAsModel(tflite, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    custom = [code.CustomCode().decode() for code in codes if code.CustomCode() is not None]
    if custom:
        raise ValueError(
            f"the .tflite file has operations outside the built-ins: {', '.join(custom)}. Convert "
            "it with TFLITE_BUILTINS only, and write those layers with operations that TFLite has."
        )
    operations, undelegated = _delegation(tflite)
    if undelegated:
        raise ValueError(
            "XNNPACK does not take these operations of the .tflite file, which then run slowly: "
            f"{', '.join(f'{name} ({n})' for name, n in sorted(undelegated.items()))}. Write those "
            "layers with operations that it takes."
        )
    return operations


def _delegation(tflite: bytes) -> tuple[collections.Counter[str], collections.Counter[str]]:
    """All operations, and those that were not handed to the delegate."""
    # Without fusion each delegated operation becomes one delegate node with the same outputs.
    interpreter = Interpreter(
        model_content=tflite, num_threads=1, experimental_disable_delegate_node_fusion=True
    )
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()  # the only place that shows delegate nodes
    delegated = {
        int(tensor) for node in nodes if node["op_name"] == "DELEGATE" for tensor in node["outputs"]
    }
    real = [node for node in nodes if node["op_name"] != "DELEGATE"]
    left = [node for node in real if not delegated.intersection(map(int, node["outputs"]))]
    return (
        collections.Counter(node["op_name"] for node in real),
        collections.Counter(node["op_name"] for node in left),
    )


def outputs(tflite: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a `.tflite` file of batch 1 computes: [N, height, width, channels] -> [N, classes]."""
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    rows = []
    for image in images:
        interpreter.set_tensor(source, image[np.newaxis].astype(np.float32))  # [1, H, W, C]
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target)[0])  # [classes]
    return np.stack(rows)


def check_outputs(
    model: keras.Model, tflite: bytes, images: NDArray[np.float32], tolerance: float
) -> float:
    """Checks that a `.tflite` file of batch 1 computes what the Keras model computes.

    Args:
      model: what was exported.
      tflite: the file.
      images: [N, height, width, channels] real images, as the model takes them.
      tolerance: see `TOLERANCE`.

    Returns:
      The largest difference, relative to the largest absolute output of the Keras model.

    Raises:
      ValueError: no images, or the difference is above `tolerance`.
    """
    if len(images) == 0:
        raise ValueError("comparing outputs needs at least one image, received none.")
    expected = np.asarray(model(images, training=False), np.float32)  # [N, classes]
    found = outputs(tflite, images)
    scale = float(np.max(np.abs(expected)))
    absolute = float(np.max(np.abs(found - expected)))
    difference = absolute / scale if scale > 0 else absolute
    if not difference <= tolerance:  # NaN fails as well
        raise ValueError(
            f"the .tflite file's outputs differ from the Keras model's by {difference:.3g} of the "
            f"largest output ({scale:.4g}), over {len(images)} images; {tolerance:g} is allowed. "
            "Do not ship it: convert again with another precision."
        )
    return difference
