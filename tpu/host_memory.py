"""Memory of the host between training steps."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Lets the C library keep what a step frees, so that the next one need not ask for new pages.

    TensorFlow sets glibc's trim threshold to 128 kB when a process iterates over its first
    distributed data set, which also ends glibc's own adaptation to large tensors. From then on
    their memory goes back to the system in every step, and the next one gets it page by page,
    filled with zeros. To be called after that first iteration began. Does nothing where the C
    library has no `mallopt`.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(threshold, _BYTES)
