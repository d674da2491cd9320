"""The C interface: what it refuses. That it works is tested with the host device."""

import ctypes
import importlib.metadata
import importlib.util

import pytest

from keras_nas.devices import litert_profiler
from keras_nas.devices.litert_profiler import Library, ProfiledModel, ProfilerError


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.9")
    supported = litert_profiler.SUPPORTED_VERSION
    with pytest.raises(ProfilerError, match=f"needs ai-edge-litert {supported}, found 2.9.9"):
        Library()


def test_a_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr(litert_profiler, "PACKAGE", "ai-edge-litert-that-is-not-there")
    with pytest.raises(ProfilerError, match="found none"):
        Library()
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProfilerError, match="cannot be found; install it again"):
        Library()


def test_a_library_without_a_function_is_refused(monkeypatch):
    monkeypatch.setitem(litert_profiler.FUNCTIONS, "LiteRtNoSuchFunction", ())
    with pytest.raises(ProfilerError, match=r"libLiteRt\.so lacks LiteRtNoSuchFunction"):
        Library()


def test_a_library_that_cannot_be_loaded_is_refused(monkeypatch):
    monkeypatch.setattr(litert_profiler, "LIBRARY", "no_such_library.so")
    with pytest.raises(ProfilerError, match=r"no_such_library\.so cannot be loaded"):
        Library()


def test_what_is_not_a_model_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model at all" * 10)
    with pytest.raises(ProfilerError, match="FromBuffer of LiteRT returned status"):
        ProfiledModel(Library(), str(path), 1)


def test_an_event_has_the_size_of_the_librarys():
    """Two pointers, six sizes, four 64-bit numbers, two enumerations, padded: 8 byte alignment."""
    assert ctypes.sizeof(litert_profiler.Event) == 8 + 8 + 2 * 8 + 6 * 8 + 2 * 8 + 8
