"""Paths on TensorFlow's file system in memory, which stands for an object store."""

import subprocess
import sys
from pathlib import Path

import pytest

from tpu.storage import StoredPath, is_local, to_path


def test_what_an_address_is():
    assert to_path("runs/a") == Path("runs/a")
    assert to_path("file:///runs/a") == Path("/runs/a")
    assert to_path(Path("a")) == Path("a")
    stored = to_path("gs://bucket/runs/")
    assert stored == StoredPath("gs://bucket/runs")
    assert to_path(stored) == stored
    assert is_local(Path("a")) and not is_local(stored)
    assert (str(stored), stored.name, str(stored.parent)) == (
        "gs://bucket/runs", "runs", "gs://bucket"
    )  # fmt: skip
    assert stored / "a" == StoredPath("gs://bucket/runs/a")
    assert stored.with_name("b") == StoredPath("gs://bucket/b")
    assert len({stored, to_path("gs://bucket/runs")}) == 1


def test_objects_are_written_read_moved_and_removed(object_store):
    folder, file = object_store / "a", object_store / "a" / "b"
    folder.mkdir()
    assert folder.exists() and folder.is_dir() and not folder.is_file()
    assert not file.exists()
    file.write_bytes(b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    file.write_text("größer")
    assert file.read_text() == "größer"
    assert file.is_file() and file.stat().st_size == len("größer".encode())
    assert list(folder.iterdir()) == [file]
    assert file.rename(folder / "c") == folder / "c"
    assert [path.name for path in folder.iterdir()] == ["c"]
    (folder / "c").unlink()
    (folder / "c").unlink(missing_ok=True)
    file.write_text("again")
    folder.rmtree()
    assert not folder.exists()


def test_errors_are_those_of_pathlib(object_store):
    object_store.mkdir()
    for action in (StoredPath.read_bytes, StoredPath.unlink, StoredPath.stat):
        with pytest.raises(FileNotFoundError):
            action(object_store / "nothing")
    with pytest.raises(OSError, match="nosuch"):
        to_path("nosuch://a/b").write_bytes(b"")


def test_tensorflow_is_not_imported_for_local_paths():
    code = "import sys, tpu.storage; tpu.storage.to_path('a'); print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
