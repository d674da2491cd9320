"""Where latency is measured. `devices.profile` builds latency tables and needs TensorFlow."""

from keras_nas.devices.device import (
    Device,
    DeviceDescription,
    DeviceError,
    Profile,
    ProfilingDevice,
    Progress,
    Run,
)
from keras_nas.devices.host import HostDevice
from keras_nas.devices.measurement import Measurement, measure_network
from keras_nas.devices.timing import Effort

__all__ = [
    "Device",
    "DeviceDescription",
    "DeviceError",
    "Effort",
    "HostDevice",
    "Measurement",
    "Profile",
    "ProfilingDevice",
    "Progress",
    "Run",
    "measure_network",
]
