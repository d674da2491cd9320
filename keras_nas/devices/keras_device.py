"""TensorFlow on this machine's processor or GPU as a device: for networks that a server runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from keras_nas.devices import worker
from keras_nas.devices.device import DeviceError, Run
from keras_nas.devices.host import processor_name
from keras_nas.resources import DeviceDescription
from keras_nas.space.values import positive_integer

WORKER = "keras_nas.devices.keras_worker"
KINDS = ("cpu", "gpu")


class KerasDevice:
    """Times Keras models as frozen TensorFlow graphs, each run in a fresh process.

    One thread of the processor is timed by the process's own time, which other programs do not
    disturb; several threads, and a GPU, by the wall clock, from images in the device's memory to
    the result in the processor's.

    Args:
      kind: `cpu` or `gpu`, which is the first GPU that TensorFlow sees.
      threads: of the processor, for one operation.
      batch: images in a call; a time is that of the whole batch.

    Raises:
      ValueError: an unknown kind, or a number that is not a positive integer.
    """

    format = "graph"

    def __init__(self, kind: str = "cpu", *, threads: int = 1, batch: int = 1) -> None:
        if kind not in KINDS:
            raise ValueError(f"a Keras device should be keras:cpu or keras:gpu, received {kind!r}.")
        positive_integer(threads, "number of threads")
        positive_integer(batch, "batch")
        self.kind, self.threads, self.batch = kind, threads, batch

    def describe(self) -> DeviceDescription:
        """See `Device`."""
        import tensorflow as tf  # takes seconds, which the other devices need not spend

        one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
        processor, library = (
            _gpu() if self.kind == "gpu" else (processor_name(), "oneDNN" if one_dnn else "Eigen")
        )
        return DeviceDescription(
            name=f"keras:{self.kind}",
            processor=processor,
            cores=os.cpu_count() or 1,
            operating_system=f"{platform.system()} {platform.machine()}",
            runtime="TensorFlow",
            runtime_version=tf.__version__,
            delegate=library,
        )

    def run(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Run:
        """See `Device`."""
        request = {
            "models": {name: str(path) for name, path in models.items()},
            "reference": str(reference),
            "device": self.kind,
            "threads": self.threads,
            "rounds": rounds,
            "seed": seed,
        }
        with worker.start(WORKER, "measuring") as process:
            return Run(**process.ask(request, on_round))


def _gpu() -> tuple[str, str]:
    """Names of the first GPU and of the library that it computes with.

    Raises:
      DeviceError: there is none.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise DeviceError(
            "TensorFlow finds no GPU; install `tensorflow[and-cuda]`, check the driver with "
            "`nvidia-smi`, or measure on keras:cpu."
        )
    build = tf.sysconfig.get_build_info()
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return name, f"CUDA {build.get('cuda_version')} cuDNN {build.get('cudnn_version')}"
