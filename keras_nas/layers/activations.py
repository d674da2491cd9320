"""Activations by the names that block strings use."""

from __future__ import annotations

from collections.abc import Callable

import keras

ACTIVATIONS: dict[str, Callable] = {
    "relu": keras.ops.relu,
    "relu6": keras.ops.relu6,
    "hard_swish": keras.ops.hard_silu,
    "swish": keras.ops.silu,
}
"""Name -> function of a tensor of any shape."""


def activation(name: str) -> Callable:
    """The activation called `name`.

    Raises:
      ValueError: there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
