"""A server's processor under TensorFlow with one image a call, as the papers measure CPU latency.

Command: python -m keras_nas.tools.measure FILE.keras --config=configs/devices/cpu_server.py
In an experiment: `from configs.devices.cpu_server import get_config as server`, then
`device=server()`.
"""

from keras_nas.config import DeviceConfig


def get_config() -> DeviceConfig:
    """One thread, timed by its own processor time, which other programs do not disturb."""
    return DeviceConfig(name="keras:cpu", threads=1, batch=1)
