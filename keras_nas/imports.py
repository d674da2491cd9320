"""Importing TensorFlow and Keras in less time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

KERAS_EXTRAS = ("matplotlib", "sklearn")
"""What Keras imports where installed: for galleries of images and scikit-learn's pipelines."""


@contextlib.contextmanager
def tensorflow_library_beside() -> Iterator[None]:
    """Lets the linker load TensorFlow's library in a thread beside what a block imports.

    It takes as long as all that the program imports before TensorFlow, and Python's lock is free
    while it does. Where there is no such library nothing happens, and what is wrong with it the
    import of TensorFlow says.
    """
    importlib.import_module("numpy")  # first: the linker loads one library at a time
    spec = importlib.util.find_spec("tensorflow")
    library = Path(spec.origin).with_name("libtensorflow_cc.so.2") if spec and spec.origin else None
    if not (library and library.exists()):
        yield
        return
    # Python's lock is free in functions that ctypes calls, but not while ctypes itself loads.
    load = ctypes.CDLL(None).dlopen
    thread = threading.Thread(target=load, args=(bytes(library), os.RTLD_LAZY))
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Hides `KERAS_EXTRAS` and stops Python's collector while a block imports TensorFlow and Keras.

    The imports make objects by the hundred thousand, all of which stay: the collector never looks
    at what is there at the end. Afterwards everybody can import the extras.
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
        gc.freeze()
        if collects:
            gc.enable()
