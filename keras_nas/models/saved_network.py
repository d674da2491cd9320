"""Networks in `.keras` files: to bytes, back, and as the start of another training."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_nas.models.import_weights import CLASSIFIER

_INCIDENTAL = ("name", "dtype", "trainable")
"""Settings of a layer that are no part of an architecture."""


def network_to_bytes(network: keras.Model) -> bytes:
    """A network as the content of a `.keras` file.

    Raises:
      OSError: the folder for temporary files is full or cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        try:
            network.save(path)
        except OSError as error:
            raise OSError(
                f"the network cannot be saved in {folder}: {error}. Free space there, or name "
                "another folder in the environment variable TMPDIR."
            ) from error
        return path.read_bytes()


def load_network(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file of Keras' own layers.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged, or has layers of others.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no network at {path}; check the path.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"network {path} cannot be loaded: it is damaged or no .keras file. Make it anew."
        )
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"network {path} cannot be loaded: {str(error).strip().splitlines()[0]} Make it anew."
        ) from error


def start_from(
    path: str | os.PathLike[str], network: keras.Model, *, reset_classifier: bool
) -> None:
    """Gives `network` the weights in a file of the same architecture.

    Args:
      path: `.keras` file, as the finetune stage or the tool import_weights writes. Its images may
        have another size.
      network: of `build_network`.
      reset_classifier: leave the classifier as it is in `network`.

    Raises:
      FileNotFoundError, ValueError: see `load_network`.
      ValueError: the architectures differ, or the numbers of classes do and `reset_classifier` is
        not set. `network` is as it was.
    """
    saved = load_network(path)
    difference = _difference(network, saved)
    if difference:
        raise ValueError(
            f"network {path} has another architecture than {network.name!r}, which is to start "
            f"from it: {difference}. Start from a network of the same architecture."
        )
    trained, classes = saved.output_shape[-1], network.output_shape[-1]
    if trained != classes and not reset_classifier:
        raise ValueError(
            f"network {path} has {trained} classes, and {classes} are needed; set reset_classifier "
            "to start with a fresh classifier."
        )
    for layer, source in zip(network.layers, saved.layers, strict=True):
        if not (reset_classifier and layer.name == CLASSIFIER):
            layer.set_weights(source.get_weights())


def _difference(network: keras.Model, saved: keras.Model) -> str:
    """The first thing that two networks compute differently, in words; "" where there is none."""
    wanted, found = (getattr(model, "operations", model.layers) for model in (network, saved))
    for ours, theirs in zip(wanted, found, strict=False):
        if type(ours) is not type(theirs):
            return f"{theirs.name} is a {type(theirs).__name__}, not a {type(ours).__name__}"
        settings, others = _settings(ours), _settings(theirs)
        for name, value in settings.items():
            if others.get(name) != value:
                return f"{theirs.name} has {name} {others.get(name)}, not {value}"
    if len(found) != len(wanted):
        return f"it has {len(found)} operations, not {len(wanted)}"
    return ""


def _settings(operation: keras.Operation) -> dict[str, Any]:
    """A layer's settings that belong to the architecture, so without sizes of images and classes;
    activations by themselves have none."""
    if not isinstance(operation, keras.Layer):
        return {}
    if isinstance(operation, keras.layers.InputLayer):
        return {"channels": operation.batch_shape[-1]}
    ignored = (*_INCIDENTAL, "units") if operation.name == CLASSIFIER else _INCIDENTAL
    return {k: v for k, v in operation.get_config().items() if k not in ignored}
