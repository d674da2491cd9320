"""Networks side by side on one device: how they are measured, and what comes out."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_nas.config import DeviceConfig
from keras_nas.devices import Device, DeviceDescription, Effort, Progress, Run, timing
from keras_nas.devices.device import no_progress
from keras_nas.resources import macs, parameters
from keras_nas.space.published import PublishedNetwork, published_network
from keras_nas.tools.comparison_entries import Entry
from keras_nas.tools.conversion import convert_networks
from keras_nas.tools.networks import NamedNetwork, of_published

FORMAT = "keras_nas.comparison"
VERSION = 1
UNIT = "ms"
REFERENCE = "mobilenetv3_small_100"
"""Runs between the others, which are divided by it: always the same one, at the resolution it was
published for, so that comparisons can themselves be compared."""


@dataclasses.dataclass(frozen=True)
class ComparedNetwork:
    """One network's figures.

    Attributes:
      name, input_shape, classes: which network, on what.
      macs, parameters: counted.
      latency_ms: measured: ratio to the reference network (median over processes) * its time.
      spread_ms: standard deviation of that between processes.
      raw_ms: the network's time itself, median over processes.
      accuracy, accuracy_source: see `Entry`.
      published: what its sources print, none of it measured here.
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    macs: int
    parameters: int
    latency_ms: float
    spread_ms: float
    raw_ms: float
    accuracy: float | None
    accuracy_source: str
    published: PublishedNetwork | None

    @property
    def as_published(self) -> bool:
        """Whether it was measured at the resolution that its published accuracy is for."""
        return self.published is not None and self.published.resolution == self.input_shape[0]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Networks side by side.

    Attributes:
      device, precision, threads, batch: where and how.
      date: when the last process measured, ISO 8601, UTC.
      reference_ms: time of the network `REFERENCE`.
      processes, rounds: how many fresh processes, and rounds in each.
      networks: fastest first.
    """

    device: DeviceDescription
    precision: str
    threads: int
    batch: int
    date: str
    reference_ms: float
    processes: int
    rounds: int
    networks: tuple[ComparedNetwork, ...]

    def to_json_object(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        value = {"format": FORMAT, "version": VERSION, "unit": UNIT, "weights": "fresh"}
        value |= {"reference": REFERENCE, **dataclasses.asdict(self)}
        value["networks"] = [_json_object(network) for network in self.networks]
        return value


def convert(
    entries: Sequence[Entry],
    device: Device,
    precision: str,
    folder: Path,
    *,
    on_progress: Progress = no_progress,
) -> list[Path]:
    """Converts the networks and the reference network, with fresh weights, into a folder.

    Latency does not depend on the weights' values. What is there already is kept.

    Returns:
      A file an entry, then the reference network's.

    Raises:
      OSError, ValueError, DeviceError: as `convert_networks`.
    """
    networks = [*(entry.network for entry in entries), of_published(published_network(REFERENCE))]
    paths = [folder / _file_name(network, device, precision) for network in networks]
    models = dict(zip(paths, networks, strict=True))
    convert_networks(models, device.format, precision, device.batch, on_progress=on_progress)
    return paths


def measure_in_turns(
    entries: Sequence[Entry],
    paths: Sequence[Path],
    device: Device,
    settings: DeviceConfig,
    rounds: int,
    folder: Path,
    *,
    on_progress: Progress = no_progress,
) -> Comparison:
    """Measures all networks in turns.

    Args:
      entries: what to compare.
      paths: what `convert` returned for them.
      device: where.
      settings: of the device: precision, target error and largest number of processes.
      rounds: in each process.
      folder: keeps the samples; a call that was cut off goes on from there.
      on_progress: called after each round.

    Raises:
      DeviceError: the device failed.
      ValueError: samples on disk are damaged.
    """
    *model_paths, reference = paths
    models = {path.stem: path for path in sorted(model_paths)}  # in whatever order they are named
    description = device.describe()
    key = [dataclasses.asdict(description), device.threads, list(models), rounds]
    samples = folder / _digest(key)
    fewest = min(3, settings.max_processes)
    effort = Effort(settings.target_error, rounds, fewest, settings.max_processes)
    runs = timing.measure(
        device, models, reference, effort, samples_directory=samples, on_progress=on_progress
    )
    reference_ms = timing.reference_ms(runs)
    networks = [
        _compared(entry, runs, path.stem, reference_ms)
        for entry, path in zip(entries, model_paths, strict=True)
    ]
    return Comparison(
        device=description,
        precision=settings.precision,
        threads=device.threads,
        batch=device.batch,
        date=_last_written(samples),
        reference_ms=reference_ms,
        processes=len(runs),
        rounds=rounds,
        networks=tuple(sorted(networks, key=lambda network: network.latency_ms)),
    )


def _file_name(network: NamedNetwork, device: Device, precision: str) -> str:
    """Tells apart everything that makes another file."""
    architecture = network.architecture
    size = (network.input_shape, network.classes, device.batch)
    made_from = [architecture.to_json(), size, device.format, precision, _converters()]
    readable = re.sub(r"[^\w.-]+", "_", architecture.name)
    return f"{readable}-{_digest(made_from)}.{device.format}"


@functools.cache
def _converters() -> list[str]:
    """Names and versions of what converts; TensorFlow comes in packages of several names."""
    providers = importlib.metadata.packages_distributions()
    names = sorted({*providers.get("tensorflow", ()), *providers.get("keras", ())})
    return [f"{name} {importlib.metadata.version(name)}" for name in names]


def _compared(
    entry: Entry, runs: Sequence[Run], model: str, reference_ms: float
) -> ComparedNetwork:
    network = entry.network
    samples_ms = timing.ratios(runs, model) * reference_ms  # [processes]
    size = (network.architecture, network.input_shape, network.classes)
    return ComparedNetwork(
        name=network.name,
        input_shape=network.input_shape,
        classes=network.classes,
        macs=macs(*size),
        parameters=parameters(*size),
        latency_ms=float(np.median(samples_ms)),
        spread_ms=float(np.std(samples_ms, ddof=1)),
        raw_ms=timing.raw_ms(runs, model),
        accuracy=entry.accuracy,
        accuracy_source=entry.accuracy_source,
        published=network.published,
    )


def _json_object(network: ComparedNetwork) -> dict[str, Any]:
    value = dataclasses.asdict(network)
    published = network.published
    value["published"] = published and {
        "resolution": published.resolution,
        "source": published.source,
        "results": [dataclasses.asdict(result) for result in published.results],
    }
    return value


def _last_written(folder: Path) -> str:
    seconds = max(path.stat().st_mtime for path in folder.glob("run_*.json"))
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
