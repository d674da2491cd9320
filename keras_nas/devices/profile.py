"""Builds a latency table: times of all pieces, and a fit on whole networks.

The papers sum blocks timed alone, which misses by 8%: a block alone keeps its weights in cache.
Where a device times single operations, the pieces are timed where they run, inside a few covering
networks (`space.cover`); elsewhere alone. Then scale and overhead are fitted on whole networks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_nas.devices import entries, timing
from keras_nas.devices.calibration import calibrate
from keras_nas.devices.conversion import EMPTY, Target, convert_models, digest, fresh_model
from keras_nas.devices.device import Device, ProfilingDevice, Progress, Run, no_progress
from keras_nas.devices.entries import Entries
from keras_nas.devices.measurement import now
from keras_nas.devices.timing import Effort
from keras_nas.export import operations_of_parts
from keras_nas.resources import LatencyTable
from keras_nas.resources.latency_table import RawSamples, all_pieces
from keras_nas.space import Architecture, StagedSpace, pieces
from keras_nas.space.cover import covering_architectures
from keras_nas.space.tf_nas_widths import FreeWidthSpace

Convert = Callable[..., dict[str, Path]]
"""`convert_models` for one table."""
LARGE_ROUNDS = 0.6
"""Rounds of whole networks and of profiles / those of single pieces: they take longer, and average
over more places and operations."""
WIDTH_STEPS = (1, 4, 8, 16, 32)
"""Channels that a runtime may compute together; the one with the least held-out error is taken."""
EXTREMES = ("lightest", "heaviest")
"""Names of a space's extreme networks."""
FINEST_US = 5.0
"""Profiles count whole microseconds. Where the average operation is faster, they are too coarse."""


