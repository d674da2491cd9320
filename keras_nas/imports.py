"""Importing TensorFlow and Keras in less time."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

KERAS_EXTRAS = ("matplotlib", "sklearn")
"""What Keras imports where installed, for galleries of images and scikit-learn's pipelines."""


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Hides `KERAS_EXTRAS` and stops Python's collector while a block imports TensorFlow and Keras.

    The imports make objects by the hundred thousand, all of which stay, so that looking through
    them for garbage finds nothing. Afterwards everybody can import the extras.
    """
    hidden = [name for name in KERAS_EXTRAS if name not in sys.modules]
    collects = gc.isenabled()
    gc.disable()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be imported
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
        if collects:
            gc.enable()
