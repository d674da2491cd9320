"""A latency table, and networks measured in fresh processes, as the pipeline does it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import common
from keras_nas import files
from keras_nas.devices import Effort, timing
from keras_nas.devices.measurement import NETWORK_EFFORT
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture


def kept_table(folder: Path, build: Callable[[Path], LatencyTable]) -> LatencyTable:
    """The latency table in a folder; where it is not there yet, built with samples in a folder."""
    path = folder / "latency_table.json"
    if not path.exists():
        common.log("building the latency table")
        files.write_text(path, build(folder / "samples").to_json())
    return LatencyTable.from_json(files.read_text(path, "latency table"), str(path))


def digest(architecture: Architecture) -> str:
    """Name of a network by its content."""
    return hashlib.sha256(architecture.to_json().encode()).hexdigest()[:16]


def measure(
    table: LatencyTable, networks: Mapping[str, Architecture], effort: Effort = NETWORK_EFFORT
) -> dict[str, tuple[float, float]]:
    """Latency and spread of networks by name, ms, measured interleaved."""
    with tempfile.TemporaryDirectory() as folder:
        runs = common.measured_runs(table, networks, Path(folder), effort)
    ms = {name: timing.ratio(runs, name) * table.reference_ms for name in networks}
    return {name: (value, timing.spread(runs, name) * value) for name, value in ms.items()}
