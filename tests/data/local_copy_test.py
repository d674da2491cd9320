"""Data on TensorFlow's file system in memory, which stands for cloud storage."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_nas.data import local_copy as module
from keras_nas.data import sources
from keras_nas.data.local_copy import local_copy
from tpu.storage import StoredPath, to_path

TFDS_DIR = Path("../shared/tfds")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """The folder of temporary files, and that of memory."""
    folders = tmp_path / "tmp", tmp_path / "shm"
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders[0]))
    monkeypatch.setattr(module, "_IN_MEMORY", folders[1])
    return folders


def place(base, stored):
    return base / f"keras_nas-{os.getuid()}" / str(stored).replace("://", "/")


def store(local, stored):
    for path in local.rglob("*"):
        if path.is_file():
            (stored / path.relative_to(local).parent).mkdir()
            (stored / path.relative_to(local)).write_bytes(path.read_bytes())


def test_a_local_folder_is_itself(tmp_path):
    assert local_copy(tmp_path) is tmp_path
    assert local_copy(to_path(f"file://{tmp_path}")) == tmp_path


def test_a_copy_goes_on_where_it_was_interrupted(disk, object_store, monkeypatch, caplog):
    for name, content in (("a", b"12"), ("below/b", b"345"), ("below/deeper/c", b"")):
        (object_store / name).parent.mkdir()
        (object_store / name).write_bytes(content)
    target = place(disk[0], object_store)
    assert local_copy(object_store) == target
    found = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert found == {"a": b"12", "below/b": b"345", "below/deeper/c": b""}
    assert target.parents[1].stat().st_mode & 0o77 == 0  # others cannot put files there
    assert "copied 100%" in caplog.text

    copied = []
    copy_to = StoredPath.copy_to
    monkeypatch.setattr(
        StoredPath, "copy_to", lambda *paths: copied.append(paths[0].name) or copy_to(*paths)
    )
    (target / "below" / "b").write_bytes(b"3")
    assert local_copy(object_store) == target and copied == ["b"]
    assert (target / "below" / "b").read_bytes() == b"345"
    assert local_copy(object_store) == target and copied == ["b"]


def test_a_copy_that_fails_leaves_nothing_half(disk, object_store, monkeypatch):
    object_store.mkdir()
    (object_store / "a").write_bytes(b"12")

    def fails(_, target):
        target.write_bytes(b"1")
        raise OSError("connection lost")

    monkeypatch.setattr(StoredPath, "copy_to", fails)
    with pytest.raises(OSError, match="connection lost"):
        local_copy(object_store)
    assert not list(place(disk[0], object_store).rglob("*"))


def test_room_is_looked_for_on_the_disk_and_in_memory(disk, object_store, monkeypatch):
    object_store.mkdir()
    (object_store / "a").write_bytes(b"12345")
    free = {disk[0]: 4, disk[1]: 4}
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[Path(path)])
    )
    with pytest.raises(OSError, match=r"no room for a local copy of ram://.* set TMPDIR"):
        local_copy(object_store)
    free[disk[1]] = 5
    assert local_copy(object_store) == place(disk[1], object_store)
    free[disk[1]] = 0  # taken by the copy
    assert local_copy(object_store) == place(disk[1], object_store)


def test_a_folder_that_is_not_there(disk, object_store):
    with pytest.raises(FileNotFoundError, match=r"ram://.* does not exist, is empty, or may not"):
        sources.load(f"folder:{object_store}", resolution=8)
    with pytest.raises(FileNotFoundError, match=r"data_dir ram://.* does not exist, or may not"):
        sources.load("tfds:mnist", str(object_store), resolution=28)


def test_a_stored_folder_of_images_reads_as_the_local_one(disk, object_store, tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (10, 8, 8, 3), np.uint8)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / "pets" / name / f"{i}.png")
    store(tmp_path / "pets", object_store)
    local = sources.load(f"folder:{tmp_path / 'pets'}", resolution=8)
    stored = sources.load(f"folder:{object_store}", resolution=8)
    assert stored.class_names == local.class_names
    np.testing.assert_array_equal(stored.train.images, local.train.images)


@pytest.mark.skipif(not TFDS_DIR.is_dir(), reason="no prepared TFDS sets")
def test_a_stored_tfds_set_reads_as_the_local_one(disk, object_store):
    store(TFDS_DIR / "fashion_mnist", object_store / "fashion_mnist")
    arguments = {"resolution": 28, "train_split": "test"}
    local = sources.load("tfds:fashion_mnist", TFDS_DIR, **arguments)
    stored = sources.load("tfds:fashion_mnist", str(object_store), **arguments)
    assert stored.class_names == local.class_names
    np.testing.assert_array_equal(stored.train.images, local.train.images)
    with pytest.raises(FileNotFoundError, match=r"prepared there: fashion_mnist\)"):
        sources.load("tfds:mnist", str(object_store), resolution=28)
