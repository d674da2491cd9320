"""Do networks of free widths keep their limit on the device? (TF-NAS' elasticity-scaling, measured)

    python -m benchmarks.scaled_limit
    python -m benchmarks.scaled_limit --experiment=configs/tf_nas_fashion_mnist.py

In the space of an experiment, for limits spread over its range: random probabilities in place of a
search's, the most probable network that widths can bring to the limit, scaled, measured, and scaled
again as the pipeline does. At the end all networks are measured once more, interleaved, in fresh
processes: that is what is compared with the limits. Run again, it goes on with what it did not
reach.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import common
from benchmarks.measured_networks import digest, kept_table, measure
from keras_nas.command_line import check_config_file
from keras_nas.config import Config
from keras_nas.devices import Effort, HostDevice
from keras_nas.devices.profile import build_latency_table
from keras_nas.measured_network import best_round
from keras_nas.measured_scaling import Network, ScalingRound, close_scaling_loop
from keras_nas.method_space import method_space, space_of
from keras_nas.methods.tf_nas_projection import most_probable_within
from keras_nas.resources import LatencyTable, WidthLatency
from keras_nas.space import Architecture, StagedSpace, TFNASSpace

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "configs/tf_nas_quickstart.py", "Configuration file, of TF-NAS."
)
_COUNT = flags.DEFINE_integer("limits", 12, "How many limits.", lower_bound=1)

CLASSES = 10
RANGE = (0.05, 0.5)
"""Limits lie between these shares of the way from the fastest to the slowest network. Above them
the most probable network of random probabilities is often too shallow to use the limit."""


def latency_table(config: Config, space: StagedSpace, samples: Path) -> LatencyTable:
    """Of this machine, as the configuration asks for."""
    device = config.device
    return build_latency_table(
        space,
        CLASSES,
        HostDevice(device.threads),
        samples,
        networks=device.calibration_networks,
        effort=Effort(device.target_error, max_processes=device.max_processes),
    )


def most_probable(latency: WidthLatency, seed: int) -> Callable[[float], Network]:
    """A target, ms -> the most probable network of random probabilities, at initial widths."""
    space, generator = latency.space, np.random.default_rng(seed)
    depths = np.array(space.depths)  # [S, D]
    alpha = generator.dirichlet(np.ones(len(space.operations)), len(space.stage_of_block))
    beta = np.where(depths > 0, generator.dirichlet(np.ones(depths.shape[1]), len(depths)), 0.0)

    def network_for(target_ms: float) -> Network:
        choice = most_probable_within(latency, alpha, beta, target_ms)
        return space.encode(space.architecture_of_blocks(*choice, space.initial_widths()))

    return network_for


def closed_loop(
    table: LatencyTable, latency: WidthLatency, limit_ms: float, seed: int, rows: common.Rows
) -> list[ScalingRound]:
    """The pipeline's loop for one limit."""

    def measure_ms(architecture: Architecture, attempt: int) -> tuple[float, float]:
        name = f"{digest(architecture)} {attempt}"
        if name not in rows:
            rows[name] = measure(table, {name: architecture})[name]
        return tuple(rows[name])

    return close_scaling_loop(latency, most_probable(latency, seed), measure_ms, limit_ms, 6)


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    config = check_config_file(_EXPERIMENT.value)
    space = space_of(TFNASSpace, method_space(config), "tf_nas")
    folder = common.output_folder(f"scaled_limit/{config.name}")
    table = kept_table(folder, functools.partial(latency_table, config, space))
    latency = WidthLatency.from_table(table, space, CLASSES)
    fastest, slowest = latency.range_ms()
    limits = fastest + np.linspace(*RANGE, _COUNT.value) * (slowest - fastest)
    settings = {"table": table.date, "space": space.fingerprint(), "limits": _COUNT.value}
    rows = common.Rows(folder / "scaled_limit.json", settings)
    loops: dict[int, list[ScalingRound]] = {}
    for number, limit_ms in enumerate(limits):
        if not budget.allows(f"limit {number}"):
            continue
        common.log(f"limit {number}, {limit_ms:.4f} ms")
        loops[number] = closed_loop(table, latency, limit_ms, number, rows)
    found = {
        number: best_round(rounds)
        for number, rounds in loops.items()
        if any(row.keeps_limit for row in rounds)
    }
    networks = {digest(row.architecture): row.architecture for row in found.values()}
    key = f"once more {sorted(networks)}"
    if networks and key not in rows:
        common.log(f"measuring {len(networks)} networks once more")
        rows[key] = {name: ms for name, (ms, _) in measure(table, networks).items()}
    print(f"\n{space.name} at {space.resolution}x{space.resolution}, {table.method}")
    print(f"{'limit ms':>9}{'predicted / limit':>19}{'measured / limit':>18}   rounds")
    ratios = []
    for number, rounds in loops.items():
        steps = ", ".join(f"{row.measured_ms / row.limit_ms:.3f}" for row in rounds)
        if number not in found:
            print(f"{limits[number]:9.4f}{'none keeps it':>37}   {steps}")
            continue
        best = found[number]
        ratios.append(rows[key][digest(best.architecture)] / best.limit_ms)
        predicted = best.refitted_ms / best.limit_ms
        print(f"{limits[number]:9.4f}{predicted:19.4f}{ratios[-1]:18.4f}   {steps}")
    if ratios:
        over = np.array(ratios) > 1
        print(
            f"over the limit {over.sum()} of {len(ratios)}, worst {max(max(ratios) - 1, 0):+.2%}; "
            f"unused in the mean {1 - np.mean(ratios):.2%}, median {1 - np.median(ratios):.2%}"
        )
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
