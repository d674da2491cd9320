"""One network for two devices, each with its own limit: the quickstart in float32 and in int8.

Paper: HardCoRe-NAS (arXiv 2102.11646), scaled down as in configs/quickstart.py; several limits
are those of section 3.1 with a row of Theta for each device.
Command: python -m keras_nas --config=configs/quickstart_two_devices.py --workdir=runs/two_devices
Cost: half a minute more than the quickstart, for the second latency table (25 s).
Expect: 98% of the 360 test digits right (measured 98.3%). network.tflite keeps the limit in float32
and network_int8.tflite the one in int8, each at 40% of the way from the smallest to the largest
latency there (measured 6% and 7% below).
"""

import dataclasses

from configs.quickstart import get_config as quickstart
from keras_nas.config import Config, OtherDeviceConfig


def get_config() -> Config:
    """The experiment. Other devices are phones, or more threads, as well."""
    config = quickstart()
    config.name = "quickstart_two_devices"
    int8 = dataclasses.replace(config.device, precision="int8")
    config.other_devices = {"int8": OtherDeviceConfig(int8, latency_fraction=0.4)}
    return config
