"""A model's weights in one file, with names and shapes, so that a wrong file is refused by name."""

from __future__ import annotations

import io
import zipfile

import keras
import numpy as np


def weights_to_bytes(model: keras.Model) -> bytes:
    """All weights of a model as a NumPy archive: `index:path` -> array."""
    arrays = {f"{i}:{w.path}": w.numpy() for i, w in enumerate(model.weights)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def weights_from_bytes(model: keras.Model, data: bytes, where: str) -> None:
    """Sets all weights of a model; `where` names the data's origin in errors.

    Raises:
      ValueError: the data are damaged, or belong to a model of another shape; names the first
        difference.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{where} is damaged ({error}). Delete it and run its stage again."
        ) from None
    if len(stored) != len(model.weights):
        raise ValueError(
            f"{where} holds {len(stored)} weights, and the model has {len(model.weights)}: it was "
            "made for another search space or number of classes. Use another work directory."
        )
    for weight, (name, value) in zip(model.weights, stored.items(), strict=True):
        if tuple(weight.shape) != value.shape:
            raise ValueError(
                f"{where}: {name} has shape {value.shape}, and the model's {weight.path} has "
                f"{tuple(weight.shape)}: it was made for another search space or number of "
                "classes. Use another work directory."
            )
    model.set_weights(list(stored.values()))
