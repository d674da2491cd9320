"""How well a latency table predicts networks that it has not seen (the paper's Figure 3).

    python -m benchmarks.latency_model --space=hardcore_nas --precision=float32

Builds two tables on this machine: from operations profiled in place, and from blocks timed alone
as in the papers. Then measures fresh random networks in other processes, in the same unit, and
compares predictions: both tables as they are, both as plain sums, without scale and overhead, and
the runtime model of Single-Path NAS on the table in place. Writes `figure.svg` next to its results.
Run again, it goes on with what it did not reach; in a fresh folder (`--output`) it measures anew.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from absl import app, flags
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from benchmarks import common
from keras_nas import experiment, files
from keras_nas.config import SpaceConfig
from keras_nas.devices import Device, Effort, HostDevice, timing
from keras_nas.devices.profile import build_latency_table
from keras_nas.export import PRECISIONS
from keras_nas.resources import LatencyTable, RuntimeModel
from keras_nas.space import Architecture, SearchSpace, StagedSpace, pieces

_SPACE = flags.DEFINE_string("space", "hardcore_nas", "Name of a space, or file:PATH of its JSON.")
_RESOLUTION = flags.DEFINE_integer("resolution", 224, "Input size.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 1000, "Classes.", lower_bound=1)
_PRECISION = flags.DEFINE_enum("precision", "float32", PRECISIONS, "What is measured.")
_THREADS = flags.DEFINE_integer("threads", 1, "Threads of the runtime.", lower_bound=1)
_NETWORKS = flags.DEFINE_integer("networks", 24, "Fresh networks.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "In each process that measures them.", lower_bound=1)
_TARGET_ERROR = flags.DEFINE_float(
    "target_error", Effort().target_error, "As `config.device.target_error`.", lower_bound=1e-4
)
_ALONE = flags.DEFINE_bool("alone", True, "Also time blocks alone, as in the papers.")

FIRST_SEED = 1_000_000
"""Networks from this seed on are not those that the tables were made from."""
PROCESSES = 8
"""That measure fresh networks, at least: what one does to the reference shifts all of them."""
IN_PLACE, ALONE = "in_place", "alone"
TARGETS = "targets: mean 1%, worst 3%, R2 0.995, ratio 0.99 to 1.01"


class WithoutProfile:
    """A device that hides that it can time single operations."""

    def __init__(self, device: Device) -> None:
        self.format, self.threads, self.batch = device.format, device.threads, device.batch
        self.describe, self.run = device.describe, device.run


def latency_table(space: StagedSpace, kind: str, folder: Path, rows: common.Rows) -> LatencyTable:
    """The table of one kind, built where it is not there yet; notes how long that took."""
    path = folder / f"latency_table_{kind}.json"
    if not path.exists():
        common.log(f"building the table: {kind}")
        device: Device = HostDevice(_THREADS.value)
        start, before = time.monotonic(), cpu_seconds()
        table = build_latency_table(
            space,
            _CLASSES.value,
            device if kind == IN_PLACE else WithoutProfile(device),
            folder / "samples",  # both have the same whole networks to fit on
            precision=_PRECISION.value,
            effort=Effort(_TARGET_ERROR.value),
        )
        rows[f"seconds {kind}"] = time.monotonic() - start, cpu_seconds() - before
        files.write_text(path, table.to_json())
    return LatencyTable.from_json(files.read_text(path, "latency table"), str(path))


def cpu_seconds() -> float:
    """That this process and the finished ones that it started took."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def plain_sum_ms(table: LatencyTable, network: Architecture) -> float:
    """Sum of the entries of a network, neither scaled nor with overhead."""
    parts = pieces(network, table.input_shape, table.classes)
    return sum(table.piece_ms(part) / table.scale for part in parts)