def build_latency_table(
    space: StagedSpace,
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
      device: where. Pieces are timed in place where it is a `ProfilingDevice` and operations are
        not too fast for a profile, else alone; the table's `method` says which.
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
    convert = functools.partial(convert_models, target, folder / "models", on_progress=on_progress)
    chosen = calibration_architectures(space, networks)
    paths = convert(architectures=chosen)
    reference = reference_among(chosen, {a.name: paths[a.name].stat().st_size for a in chosen})
    options: Any = {
        "reference": paths[reference.name],
        "samples_directory": folder / f"against_{reference.name}",
        "on_progress": on_progress,
    }
    whole = {a.name: paths[a.name] for a in chosen}
    # The reference network's own deviation in a process shifts all ratios there together, and so
    # all predictions. More rounds do not help: all processes that are allowed are run.
    rounds = math.ceil(effort.rounds * LARGE_ROUNDS)
    every = dataclasses.replace(effort, rounds=rounds, min_processes=effort.max_processes)
    runs = timing.measure(device, whole, effort=every, **options)
    if not isinstance(device, ProfilingDevice):
        measured = _alone(target, convert, effort, options)
    elif (operation_us := _operation_us(target, space.heaviest(), paths, runs)) < FINEST_US:
        why = f"at {operation_us:.2g} microseconds an operation too fast for a profile"
        measured = _alone(target, convert, effort, options)
        measured = dataclasses.replace(measured, method=f"{measured.method}, {why}")
    else:
        measured = _in_place(device, target, convert, effort, options)
    return _table(target, chosen, reference, measured, runs)


def reference_among(
    architectures: Sequence[Architecture], sizes: Mapping[str, int]
) -> Architecture:
    """The reference network: the middle one by the size of its file.

    On a shared machine all networks of several megabytes take longer at some times than at others,
    and small ones do not. So a ratio moves least where both are of about one size.

    Args:
      architectures: whole networks of the table.
      sizes: name -> bytes.
    """
    return sorted(architectures, key=lambda a: sizes[a.name])[len(architectures) // 2]


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


def _operation_us(
    target: Target, heaviest: Architecture, paths: dict[str, Path], runs: list[Run]
) -> float:
    """Microseconds of an operation of the heaviest network on average."""
    parts = pieces(heaviest, target.space.input_shape, target.classes)
    kinds = operations_of_parts([paths[part.key].read_bytes() for part in parts])
    return 1000 * timing.raw_ms(runs, heaviest.name) / sum(map(len, kinds))


def _in_place(
    device: ProfilingDevice, target: Target, convert: Convert, effort: Effort, options: Any
) -> Entries:
    """Profiles covering networks."""
    cover = covering_architectures(target.space)
    paths = convert(architectures=cover)
    covering = {a.name: paths[a.name] for a in cover}
    shorter = dataclasses.replace(effort, rounds=math.ceil(effort.rounds * LARGE_ROUNDS))
    profiles = timing.profile(device, covering, effort=shorter, **options)
    return entries.in_place(profiles, cover, paths, target.space, target.classes)


def _alone(target: Target, convert: Convert, effort: Effort, options: Any) -> Entries:
    """Times every piece by itself."""
    keys = [piece.key for piece in all_pieces(target.space, target.classes)]
    paths = convert(names=[EMPTY, *keys])
    single = {name: paths[name] for name in (EMPTY, *keys)}
    return entries.alone(timing.measure(target.device, single, effort=effort, **options), keys)


def _table(
    target: Target,
    chosen: list[Architecture],
    reference: Architecture,
    measured: Entries,
    runs: list[Run],
) -> LatencyTable:
    """Fits scale and overhead of the entries on the networks that `runs` are of."""
    space, device = target.space, target.device
    reference_ms = timing.reference_ms(runs)
    entries_ms = {key: ratio * reference_ms for key, ratio in measured.ratios.items()}
    fitted = chosen
    steps: tuple[int, ...] = (1,)
    if isinstance(space, FreeWidthSpace):
        # Only free widths lie between measured ones, and so show how wide the stairs are. Those of
        # the extreme networks are measured ones, and multiples of what a runtime likes.
        fitted, steps = [a for a in chosen if a.name not in EXTREMES], WIDTH_STEPS
    measured_ms = [timing.ratio(runs, a.name) * reference_ms for a in fitted]
    fits = {
        step: calibrate(entries_ms, fitted, measured_ms, space.input_shape, target.classes, step)
        for step in steps
    }
    width_step = min(fits, key=lambda step: fits[step].mean_error)
    fit = fits[width_step]
    return LatencyTable(
        device=device.describe(),
        precision=target.precision,
        threads=device.threads,
        batch=device.batch,
        input_shape=space.input_shape,
        classes=target.classes,
        date=now(),
        method=f"{measured.method}; scale and overhead fitted on {len(fitted)} whole networks",
        space_name=space.name,
        space_fingerprint=space.fingerprint(),
        reference=reference,
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
        width_step=width_step,
    )


def calibration_architectures(space: StagedSpace, count: int) -> list[Architecture]:
    """The lightest, the heaviest, and distinct random networks; of free widths twice as many.

    What lies between measured widths is an estimate, whose error differs from network to network.
    """
    count *= 2 if isinstance(space, FreeWidthSpace) else 1
    found = {a.stages: a for a in (space.lightest(), space.heaviest())}
    for seed in range(100 * count):
        if len(found) >= min(count, space.size()):
            break
        architecture = space.random(seed)
        found.setdefault(architecture.stages, architecture)
    return list(found.values())


def reference_model(table: LatencyTable, model_format: str = "tflite") -> bytes:
    """The table's reference network with fresh weights, in a device's format."""
    return model_for_table(table, table.reference, model_format)


def model_for_table(
    table: LatencyTable, architecture: Architecture, model_format: str = "tflite"
) -> bytes:
    """A network with fresh weights as the networks of a table were measured, see `fresh_model`."""
    return fresh_model(
        architecture,
        table.input_shape,
        table.classes,
        model_format=model_format,
        precision=table.precision,
        batch=table.batch,
    )
