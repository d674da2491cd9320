"""Where latency is measured. `devices.profile` builds latency tables and needs TensorFlow."""

from keras_nas.devices.android import AndroidDevice
from keras_nas.devices.device import (
    Device,
    DeviceDescription,
    DeviceError,
    Profile,
    ProfilingDevice,
    Progress,
    Run,
)
from keras_nas.devices.factory import device_from_name
from keras_nas.devices.host import HostDevice
from keras_nas.devices.keras_device import KerasDevice
from keras_nas.devices.measurement import Measurement, measure_network
from keras_nas.devices.timing import Effort

__all__ = [
    "AndroidDevice",
    "Device",
    "DeviceDescription",
    "DeviceError",
    "Effort",
    "HostDevice",
    "KerasDevice",
    "Measurement",
    "Profile",
    "ProfilingDevice",
    "Progress",
    "Run",
    "device_from_name",
    "measure_network",
]
