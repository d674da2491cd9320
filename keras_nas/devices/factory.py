"""Device names, as in `--config.device.name=android:SERIAL`, to devices."""

from __future__ import annotations

from typing import Any, Protocol

from keras_nas.devices.android import AndroidDevice
from keras_nas.devices.device import Device
from keras_nas.devices.host import HostDevice
from keras_nas.devices.keras_device import KINDS, KerasDevice

NAMES = ("host", "android", "android:SERIAL", *(f"keras:{kind}" for kind in KINDS))
"""What a device may be called."""


class Settings(Protocol):
    """What devices are made from, as in `config.DeviceConfig`.

    Attributes:
      threads: of the runtime.
      batch: images in a call.
      android: has the settings of `AndroidDevice` as attributes.
    """

    threads: int
    batch: int
    android: Any


def device_from_name(name: str, settings: Settings) -> Device:
    """Makes a device; nothing is run on it yet.

    Args:
      name: one of `NAMES`: this machine with LiteRT, a phone (without a serial number the only one
        that is connected), or TensorFlow on this machine's processor or GPU.
      settings: threads, batch and the kind's own.

    Raises:
      ValueError: an unknown name, or settings that do not fit.
    """
    kind, colon, rest = name.partition(":")
    if kind == "keras" and rest in KINDS:
        return KerasDevice(rest, threads=settings.threads, batch=settings.batch)
    if settings.batch != 1 and kind in ("host", "android"):
        raise ValueError(
            f"device.batch should be 1 on {kind}, which runs the exported .tflite file of batch 1; "
            f"received {settings.batch}. Other batches are for keras:cpu and keras:gpu."
        )
    if name == "host":
        return HostDevice(settings.threads)
    if kind == "android" and bool(colon) == bool(rest):
        return AndroidDevice(rest, threads=settings.threads, **vars(settings.android))
    raise ValueError(f"device.name should be one of {', '.join(NAMES)}; received {name!r}.")
