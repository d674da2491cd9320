"""Which devices a program runs on, as a `tf.distribute.Strategy`.

The one place that knows device kinds: everything else in `tpu` works with the strategy it is
given, so more devices, more hosts or a TPU are another branch here.
"""

from __future__ import annotations

import logging

import tensorflow as tf

ACCELERATORS = ("auto", "cpu", "gpu")

_log = logging.getLogger(__name__)


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used."""


def strategy_for(accelerator: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy for one device.

    Args:
        accelerator: "cpu", "gpu", or "auto": the GPU where there is one, else the CPU.

    Raises:
        ValueError: `accelerator` is none of `ACCELERATORS`.
        DeviceError: A GPU is asked for and TensorFlow sees none, or a TPU is asked for.
    """
    if accelerator == "tpu":
        raise DeviceError(
            "Accelerator 'tpu' is not available: this version runs on the CPU and on one GPU; "
            "use 'auto', 'cpu' or 'gpu'."
        )
    if accelerator not in ACCELERATORS:
        raise ValueError(f"Unknown accelerator {accelerator!r}: use one of {ACCELERATORS}.")
    gpus = len(tf.config.list_logical_devices("GPU")) if accelerator != "cpu" else 0
    if accelerator == "gpu" and not gpus:
        raise DeviceError(
            "Accelerator 'gpu' was asked for, but TensorFlow sees no GPU: check the driver and "
            "CUDA_VISIBLE_DEVICES, or use 'cpu' or 'auto'."
        )
    if gpus > 1:
        _log.warning("TensorFlow sees %d GPUs; the first one is used.", gpus)
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
