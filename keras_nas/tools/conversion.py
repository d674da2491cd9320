"""Converts networks with fresh weights for measuring, several at a time."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from keras_nas import files
from keras_nas.devices import DeviceError, Progress
from keras_nas.devices.device import no_progress
from keras_nas.tools.networks import NamedNetwork

NETWORKS_PER_PROCESS = 3
"""Importing TensorFlow takes about as long as one conversion; fewer do not pay."""
MAX_PROCESSES = 8
"""Each takes about 1 GB."""
LOG = "conversion.log"
"""What TensorFlow writes while it converts."""


def convert_networks(
    networks: Mapping[Path, NamedNetwork],
    model_format: str,
    precision: str,
    batch: int,
    *,
    on_progress: Progress = no_progress,
) -> None:
    """Converts what is not there yet, in processes of its own, so that none of it disturbs a
    measurement that follows.

    Args:
      networks: file to write -> network; all in one folder. What a file is made from must be told
        by its name, since one that exists is kept.
      model_format: see `Device.format`.
      precision, batch: see `export.convert_frozen`.
      on_progress: called after each conversion.

    Raises:
      OSError: a file cannot be written.
      ValueError: unknown precision, or a network that cannot be converted.
      DeviceError: a process died.
    """
    missing = {path: network for path, network in networks.items() if not path.exists()}
    if not missing:
        on_progress(1, 1, "all converted before")
        return
    log = next(iter(missing)).parent / LOG
    files.write_text(log, "")
    workers = max(1, min(os.cpu_count() or 1, len(missing) // NETWORKS_PER_PROCESS, MAX_PROCESSES))
    # Not forked: TensorFlow's threads, if this process has them, would not be in the copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(str(log),))
    try:
        futures = {
            pool.submit(_convert, network, model_format, precision, batch, path): network.name
            for path, network in missing.items()
        }
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            on_progress(done, len(futures), f"converted {futures[future]}")
    except BrokenProcessPool:
        raise DeviceError(
            f"a process that converts networks died; {log} ends with its last words. Where memory "
            "is short, stop other programs; run again to continue."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(log: str) -> None:
    """Sends what a process prints, C++ code included, to a file; ends it with the one it serves."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes would wait for work forever after their parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _convert(
    network: NamedNetwork, model_format: str, precision: str, batch: int, path: Path
) -> None:
    # Here, so that the process that measures needs no TensorFlow.
    import keras

    from keras_nas.export import CONVERTERS
    from keras_nas.models import build_network

    shape, classes = network.input_shape, network.classes
    model = build_network(network.architecture, shape, classes, fused_batch_norm=True)
    files.write_bytes(path, CONVERTERS[model_format](model, precision, batch))
    keras.backend.clear_session()
