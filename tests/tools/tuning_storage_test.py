"""Storages of a study that are locked, gone, or none."""

import sqlite3

import pytest

from keras_nas.tools.tuning_storage import check_there, local_url, open_storage, silence_optuna

silence_optuna()
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_a_locked_storage(tmp_path):
    file = tmp_path / "study.sqlite3"
    open_storage(local_url(file), 1)
    with sqlite3.connect(file) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"study.sqlite3 is locked by another program.*run again"):
            open_storage(local_url(file), 1, busy_seconds=0.05)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("sqlite:////not/there/study.sqlite3", OSError, "unable to open database file"),
        ("study.sqlite3", ValueError, "should be like sqlite:///FILE or postgresql://"),
        ("nosuch://me@host/db", ValueError, "with the database's driver installed"),
    ],
)
def test_what_is_no_storage(url, error, message):
    with pytest.raises(error) as raised:
        open_storage(url, 1)
    assert message in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_no_database(tmp_path):
    file = tmp_path / "study.sqlite3"
    file.write_text("this is a text, and long enough to be read as a header of a database" * 30)
    with pytest.raises(OSError, match="cannot be used: file is not a database"):
        open_storage(local_url(file), 1)


def test_a_storage_that_is_gone(tmp_path):
    file = tmp_path / "study.sqlite3"
    open_storage(local_url(file), 1)
    check_there(local_url(file))
    file.unlink()
    with pytest.raises(OSError, match=r"study.sqlite3 is gone.*same --output"):
        check_there(local_url(file))
