"""How well a latency table predicts networks it has not seen.

    python -m benchmarks.latency_table --space=hardcore_nas --resolution=224 --networks=16

Builds a table (pieces by themselves, one scale), then measures fresh random networks in other
processes, in the same unit, and compares.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_nas import files
from keras_nas.devices import Effort, HostDevice, timing
from keras_nas.devices.profile import build_latency_table, reference_model
from keras_nas.export import convert_frozen
from keras_nas.models import build_network
from keras_nas.resources import LatencyTable
from keras_nas.space import SPACES, Architecture, SearchSpace

_SPACE = flags.DEFINE_string("space", "hardcore_nas", "Name of a space, or its JSON file.")
_RESOLUTION = flags.DEFINE_integer("resolution", None, "Input size; by default the space's.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes.")
_NETWORKS = flags.DEFINE_integer("networks", 16, "Fresh networks to compare.", lower_bound=2)
_PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "float16"], "Of the weights.")
_SAMPLES = flags.DEFINE_string("samples", None, "Keep the samples here, to continue after a stop.")

FIRST_SEED = 1_000_000
"""Networks from this seed on are not those the scale was fitted on."""


def load_space(name: str, resolution: int | None) -> SearchSpace:
    """A named space, or one read from a JSON file, at a resolution."""
    space = SPACES.get(name) or SearchSpace.from_json(files.read_text(name, "search space"), name)
    return dataclasses.replace(space, resolution=resolution) if resolution else space


def measure_fresh(
    table: LatencyTable, networks: Sequence[Architecture], device: HostDevice, folder: Path
) -> list[float]:
    """Measured ms of networks, in the table's unit."""
    reference = folder / "reference.tflite"
    files.write_bytes(reference, reference_model(table))
    paths = {}
    for architecture in networks:
        paths[architecture.name] = folder / f"{architecture.name}.tflite"
        model = build_network(architecture, table.input_shape, table.classes)
        files.write_bytes(paths[architecture.name], convert_frozen(model, table.precision))
    runs = timing.measure(device, paths, reference, Effort(0.005, rounds=12))
    return [timing.ratio(runs, name) * table.reference_ms for name in paths]


def main(_: Sequence[str]) -> None:
    space = load_space(_SPACE.value, _RESOLUTION.value)
    device = HostDevice()
    with tempfile.TemporaryDirectory() as temporary:
        start = time.monotonic()
        table = build_latency_table(
            space,
            _CLASSES.value,
            device,
            _SAMPLES.value or temporary,
            precision=_PRECISION.value,
            on_progress=lambda done, total, what: print(
                f"\r{done}/{total} {what:60.60}", end="", flush=True
            ),
        )
        seconds = time.monotonic() - start
        networks = [space.random(FIRST_SEED + n) for n in range(_NETWORKS.value)]
        measured = np.array(measure_fresh(table, networks, device, Path(temporary)))
    predicted = np.array([table.latency_ms(a, table.input_shape, table.classes) for a in networks])
    print(f"\n{'network':20} {'predicted ms':>12} {'measured ms':>12} {'error':>8}")
    for a, p, m in zip(networks, predicted, measured, strict=True):
        print(f"{a.name:20} {p:12.4f} {m:12.4f} {p / m - 1:8.2%}")
    error = predicted / measured - 1
    r2 = 1 - np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)
    processes = len(table.samples.reference_ms)
    print(f"space {space.name} at {space.resolution}, {len(table.entries)} pieces, {table.method}")
    print(f"table built in {seconds:.0f} s, {processes} processes, scale {table.scale:.4f}")
    print(f"held out in the table: mean {table.mean_error:.2%}, worst {table.worst_error:.2%}")
    print(
        f"fresh networks: mean absolute error {np.mean(np.abs(error)):.2%}, worst "
        f"{np.max(np.abs(error)):.2%}, R2 {r2:.4f}, predicted / measured "
        f"{np.mean(predicted / measured):.4f}"
    )


if __name__ == "__main__":
    app.run(main)
