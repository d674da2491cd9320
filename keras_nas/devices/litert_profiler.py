"""Times of single operations out of LiteRT's C library.

LiteRT's Python interface shows no profile, its C library does. That interface is not promised to
stay, so that all of it is in this file and one version of the package is accepted. Nothing is
freed: this is for a process that ends when it has measured.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path

import numpy as np

PACKAGE = "ai-edge-litert"
SUPPORTED_VERSION = "2.3.0"
LIBRARY = "libLiteRt.so"

CPU = 1
"""kLiteRtHwAcceleratorCpu."""
WRITE = 1
"""kLiteRtTensorBufferLockModeWrite."""
OPERATION, DELEGATED_OPERATION = 1 << 1, 1 << 3
"""Kinds of events: an operation of TFLite's own, one inside XNNPACK."""
TENSOR_TYPE_BYTES = 512
"""More than LiteRtRankedTensorType takes."""


class ProfilerError(RuntimeError):
    """The C library is missing, of another version, or refused a call."""


class Event(ctypes.Structure):
    """ProfiledEventData: one thing that was timed."""

    _fields_ = (
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_size_t * 6),
        ("metadata", c_uint64 * 2),
        ("source", c_int),
    )


POINTERS = POINTER(c_void_p)
FUNCTIONS: dict[str, tuple[type, ...]] = {
    "LiteRtAddOpaqueOptions": (c_void_p, c_void_p),
    "LiteRtCompiledModelGetProfiler": (c_void_p, POINTERS),
    "LiteRtCreateCompiledModel": (c_void_p, c_void_p, c_void_p, POINTERS),
    "LiteRtCreateEnvironment": (c_int, c_void_p, POINTERS),
    "LiteRtCreateManagedTensorBufferFromRequirements": (c_void_p, c_char_p, c_void_p, POINTERS),
    "LiteRtCreateModelFromBuffer": (c_void_p, c_char_p, c_size_t, POINTERS),
    "LiteRtCreateOpaqueOptions": (c_char_p, c_void_p, c_void_p, POINTERS),
    "LiteRtCreateOptions": (POINTERS,),
    "LiteRtGetCompiledModelInputBufferRequirements": (c_void_p, c_size_t, c_size_t, POINTERS),
    "LiteRtGetCompiledModelOutputBufferRequirements": (c_void_p, c_size_t, c_size_t, POINTERS),
    "LiteRtGetModelSignature": (c_void_p, c_size_t, POINTERS),
    "LiteRtGetNumProfilerEvents": (c_void_p, POINTER(c_int)),
    "LiteRtGetProfilerEvents": (c_void_p, c_int, POINTER(Event)),
    "LiteRtGetRankedTensorType": (c_void_p, c_char_p),
    "LiteRtGetSignatureInputTensorByIndex": (c_void_p, c_size_t, POINTERS),
    "LiteRtGetSignatureOutputTensorByIndex": (c_void_p, c_size_t, POINTERS),
    "LiteRtGetTensorBufferSize": (c_void_p, POINTER(c_size_t)),
    "LiteRtLockTensorBuffer": (c_void_p, POINTERS, c_int),
    "LiteRtResetProfiler": (c_void_p,),
    "LiteRtRunCompiledModel": (c_void_p, c_size_t, c_size_t, POINTERS, c_size_t, POINTERS),
    "LiteRtSetOptionsHardwareAccelerators": (c_void_p, c_int),
    "LiteRtStartProfiler": (c_void_p,),
    "LiteRtStopProfiler": (c_void_p,),
    "LiteRtUnlockTensorBuffer": (c_void_p,),
}
"""What is used of the library, with the types of the arguments; each returns 0 for success."""


class Library:
    """LiteRT's C library, of the supported version.

    Raises:
      ProfilerError: the package or its library is missing, or is another version.
    """

    def __init__(self) -> None:
        check_version()
        spec = importlib.util.find_spec("ai_edge_litert")
        if spec is None or spec.origin is None:
            raise ProfilerError(f"the folder of {PACKAGE} cannot be found; install it again.")
        path = Path(spec.origin).with_name(LIBRARY)
        try:
            self._functions = ctypes.CDLL(str(path))
        except OSError as error:
            raise ProfilerError(f"{path} cannot be loaded: {error}.") from None
        missing = [name for name in FUNCTIONS if not hasattr(self._functions, name)]
        if missing:
            raise ProfilerError(f"{path} lacks {', '.join(missing)}; install {PACKAGE} again.")
        for name, types in FUNCTIONS.items():
            getattr(self._functions, name).argtypes = types

    def call(self, name: str, *arguments: object) -> None:
        """Calls a function.

        Raises:
          ProfilerError: it returned a status other than 0.
        """
        status = getattr(self._functions, name)(*arguments)
        if status != 0:
            raise ProfilerError(f"{name} of LiteRT returned status {status}.")

    def make(self, name: str, *arguments: object) -> c_void_p:
        """Calls a function whose last argument receives what it makes."""
        result = c_void_p()
        self.call(name, *arguments, byref(result))
        return result


