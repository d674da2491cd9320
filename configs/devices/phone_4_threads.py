"""An Android phone with four threads on its four fast cores, as many apps run a network.

Command: python -m keras_nas.tools.measure FILE.tflite --config=configs/devices/phone_4_threads.py
In an experiment: `from configs.devices.phone_4_threads import get_config as phone`, then
`device=phone()`. See docs/android.md. Several threads spread more than one does, hence the larger
target error. Not proven on a phone by this project's authors, who had none.
"""

from keras_nas.config import AndroidConfig, DeviceConfig


def get_config() -> DeviceConfig:
    """Threads of their own cores each: four bits in the mask."""
    return DeviceConfig(
        name="android",
        threads=4,
        target_error=0.02,
        android=AndroidConfig(taskset_mask="f0", highest_celsius=34.0),
    )
