"""Times TensorFlow graphs in a fresh process, for `keras_device.py`.

Reads one JSON request, a line of standard input; writes `{"progress": rounds done}` after each
round, and last the samples.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_nas.devices.host_worker import load_all, on_round, send, time_models

INPUT, OUTPUT = "image:0", "Identity:0"
"""Of a graph made by `export.convert_graph`."""


def load(path: str) -> Callable[[], object]:
    """The call that runs a graph once, on standard normal images, and waits for its result.

    Raises:
      ValueError: not a graph of `export.convert_graph`.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(Path(path).read_bytes())
        imported = tf.compat.v1.wrap_function(
            lambda: tf.compat.v1.import_graph_def(graph, name=""), []
        )
        ends = [imported.graph.get_tensor_by_name(name) for name in (INPUT, OUTPUT)]
    except (DecodeError, KeyError) as error:
        raise ValueError(f"it is not a graph made for this device ({error})") from None
    call = imported.prune(*ends)
    shape, dtype = ends[0].shape, ends[0].dtype
    image = tf.constant(np.random.default_rng(0).standard_normal(shape), dtype)
    call(image)
    return lambda: call(image).numpy()


def set_up(device: str, threads: int) -> None:
    """Lets TensorFlow see this device and so many threads only.

    Raises:
      ValueError: there is no such device.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise ValueError("TensorFlow finds no GPU")
    tf.config.set_visible_devices(gpus[:1] if device == "gpu" else [], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> None:
    request = json.loads(sys.stdin.readline())
    # Other processes may hold most of the GPU's memory; the whole of it is not needed here.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    device, threads = request["device"], request["threads"]
    try:
        set_up(device, threads)
    except ValueError as error:
        sys.exit(str(error))
    # The process's own time is not disturbed by other programs. TensorFlow computes outside of the
    # calling thread; with several threads, or on a GPU, nothing but the wall clock sees all of it.
    own = device == "cpu" and threads == 1
    clock = time.process_time_ns if own else time.perf_counter_ns
    loaded = load_all(request, load)
    reference = loaded.pop(None)
    send(time_models(loaded, reference, clock, request["rounds"], request["seed"], on_round))


if __name__ == "__main__":
    main()
