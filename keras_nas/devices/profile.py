"""Builds a latency table: times of all pieces, and a fit on whole networks.

The papers sum blocks timed alone, which misses by 8%: a block alone keeps its weights in cache.
Where a device times single operations, the pieces are timed where they run, inside a few covering
networks (`space.cover`); elsewhere alone. Then scale and overhead are fitted on whole networks.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_nas.devices import entries, timing
from keras_nas.devices.calibration import calibrate
from keras_nas.devices.conversion import EMPTY, Target, convert_models, digest
from keras_nas.devices.device import Device, ProfilingDevice, Progress, Run, no_progress
from keras_nas.devices.entries import Entries
from keras_nas.devices.measurement import now
from keras_nas.devices.timing import Effort
from keras_nas.export import CONVERTERS
from keras_nas.models import build_network
from keras_nas.resources import LatencyTable
from keras_nas.resources.latency_table import RawSamples, all_pieces
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.cover import covering_architectures

PROFILE_ROUNDS = 0.6
"""Rounds of a profile / those of whole networks: it averages over more places and operations."""


def build_latency_table(
    space: SearchSpace,
    classes: int,
    device: Device,
    samples_directory: str | Path,
    *,
    precision: str = "float32",
    networks: int = 10,
    effort: Effort | None = None,
    on_progress: Progress = no_progress,
) -> LatencyTable:
    """Measures every piece of a space on a device.

    Args:
      space: the space; its resolution is the input size.
      classes: number of classes of the head.
      device: where; pieces are timed in place where it is a `ProfilingDevice`, else alone.
      samples_directory: keeps converted models and the samples of each finished process. A call
        that was cut off goes on from there when called again with the same arguments.
      precision: see `export.convert_frozen`.
      networks: whole networks to fit scale and overhead on, the lightest and the heaviest among
        them.
      effort: how long to measure; by default until the typical model's error is 1%.
      on_progress: called after every conversion and every round.

    Raises:
      ValueError: bad precision, fewer than 3 networks, or damaged samples.
      DeviceError: the device failed, or its profile cannot be divided among the pieces.
    """
    if networks < 3:
        raise ValueError(f"fitting a table needs at least 3 networks, received {networks}.")
    effort = effort or Effort()
    target = Target(space, classes, device, precision)
    folder = Path(samples_directory) / _key(target, effort)
    chosen = calibration_architectures(space, networks)
    cover = covering_architectures(space) if isinstance(device, ProfilingDevice) else []
    keys = [piece.key for piece in all_pieces(space, classes)]
    paths = convert_models(
        target,
        folder / "models",
        architectures=[*cover, *chosen],
        names=[] if cover else [EMPTY, *keys],
        on_progress=on_progress,
    )
    reference = paths[chosen[0].name]
    options: Any = {"samples_directory": folder, "on_progress": on_progress}
    if isinstance(device, ProfilingDevice):
        covering = {a.name: paths[a.name] for a in cover}
        shorter = dataclasses.replace(effort, rounds=math.ceil(effort.rounds * PROFILE_ROUNDS))
        profiles = timing.profile(device, covering, reference, shorter, **options)
        measured = entries.in_place(profiles, cover, covering, space, classes)
    else:
        single = {name: paths[name] for name in (EMPTY, *keys)}
        runs = timing.measure(device, single, reference, effort, **options)
        measured = entries.alone(runs, keys)
    whole = {a.name: paths[a.name] for a in chosen}
    return _table(
        target, chosen, measured, timing.measure(device, whole, reference, effort, **options)
    )


def _table(
    target: Target, chosen: list[Architecture], measured: Entries, runs: list[Run]
) -> LatencyTable:
    """Fits scale and overhead of the entries on the networks that `runs` are of."""
    space, device = target.space, target.device
    reference_ms = timing.reference_ms(runs)
    entries_ms = {key: ratio * reference_ms for key, ratio in measured.ratios.items()}
    measured_ms = [timing.ratio(runs, a.name) * reference_ms for a in chosen]
    fit = calibrate(entries_ms, chosen, measured_ms, space.input_shape, target.classes)
    return LatencyTable(
        device=device.describe(),
        precision=target.precision,
        threads=device.threads,
        batch=device.batch,
        input_shape=space.input_shape,
        classes=target.classes,
        date=now(),
        method=f"{measured.method}; scale and overhead fitted on {len(chosen)} whole networks",
        space_name=space.name,
        space_fingerprint=space.fingerprint(),
        reference=chosen[0],
        reference_ms=reference_ms,
        overhead_ms=fit.overhead_ms,
        scale=fit.scale,
        entries=entries_ms,
        calibration=fit.networks,
        mean_error=fit.mean_error,
        worst_error=fit.worst_error,
        samples=RawSamples(
            entries.as_samples([timing.reference_samples(run) for run in runs]),
            measured.samples | entries.run_samples(runs),
        ),
    )


def _key(target: Target, effort: Effort) -> str:
    """Names what samples and models belong to: other settings are another folder."""
    return digest(
        {
            "device": dataclasses.asdict(target.device.describe()),
            "threads": target.device.threads,
            "batch": target.device.batch,
            "precision": target.precision,
            "space": target.space.to_json(),
            "classes": target.classes,
            "rounds": effort.rounds,
            "versions": [tf.__version__, keras.__version__],
        }
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


def reference_model(table: LatencyTable, model_format: str = "tflite") -> bytes:
    """The table's reference network with fresh weights, in a device's format."""
    network = build_network(table.reference, table.input_shape, table.classes)
    return CONVERTERS[model_format](network, table.precision, table.batch)
