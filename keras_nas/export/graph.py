"""Keras model -> TensorFlow graph with its weights inside, as a server runs it: for measuring."""

from __future__ import annotations

import keras

from keras_nas.export.tflite import freeze

GRAPH_PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
"""Keras' dtype policies: weights stay float32, `mixed` ones compute in 16 bits."""


def convert_graph(model: keras.Model, precision: str = "float32", batch: int = 1) -> bytes:
    """The model as a serialized `GraphDef`, from `image:0` to `Identity:0`.

    With its weights as constants TensorFlow folds batch norm into the convolutions, so that what is
    measured is the model as it is served and not as it is trained.

    Args:
      model: from one image tensor [B, height, width, channels] to one tensor.
      precision: one of `GRAPH_PRECISIONS`.
      batch: images in a call.

    Raises:
      ValueError: unknown precision, or not one input.
    """
    if precision not in GRAPH_PRECISIONS:
        raise ValueError(
            f"precision should be one of {', '.join(GRAPH_PRECISIONS)} on a Keras device; received "
            f"{precision!r}."
        )
    frozen = freeze(_in_precision(model, precision), batch)
    return frozen.graph.as_graph_def().SerializeToString()


def _in_precision(model: keras.Model, precision: str) -> keras.Model:
    """The model with the same weights, all its layers under one dtype policy."""

    def differs(operation) -> bool:
        if isinstance(operation, keras.layers.InputLayer):  # images stay float32
            return False
        return isinstance(operation, keras.Layer) and operation.dtype_policy.name != precision

    def change(operation):
        if not differs(operation):
            return operation
        return type(operation).from_config({**operation.get_config(), "dtype": precision})

    if not any(map(differs, model.layers)):
        return model
    twin = keras.models.clone_model(model, clone_function=change)
    twin.set_weights(model.get_weights())
    return twin
