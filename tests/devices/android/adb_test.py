"""Talking to a phone: which one, what is wrong with it, and cables that come loose."""

import pytest

from keras_nas.devices import DeviceError, adb
from keras_nas.devices.adb import Adb

LISTED = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
LISTED += "List of devices attached\n"


@pytest.fixture
def connection(fake_phone):
    return Adb(wait_seconds=30, notify=fake_phone.notices.append)


@pytest.mark.parametrize(
    ("serial", "listed", "message"),
    [
        ("", "", r"no phone is connected; connect it, and switch on USB debugging \(docs"),
        (
            "",
            "A\tdevice\nB\tdevice\n",
            r"2 phones are connected \(A, B\); name one, .* android:A\.",
        ),
        ("C", "A\tdevice\n", "phone C is not connected, only A; connect it"),
        (
            "",
            "A\tunauthorized\n",
            "phone A is in state 'unauthorized'; unlock it and confirm 'Allow USB deb",
        ),
        ("A", "A\tauthorizing\n", "phone A is in state 'authorizing'; unlock it"),
        ("A", "A\toffline\n", "phone A is in state 'offline'; plug the cable in again"),
        (
            "A",
            "A\tno permissions (user in plugdev group; are your udev rules wrong?); see [http]\n",
            "phone A is in state 'no permissions'; allow this user .*apt install",
        ),
        ("", "????????????\tno permissions\n", "is in state 'no permissions'; allow this user"),
        ("A", "A\trecovery\n", "phone A is in state 'recovery'; start Android on it"),
    ],
)
def test_a_phone_that_cannot_be_used_is_named_with_a_remedy(fake_phone, serial, listed, message):
    fake_phone.devices(LISTED + listed)
    with pytest.raises(DeviceError, match=message) as caught:
        Adb(serial).shell("true")
    assert len(str(caught.value).splitlines()) == 1
    assert fake_phone.calls == []


def test_the_phone_is_chosen(fake_phone):
    fake_phone.devices(LISTED + "A\tdevice\nemulator-5554\toffline\n192.168.1.5:5555\tdevice\n")
    assert Adb("192.168.1.5:5555").serial == "192.168.1.5:5555"
    fake_phone.devices(LISTED + "A\tdevice\n")
    assert Adb().serial == "A"


def test_adb_is_not_installed(fake_phone, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"adb cannot be run \(No such file.*apt install adb"):
        Adb().shell("true")


def test_adb_itself_fails(fake_phone, monkeypatch):
    (fake_phone.folder / "adb/adb").write_text("#!/bin/sh\necho 'cannot bind tcp:5037' >&2; exit 1")
    with pytest.raises(DeviceError, match=r"failed and said 'cannot bind tcp:5037'; .*kill-server"):
        Adb().shell("true")
    (fake_phone.folder / "adb/adb").write_text("#!/bin/sh\nexec sleep 5")
    monkeypatch.setattr(adb, "COMMAND_SECONDS", 0.1)
    with pytest.raises(DeviceError, match="said 'nothing'"):
        Adb().shell("true")


def test_shell_gives_code_and_both_outputs(connection):
    assert connection.shell("echo one; echo two >&2; exit 7") == (7, "one\ntwo\n")
    assert connection.shell("printf 'no end'") == (0, "no end")
    assert connection.shell("echo keras_nas_exit=3") == (0, "keras_nas_exit=3\n")


def test_a_lost_command_runs_again_when_the_phone_is_back(fake_phone, connection):
    assert connection.serial == fake_phone.serial
    fake_phone.lose("echo hello")
    gone = "List of devices attached\n"
    offline = f"{gone}{fake_phone.serial}\toffline\n"
    unauthorized = f"{gone}{fake_phone.serial}\tunauthorized\n"
    fake_phone.devices(gone, offline, unauthorized, f"{gone}{fake_phone.serial}\tdevice\n")
    assert connection.shell("echo hello") == (0, "hello\n")
    assert len(fake_phone.calls) == 2
    lost, *waiting = fake_phone.notices
    assert "connection was lost (adb: device '1A2B3C' not found)" in lost
    assert [any(state in text for text in waiting) for state in ("not connected", "offline")]
    assert any("confirm 'Allow USB debugging'" in text and "of 30 s" in text for text in waiting)


def test_output_without_its_end_is_lost(fake_phone, connection):
    fake_phone.fail("echo hello", stdout="hel", code=0)
    assert connection.shell("echo hello") == (0, "hello\n")


def test_a_phone_that_hangs_is_lost(fake_phone, connection, monkeypatch):
    fake_phone.fail("echo hello", hang=5)
    assert connection.serial
    monkeypatch.setattr(adb, "COMMAND_SECONDS", 0.4)
    assert connection.shell("echo hello", seconds=0.1) == (0, "hello\n")
    assert "stopped answering" in fake_phone.notices[0]


def test_a_phone_that_does_not_come_back(fake_phone):
    connection = Adb(wait_seconds=0.05, notify=fake_phone.notices.append)
    assert connection.serial
    fake_phone.lose("echo hello")
    fake_phone.devices("List of devices attached\n")
    with pytest.raises(
        DeviceError, match=r"1A2B3C is not connected; .* waited for 0\.05 s; run ag"
    ):
        connection.shell("echo hello")


def test_a_loose_cable(fake_phone, connection):
    fake_phone.lose("echo hello", times=99)
    with pytest.raises(DeviceError, match=r"lost 5 times in a row \(adb: device .* another cable"):
        connection.shell("echo hello")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(range(256)) * 9)
    return path


TARGET = "/data/local/tmp/model"


def test_push_and_remove(fake_phone, connection, file):
    connection.push(file, TARGET)
    assert (fake_phone.folder / TARGET[1:]).read_bytes() == file.read_bytes()
    connection.remove(TARGET)
    assert fake_phone.files == []


def test_a_push_that_is_lost_runs_again(fake_phone, connection, file):
    fake_phone.fail("push", stderr="adb: error: failed to read copy response: EOF\n", code=1)
    connection.push(file, TARGET)
    assert fake_phone.files == ["model"]
    assert "copy response: EOF" in fake_phone.notices[0]


@pytest.mark.parametrize(
    "failure",
    [
        {"stderr": "adb: error: failed to copy: remote No space left on device\n", "code": 1},
        {"stdout": "failed to copy: No space left on device\n1 file pushed\n", "code": 0},
        {"stdout": "1 file pushed\n", "code": 0},  # and nothing arrived
    ],
)
def test_a_full_phone(fake_phone, connection, file, failure):
    fake_phone.fail("push", **failure)
    with pytest.raises(
        DeviceError, match=r"storage of phone 1A2B3C is full: model\.tflite \(0\.0 MB"
    ):
        connection.push(file, TARGET)


def test_a_push_that_is_refused(fake_phone, connection, file):
    fake_phone.fail("push", stderr="remote couldn't create file: Read-only file system", code=1)
    with pytest.raises(DeviceError, match=r"cannot push .*model\.tflite to .*: remote .*Read-only"):
        connection.push(file, TARGET)


def test_removing_does_not_wait_for_a_phone_that_is_gone(fake_phone, connection):
    Adb().remove(TARGET)
    assert fake_phone.calls == []  # there is none yet
    assert connection.serial
    fake_phone.lose("rm -rf", times=99)
    connection.remove(TARGET)
    assert fake_phone.notices == []