def predictions(
    tables: dict[str, LatencyTable], space: StagedSpace, networks: Sequence[Architecture]
) -> dict[str, NDArray[np.float64]]:
    """Name of a way -> [N] predicted ms, in the unit of the table in place."""
    unit = {kind: tables[IN_PLACE].reference_ms / t.reference_ms for kind, t in tables.items()}
    shape, classes = tables[IN_PLACE].input_shape, tables[IN_PLACE].classes
    found = {}
    for kind, table in tables.items():
        sums = [plain_sum_ms(table, network) for network in networks]
        whole = [table.latency_ms(network, shape, classes) for network in networks]
        found[f"{kind}, summed"] = np.array(sums) * unit[kind]
        found[f"{kind}, fitted"] = np.array(whole) * unit[kind]
    if isinstance(space, SearchSpace):
        model = RuntimeModel.from_table(tables[IN_PLACE], space, classes)
        found[f"{IN_PLACE}, SP eqs. 11-17"] = np.array([model.network_ms(n) for n in networks])
    return found


def quality(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> str:
    """Errors over all networks, in a line."""
    error = predicted / measured - 1
    r2 = 1 - np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)
    return (
        f"mean abs. error {np.mean(np.abs(error)):6.2%}, worst {np.max(np.abs(error)):6.2%}, "
        f"R2 {r2:.4f}, predicted / measured {np.mean(predicted / measured):.4f}"
    )


def draw(
    path: Path, predicted: dict[str, NDArray[np.float64]], measured: NDArray[np.float64]
) -> None:
    """Predicted over measured, for every way."""
    matplotlib.use("svg")
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    low, high = 0.95 * measured.min(), 1.05 * measured.max()
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8)
    for (name, values), marker in zip(predicted.items(), "oxs+d", strict=False):
        axes.plot(measured, values, marker, markersize=4, label=name, fillstyle="none")
    axes.set(xlabel="measured ms", ylabel="predicted ms", aspect="equal")
    axes.legend()
    figure.savefig(path)


def main(_: Sequence[str]) -> None:
    space = experiment.load_space(SpaceConfig(_SPACE.value, _RESOLUTION.value))
    folder = common.output_folder(f"latency_model/{space.name}_{_PRECISION.value}")
    settings = {
        "space": space.fingerprint(), "precision": _PRECISION.value, "classes": _CLASSES.value,
        "threads": _THREADS.value, "networks": _NETWORKS.value,
        "target_error": _TARGET_ERROR.value, "rounds": _ROUNDS.value,
    }  # fmt: skip
    rows = common.Rows(folder / "latency_model.json", settings)
    networks = [space.random(FIRST_SEED + n) for n in range(_NETWORKS.value)]
    kinds = (IN_PLACE, ALONE) if _ALONE.value else (IN_PLACE,)
    tables = {kind: latency_table(space, kind, folder, rows) for kind in kinds}
    if "measured" not in rows:
        common.log(f"measuring {len(networks)} fresh networks")
        named = {network.name: network for network in networks}
        effort = Effort(0.005, rounds=_ROUNDS.value, min_processes=PROCESSES)
        runs = common.measured_runs(tables[IN_PLACE], named, folder / "fresh", effort)
        rows["measured"] = {name: timing.ratio(runs, name) for name in named}
        rows["error"] = timing.typical_error(runs)
    unit_ms = tables[IN_PLACE].reference_ms
    measured = unit_ms * np.array([rows["measured"][network.name] for network in networks])
    predicted = predictions(tables, space, networks)
    draw(folder / "figure.svg", predicted, measured)
    best = predicted[f"{IN_PLACE}, fitted"]
    print(f"\n{'network':20} {'predicted ms':>12} {'measured ms':>12} {'error':>8}")
    for network, p, m in zip(networks, best, measured, strict=True):
        print(f"{network.name:20} {p:12.4f} {m:12.4f} {p / m - 1:8.2%}")
    print(f"\n{space.name} at {space.resolution}x{space.resolution}, {_PRECISION.value}")
    for kind, table in tables.items():
        seconds, cpu = rows[f"seconds {kind}"]
        print(
            f"{kind}: {table.method}; {len(table.entries)} pieces, built in "
            f"{seconds:.0f} s ({cpu:.0f} s of CPU), scale {table.scale:.4f}, overhead "
            f"{table.overhead_ms:.4f} ms, held out mean {table.mean_error:.2%}, worst "
            f"{table.worst_error:.2%}"
        )
    print(f"standard error of a fresh network's measured time: {rows['error']:.2%}")
    for name, values in predicted.items():
        print(f"{name:25} {quality(values, measured)}")
    print(f"{TARGETS}; figure: {folder / 'figure.svg'}")


if __name__ == "__main__":
    app.run(main)
