import errno
import json
import os
import stat
from pathlib import Path

import pytest

from keras_nas import files


def test_writes_and_reads_back(tmp_path):
    path = tmp_path / "new" / "folder" / "value.json"
    files.write_json(path, {"a": [1, 2.5, None], "é": "ü"})
    assert files.read_json(path) == {"a": [1, 2.5, None], "é": "ü"}
    files.write_text(path, "größer\n")
    assert files.read_text(path) == "größer\n"
    files.write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["value.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_takes_paths_as_text(tmp_path):
    files.write_text(str(tmp_path / "a"), "text")
    assert files.read_text(str(tmp_path / "a")) == "text"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_json_cannot_hold_leaves_the_file_alone(tmp_path, value):
    path = tmp_path / "value.json"
    files.write_json(path, {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        files.write_json(path, {"new": value})
    assert files.read_json(path) == {"old": 1}


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "value.txt"
    files.write_text(path, "old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    message = "cannot write .*value.txt: No space left on device. Free space or choose a folder"
    with pytest.raises(OSError, match=message):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["value.txt"]


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "value.txt"
    files.write_text(path, "old")
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.append((Path(target).read_text(), Path(source).read_text(), Path(source).parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    files.write_text(path, "new")
    assert seen == [("old", "new", tmp_path)]
    assert path.read_text() == "new"


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"cannot write .*file/value\.json: "):
        files.write_text(tmp_path / "file" / "value.json", "text")
    with pytest.raises(OSError, match="cannot write"):
        files.write_text(tmp_path, "text")
    assert os.listdir(tmp_path) == ["file"]


def test_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no latency table at .*none\.json; check the path"
    ):
        files.read_json(tmp_path / "none.json", "latency table")


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ab\xff\xfe")
    with pytest.raises(ValueError, match=r"a is damaged: it is not UTF-8 .* at byte 2"):
        files.read_text(path, "table")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1, 2', "table .*a is damaged or truncated: .* at line 1, column 12. Delete it"),
        ("", "damaged or truncated: Expecting value at line 1, column 1"),
        ("[1]", "should hold a JSON object, received list"),
        ("3", "should hold a JSON object, received int"),
    ],
)
def test_damaged_json(tmp_path, text, message):
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        files.read_json(path, "table")


def test_files_on_cloud_storage(object_store):
    files.write_json(object_store / "a.json", {"b": 1})
    assert files.read_json(str(object_store / "a.json")) == {"b": 1}
    with pytest.raises(FileNotFoundError, match="no table at ram://"):
        files.read_text(object_store / "nothing", "table")
    with files.local_copy(object_store / "a.json") as copy:
        assert copy.name == "a.json"
        assert json.loads(copy.read_text()) == {"b": 1}
    assert not copy.exists()


def test_a_local_file_is_its_own_copy(tmp_path):
    with files.local_copy(tmp_path / "a") as copy:
        assert copy == tmp_path / "a"
