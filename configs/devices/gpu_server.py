"""A server's GPU with 64 images a call, as HardCoRe-NAS and TF-NAS measure GPU latency.

Command: python -m keras_nas.tools.measure FILE.keras --config=configs/devices/gpu_server.py
In an experiment: `from configs.devices.gpu_server import get_config as server`, then
`device=server()`. Needs `pip install tensorflow[and-cuda]`. Not proven on a GPU by this project's
authors, who had none; the same code is tested on the processor.
"""

from keras_nas.config import DeviceConfig


def get_config() -> DeviceConfig:
    """A time is that of the whole batch: limits.latency_ms means 64 images."""
    return DeviceConfig(name="keras:gpu", batch=64, precision="mixed_float16", max_processes=5)
