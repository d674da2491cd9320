"""The settings of the devices that latency is measured on."""

import dataclasses

from keras_nas.config.types import Amount

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class AndroidConfig:
    """How a phone is measured.

    Attributes:
      benchmark_model: file of TFLite's benchmark program, built for the phone; docs/android.md says
        where to get it.
      taskset_mask: cores it may run on, hexadecimal with the lowest bit for core 0: `f0` is cores 4
        to 7; "" leaves it to the phone.
      xnnpack: use the XNNPACK delegate.
      highest_celsius: temperature of the phone up to which measuring begins.
      capped_clock: take the highest clock that the phone allows at the start for its full one, for
        phones whose clock is fixed on purpose below the processor's.
      wait_seconds: how long to wait for a phone that was lost or is hot, each time.
    """

    benchmark_model: str = "android_aarch64_benchmark_model"
    taskset_mask: str = ""
    xnnpack: bool = True
    highest_celsius: float = 40.0
    capped_clock: bool = False
    wait_seconds: float = 600.0


@dataclasses.dataclass
class DeviceConfig:
    """Where latency is measured.

    Attributes:
      name: `host` (LiteRT on this machine), `android` or `android:SERIAL` (a phone), `keras:cpu` or
        `keras:gpu` (TensorFlow on this machine).
      threads: of the runtime.
      batch: images in a call; other than 1 on `keras:cpu` and `keras:gpu` only.
      precision: that is measured: of `.tflite` files, `float32`, `float16` or `int8`; of Keras
        devices, `float32`, `mixed_float16` or `mixed_bfloat16`.
      calibration_networks: whole networks that the table's scale and overhead are fitted on.
      target_error: relative error at which measuring an entry ends.
      max_processes: at most so many fresh processes measure.
      latency_table: file of an earlier table to use in place of measuring; refused if it was made
        for another device, precision, resolution, space or number of classes.
      android: of phones only.
    """

    name: str = "host"
    threads: int = 1
    batch: int = 1
    precision: str = "float32"
    calibration_networks: int = 10
    target_error: float = 0.01
    max_processes: int = 8
    latency_table: str = ""
    android: AndroidConfig = dataclasses.field(default_factory=AndroidConfig)


@dataclasses.dataclass
class OtherDeviceConfig:
    """A further device, and the latency limit that holds there. Exactly one limit is needed.

    Attributes:
      device: see `DeviceConfig`.
      latency_ms: on this device.
      latency_fraction: in place of `latency_ms`: between the space's smallest (0) and largest (1)
        latency there.
    """

    device: DeviceConfig = dataclasses.field(default_factory=DeviceConfig)
    latency_ms: Amount | None = None
    latency_fraction: Amount | None = None