def check_version() -> None:
    """Raises ProfilerError unless the supported version is installed."""
    try:
        found = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != SUPPORTED_VERSION:
        raise ProfilerError(
            f"timing single operations needs {PACKAGE} {SUPPORTED_VERSION}, found {found}; run "
            f"`pip install {PACKAGE}=={SUPPORTED_VERSION}`."
        )


class ProfiledModel:
    """A `.tflite` model with float32 input that can be run with or without a profile.

    Args:
      library: the C library.
      path: of the file.
      threads: of the runtime.

    Raises:
      ProfilerError: the model cannot be loaded.
      OSError: the file cannot be read.
    """

    def __init__(self, library: Library, path: str, threads: int) -> None:
        self._library = library
        self._data = Path(path).read_bytes()  # the model points into it, options into the texts
        self._texts: list[ctypes.Array] = []
        environment = library.make("LiteRtCreateEnvironment", 0, None)
        model = library.make(
            "LiteRtCreateModelFromBuffer", environment, self._data, len(self._data)
        )
        options = library.make("LiteRtCreateOptions")
        library.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        self._add_options(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add_options(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self._model = library.make("LiteRtCreateCompiledModel", environment, model, options)
        self._profiler = library.make("LiteRtCompiledModelGetProfiler", self._model)
        signature = library.make("LiteRtGetModelSignature", model, 0)
        image = self._buffer("Input", environment, signature)
        self._fill(image)
        output = self._buffer("Output", environment, signature)
        self._run_arguments = (self._model, 0, 1, byref(image), 1, byref(output))

    def _add_options(self, options: c_void_p, identifier: bytes, text: bytes) -> None:
        self._texts.append(ctypes.create_string_buffer(text))
        opaque = self._library.make(
            "LiteRtCreateOpaqueOptions",
            identifier,
            ctypes.cast(self._texts[-1], c_void_p),
            ctypes.cast(NO_DELETER, c_void_p),
        )
        self._library.call("LiteRtAddOpaqueOptions", options, opaque)

    def _buffer(self, kind: str, environment: c_void_p, signature: c_void_p) -> c_void_p:
        tensor = self._library.make(f"LiteRtGetSignature{kind}TensorByIndex", signature, 0)
        tensor_type = ctypes.create_string_buffer(TENSOR_TYPE_BYTES)
        self._library.call("LiteRtGetRankedTensorType", tensor, tensor_type)
        requirements = self._library.make(
            f"LiteRtGetCompiledModel{kind}BufferRequirements", self._model, 0, 0
        )
        return self._library.make(
            "LiteRtCreateManagedTensorBufferFromRequirements",
            environment,
            tensor_type,
            requirements,
        )

    def _fill(self, buffer: c_void_p) -> None:
        """Standard normal numbers; what was in the memory could be slow to compute with."""
        size = c_size_t()
        self._library.call("LiteRtGetTensorBufferSize", buffer, byref(size))
        address = c_void_p()
        self._library.call("LiteRtLockTensorBuffer", buffer, byref(address), WRITE)
        values = np.random.default_rng(0).standard_normal(size.value // 4, np.float32)
        ctypes.memmove(address, values.ctypes.data, values.nbytes)
        self._library.call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """Runs the model once."""
        self._library.call("LiteRtRunCompiledModel", *self._run_arguments)

    def profile(self) -> list[tuple[str, float]]:
        """Runs the model once with a profile.

        Returns:
          Kind and microseconds of each operation, in order.
        """
        self._library.call("LiteRtResetProfiler", self._profiler)
        self._library.call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._library.call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._library.call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        events = (Event * count.value)()
        self._library.call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            (event.tag.decode(), float(event.elapsed_us))
            for event in events
            if event.kind in (OPERATION, DELEGATED_OPERATION)
        ]


NO_DELETER = ctypes.CFUNCTYPE(None, c_void_p)(lambda address: None)
"""For memory that Python owns."""
