"""Converts many networks and pieces of a space for a device, several at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import queue
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import keras

from keras_nas import files
from keras_nas.devices import worker
from keras_nas.devices.device import Device, Progress, no_progress
from keras_nas.export import CONVERTERS
from keras_nas.models import build_network, build_piece
from keras_nas.resources.latency_table import all_pieces
from keras_nas.space import Architecture, SearchSpace

EMPTY = "empty"
"""Name of the almost empty network."""
MODULE = "keras_nas.devices.conversion_worker"
MODELS_PER_WORKER = 6
"""A worker needs some seconds to import TensorFlow, the time of about so many conversions."""
MAX_WORKERS = 8
"""Each takes about 1 GB."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What models are made for.

    Attributes:
      space: which networks and pieces belong to.
      classes: of the head.
      device: its format and batch.
      precision: see `export.convert_frozen`.
    """

    space: SearchSpace
    classes: int
    device: Device
    precision: str


def convert_models(
    target: Target,
    folder: Path,
    *,
    architectures: Iterable[Architecture] = (),
    names: Iterable[str] = (),
    on_progress: Progress = no_progress,
) -> dict[str, Path]:
    """Converts what is not in the folder yet.

    Args:
      target: what for.
      folder: holds files of this target only.
      architectures: networks to convert; each is called by its name.
      names: pieces to convert, by key, and `EMPTY`.
      on_progress: called after each conversion.

    Returns:
      Name -> file.

    Raises:
      ValueError: unknown precision, or a model that cannot be converted.
      DeviceError: a converting process died.
    """
    models: dict[str, Any] = {a.name: json.loads(a.to_json()) for a in architectures}
    models |= dict.fromkeys(names)
    suffix = target.device.format
    paths = {name: folder / f"{digest([name, value])}.{suffix}" for name, value in models.items()}
    common = {
        "space": target.space.to_json(),
        "classes": target.classes,
        "format": target.device.format,
        "precision": target.precision,
        "batch": target.device.batch,
    }
    requests = [
        {**common, "name": name, "architecture": models[name], "path": str(path)}
        for name, path in paths.items()
        if not path.exists()
    ]
    workers = min(os.cpu_count() or 1, len(requests) // MODELS_PER_WORKER, MAX_WORKERS)
    if workers < 2:
        for done, request in enumerate(requests, start=1):
            convert_one(request)
            on_progress(done, len(requests), f"converting {request['name']}")
    else:
        _convert_in_workers(requests, workers, on_progress)
    return paths


def digest(value: object) -> str:
    """Short name of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _convert_in_workers(
    requests: list[dict[str, Any]], workers: int, on_progress: Progress
) -> None:
    """Each worker takes the next request when it is done with one."""
    with contextlib.ExitStack() as stack:
        idle: queue.Queue[worker.Worker] = queue.Queue()
        for _ in range(workers):
            idle.put(stack.enter_context(worker.start(MODULE, "converting")))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        # Leaving early, as on Ctrl-C, must not wait for the requests that are not begun.
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def ask(request: dict[str, Any]) -> str:
            process = idle.get()
            answer = process.ask(request)
            idle.put(process)
            if "error" in answer:
                raise ValueError(answer["error"])
            return request["name"]

        futures = [pool.submit(ask, request) for request in requests]
        for done, future in enumerate(as_completed(futures), start=1):
            on_progress(done, len(requests), f"converting {future.result()}")


def convert_one(request: Mapping[str, Any]) -> None:
    """Converts one model, as described by `convert_models`, and writes its file."""
    data = CONVERTERS[request["format"]](_build(request), request["precision"], request["batch"])
    files.write_bytes(request["path"], data)


def _build(request: Mapping[str, Any]) -> keras.Model:
    space, classes = SearchSpace.from_json(request["space"]), request["classes"]
    if request["architecture"] is not None:
        network = Architecture.from_json(json.dumps(request["architecture"]))
        # In a .tflite file batch norm is part of the convolutions in either form, fused faster so.
        fused = request["format"] == "tflite"
        return build_network(network, space.input_shape, classes, fused_batch_norm=fused)
    if request["name"] == EMPTY:
        return _empty_network()
    pieces = {piece.key: piece for piece in all_pieces(space, classes)}
    return build_piece(pieces[request["name"]], space.batch_norm)


def _empty_network() -> keras.Model:
    """One operation on 8 numbers: calling it costs what calling any network costs."""
    inputs = keras.Input((1, 1, 8))
    return keras.Model(inputs, keras.layers.ReLU()(inputs))
