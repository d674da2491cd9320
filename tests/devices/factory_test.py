"""Device names, and which settings each takes."""

import runpy
from pathlib import Path

import pytest

from keras_nas.config import AndroidConfig, Config, DeviceConfig, LimitsConfig
from keras_nas.devices import AndroidDevice, HostDevice, KerasDevice, device_from_name
from keras_nas.devices.factory import NAMES

FILES = sorted((Path(__file__).parents[2] / "configs/devices").glob("*.py"))


def make(name, **settings):
    return device_from_name(name, DeviceConfig(**settings))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_its_device(name):
    device = make(name, threads=2)
    kind = {"host": HostDevice, "android": AndroidDevice, "keras": KerasDevice}
    assert type(device) is kind[name.partition(":")[0]]
    assert (device.threads, device.batch) == (2, 1)
    assert device.format == ("graph" if name.startswith("keras") else "tflite")


def test_settings_arrive(fake_serial):
    assert make("keras:gpu", batch=64).batch == 64
    assert make("keras:gpu").kind == "gpu"
    android = AndroidConfig(taskset_mask="zz")
    with pytest.raises(ValueError, match=r"taskset mask .* 'zz'"):
        make("android", android=android)
    assert fake_serial(make("android:192.168.1.5:5555")) == "192.168.1.5:5555"
    assert fake_serial(make("android")) == "ONLY"


@pytest.fixture
def fake_serial(monkeypatch):
    """A device -> serial number of the phone that it talks to."""
    from keras_nas.devices import adb

    found = {"192.168.1.5:5555": "device"}
    monkeypatch.setattr(adb, "phones", lambda: found)

    def serial(device):
        if device._adb._asked == "":
            found.clear()
            found["ONLY"] = "device"
        return device._adb.serial

    return serial


@pytest.mark.parametrize(
    "name", ["", "hosts", "host:", "host:1", "keras", "keras:tpu", "android:", "Android", "iphone"]
)
def test_unknown_names_list_what_exists(name):
    with pytest.raises(ValueError, match=r"one of host, android, android:SERIAL, keras:cpu"):
        make(name)


@pytest.mark.parametrize("name", ["host", "android:X"])
def test_other_batches_are_for_keras_devices(name):
    with pytest.raises(ValueError, match=r"device\.batch should be 1 on .*; received 64\. Other"):
        make(name, batch=64)


def test_there_are_examples():
    assert {"phone", "gpu_server", "cpu_server"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_is_valid_and_makes_a_device(path):
    module = runpy.run_path(str(path))
    settings = module["get_config"]()
    Config(device=settings, limits=LimitsConfig(latency_ms=1.0)).validate()
    device = device_from_name(settings.name, settings)
    assert (device.threads, device.batch) == (settings.threads, settings.batch)
    text = module["__doc__"]
    assert f"--config=configs/devices/{path.name}" in text
    assert f"configs.devices.{path.stem} import get_config" in text
