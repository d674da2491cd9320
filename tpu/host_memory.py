"""Memory of the host between training steps."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory(up_to: int = 1 << 30) -> None:
    """Lets the C library keep what a step frees, so that the next one need not ask for new pages.

    TensorFlow sets glibc's trim threshold to 128 kB when a process iterates over its first
    distributed data set. From then on every larger tensor is mapped, filled with zeros by the
    system page by page, and given back, in every step. To be called after that first iteration
    began. Does nothing where the C library has no `mallopt`.

    Args:
        up_to: Bytes of a tensor, and of what is free, that the process keeps.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(threshold, up_to)
