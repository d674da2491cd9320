"""An Android phone, pinned to its fastest core. Change the mask to that of your phone.

Command: python -m keras_nas.tools.measure FILE.tflite --config=configs/devices/phone.py
In an experiment: `from configs.devices.phone import get_config as phone`, then `device=phone()`.
See docs/android.md. Not proven on a phone by this project's authors, who had none.
"""

from keras_nas.config import AndroidConfig, DeviceConfig


def get_config() -> DeviceConfig:
    """The only phone that is connected; `android:SERIAL` names one of several."""
    return DeviceConfig(
        name="android",
        threads=1,
        android=AndroidConfig(
            benchmark_model="android_aarch64_benchmark_model",
            taskset_mask="80",  # core 7, the only fastest one on most phones with 1 + 3 + 4 cores
            highest_celsius=36.0,
        ),
    )
