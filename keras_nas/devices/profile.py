"""Builds a latency table: pieces timed by themselves, one scale fitted on whole networks.

The papers sum blocks timed alone, which misses by 8%; scaled on whole networks, by about 1%.
`_time_alone` is the place where another way of timing pieces, such as a profile of operations
inside whole networks, gives entries for the same table under another `method`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_nas import files
from keras_nas.devices import timing
from keras_nas.devices.calibration import calibrate
from keras_nas.devices.device import Device, Progress, Run, no_progress
from keras_nas.devices.measurement import now
from keras_nas.devices.timing import Effort
from keras_nas.export import convert_frozen
from keras_nas.models import build_network, build_piece
from keras_nas.resources import LatencyTable
from keras_nas.resources.latency_table import RawSamples, all_pieces
from keras_nas.space import Architecture, SearchSpace

EMPTY = "empty"
"""Name of the almost empty network in samples."""
BATCH = 1
"""Images in a call."""


def build_latency_table(
    space: SearchSpace,
    classes: int,
    device: Device,
    samples_directory: str | Path,
    *,
    precision: str = "float32",
    networks: int = 8,
    effort: Effort | None = None,
    on_progress: Progress = no_progress,
) -> LatencyTable:
    """Measures every piece of a space on a device.

    Args:
      space: the space; its resolution is the input size.
      classes: number of classes of the head.
      device: where.
      samples_directory: keeps converted models and the samples of each finished process. A call
        that was cut off goes on from there when called again with the same arguments.
      precision: of the weights, see `export.convert`.
      networks: whole networks to fit the scale on, the lightest and the heaviest among them.
      effort: how long to measure; by default until the typical entry's error is 1%.
      on_progress: called after every conversion and every round.

    Raises:
      ValueError: bad precision, fewer than 3 networks, or damaged samples.
      DeviceError: the device failed.
    """
    if networks < 3:
        raise ValueError(f"fitting the scale needs at least 3 networks, received {networks}.")
    effort = effort or Effort()
    chosen = calibration_architectures(space, networks)
    description = device.describe()
    builders = _builders(space, classes, chosen)
    key = {
        "device": dataclasses.asdict(description),
        "threads": device.threads,
        "precision": precision,
        "space": space.to_json(),
        "models": list(builders),
        "rounds": effort.rounds,
        "versions": [tf.__version__, keras.__version__],
    }
    folder = Path(samples_directory) / _digest(key)
    paths = _convert_missing(builders, folder, precision, on_progress)
    reference = chosen[0]
    runs = timing.measure(
        device,
        paths,
        paths[reference.name],
        effort,
        samples_directory=folder,
        on_progress=on_progress,
    )
    overhead_ms, entries = _time_alone(runs, [piece.key for piece in all_pieces(space, classes)])
    measured_ms = [timing.ratio(runs, a.name) * timing.reference_ms(runs) for a in chosen]
    fit = calibrate(entries, overhead_ms, chosen, measured_ms, space.input_shape, classes)
    return LatencyTable(
        device=description,
        precision=precision,
        threads=device.threads,
        batch=BATCH,
        input_shape=space.input_shape,
        classes=classes,
        date=now(),
        method=f"blocks alone, scaled on {networks} whole networks",
        space_name=space.name,
        space_fingerprint=space.fingerprint(),
        reference=reference,
        reference_ms=timing.reference_ms(runs),
        overhead_ms=overhead_ms,
        scale=fit.scale,
        entries=entries,
        calibration=fit.networks,
        mean_error=fit.mean_error,
        worst_error=fit.worst_error,
        samples=_raw_samples(runs),
    )


def calibration_architectures(space: SearchSpace, count: int) -> list[Architecture]:
    """The lightest (the reference network), the heaviest, and distinct random networks."""
    found = {a.stages: a for a in (space.lightest(), space.heaviest())}
    for seed in range(100 * count):
        if len(found) >= min(count, space.size()):
            break
        architecture = space.random(seed)
        found.setdefault(architecture.stages, architecture)
    return list(found.values())


def reference_model(table: LatencyTable) -> bytes:
    """The table's reference network as `.tflite`, with fresh weights."""
    network = build_network(table.reference, table.input_shape, table.classes)
    return convert_frozen(network, table.precision, table.batch)


def _builders(
    space: SearchSpace, classes: int, architectures: Iterable[Architecture]
) -> dict[str, Callable[[], keras.Model]]:
    """Name -> what builds the Keras model: pieces by key, networks by name, the empty one."""
    builders: dict[str, Callable[[], keras.Model]] = {EMPTY: _empty_network}
    for piece in all_pieces(space, classes):
        builders[piece.key] = functools.partial(build_piece, piece, space.batch_norm)
    for a in architectures:
        builders[a.name] = functools.partial(build_network, a, space.input_shape, classes)
    return builders


def _empty_network() -> keras.Model:
    """One operation on 8 numbers: calling it costs what calling any network costs."""
    inputs = keras.Input((1, 1, 8))
    return keras.Model(inputs, keras.layers.ReLU()(inputs))


def _convert_missing(
    builders: Mapping[str, Callable[[], keras.Model]],
    folder: Path,
    precision: str,
    on_progress: Progress,
) -> dict[str, Path]:
    """Name -> `.tflite` file in `folder`, converted where it is not there yet."""
    paths = {name: folder / "models" / f"{_digest(name)}.tflite" for name in builders}
    for done, (name, path) in enumerate(paths.items(), start=1):
        if not path.exists():
            files.write_bytes(path, convert_frozen(builders[name](), precision, BATCH))
        on_progress(done, len(paths), f"converting {name}")
    return paths


def _time_alone(runs: Sequence[Run], keys: Iterable[str]) -> tuple[float, dict[str, float]]:
    """Overhead and entries in ms, from pieces timed by themselves."""
    reference_ms = timing.reference_ms(runs)
    overhead_ms = timing.ratio(runs, EMPTY) * reference_ms
    alone_ms = {key: timing.ratio(runs, key) * reference_ms for key in keys}
    # A piece as small as the empty network can come out below it by noise; no time is negative.
    return overhead_ms, {key: max(ms - overhead_ms, 0.0) for key, ms in alone_ms.items()}


def _raw_samples(runs: Sequence[Run]) -> RawSamples:
    """Six digits are more than a clock gives."""
    names = runs[0].ms
    return RawSamples(
        reference_ms=[
            [round(ms, 6) for ms in sorted(set(np.concatenate(list(r.reference_ms.values()))))]
            for r in runs
        ],
        ratios={
            name: [
                [float(f"{v:.6g}") for v in np.divide(r.ms[name], r.reference_ms[name])]
                for r in runs
            ]
            for name in names
        },
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
